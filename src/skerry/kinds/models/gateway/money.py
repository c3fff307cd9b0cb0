"""What a call costs, in micro-euro, from prices for a million tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skerry.kinds.models.config import Price

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call. `estimated`: the provider said nothing that can be."""

    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in micro-euro for a million tokens, so that a token costs a millionth of them."""

    input: int
    output: int
    cached: int

    def cost(self, usage: Usage) -> int:
        """Return micro-euro, rounded up: nothing that costs is counted as free."""
        fresh = max(usage.input - usage.cached, 0)
        total = fresh * self.input + usage.cached * self.cached + usage.output * self.output
        return -(-total // MILLION)


FREE = Rates(0, 0, 0)


def rates(price: Price, euro: float) -> Rates:
    """Return a price in micro-euro; `euro` is what one unit of its currency costs."""
    cached = price.input if price.cached is None else price.cached
    return Rates(
        *(math.ceil(each * euro * MILLION) for each in (price.input, price.output, cached))
    )
