"""Amounts as people write them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from skerry.kernel.errors import INVALID
from skerry.kernel.money import MICRO

AMOUNT_MAX = 10**9


def parse_amount(text: str, *, least: int = 1) -> int:
    """Return the micro-units of an amount such as `5` or `0.25`; raise INVALID."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation as error:
        raise INVALID(f"{text[:40]!r} is no amount.", why="Write 5 or 0.25.") from error
    micro = number * MICRO if number.is_finite() and abs(number) <= AMOUNT_MAX else None
    if micro is None or micro != int(micro) or int(micro) < least:
        raise INVALID(
            f"{text[:40]!r} is no amount.", why=f"It is at most {AMOUNT_MAX}, to six decimals."
        )
    return int(micro)
