"""Money as integers of micro-units, and rates as fractions: no float ever touches an amount."""

from __future__ import annotations

import msgspec

MICRO = 1_000_000
"""Micro-units in one unit of a currency."""


class Rate(msgspec.Struct, frozen=True):
    """A price: `micro` micro-units of money for `per` units of what is used."""

    micro: int
    per: int

    def cost(self, amount: int) -> int:
        """Return the micro-units that an amount costs, rounded down."""
        return amount * self.micro // self.per


def show(micro: int, currency: str) -> str:
    """Return an amount for people, exact to the cent or, below one, to the micro-unit."""
    whole, fraction = divmod(abs(micro), MICRO)
    sign = "-" if micro < 0 else ""
    digits = f"{fraction:06d}"
    if micro % 10_000 == 0:
        digits = digits[:2]
    return f"{sign}{whole}.{digits} {currency}"
