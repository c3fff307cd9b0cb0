"""Every amount of money of a market, in double entry.

An account has a name; a transfer moves micro-units from one to another. `bank` is where money
enters and leaves the market, and the only account that may owe: what all others hold together is
what it owes, at every moment.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

BANK = "bank"
"""Owes what the market holds: money that people paid in and have not taken out."""
DUST = "dust"
"""Holds the parts of micro-units that rounding leaves over."""
SLASHED = "slashed"
"""Holds what providers forfeited."""
POSTINGS_KEPT = 1_000_000


class Posting(msgspec.Struct, frozen=True, array_like=True):
    """A transfer that was made; `at` is in milliseconds since 1970."""

    source: str
    target: str
    amount: int
    what: str
    at: int


class Books:
    """The accounts of a market."""

    def __init__(self) -> None:
        self._balances: dict[str, int] = {}
        self.postings: list[Posting] = []
        self._places: dict[str, list[int]] = {}

    def move(self, source: str, target: str, amount: int, what: str, at: int) -> None:
        """Move an amount; a source other than the bank must hold it."""
        if amount == 0:
            return
        held = self._balances.get(source, 0)
        assert amount > 0, amount
        assert source == BANK or held >= amount, f"{source} holds {held}, not {amount}"
        self._balances[source] = held - amount
        self._balances[target] = self._balances.get(target, 0) + amount
        for name in (source, target):
            self._places.setdefault(name, []).append(len(self.postings))
        self.postings.append(Posting(source, target, amount, what, at))

    def balance(self, name: str) -> int:
        """Return what an account holds."""
        return self._balances.get(name, 0)

    def of(self, name: str) -> Iterator[Posting]:
        """Yield the postings of an account, in order."""
        return (self.postings[place] for place in self._places.get(name, ()))

    def accounts(self) -> Iterator[tuple[str, int]]:
        """Yield every account and its balance."""
        yield from sorted(self._balances.items())

    def balanced(self) -> bool:
        """Tell whether all balances add up to nothing, and nobody but the bank owes."""
        owes = any(held < 0 for name, held in self._balances.items() if name != BANK)
        return sum(self._balances.values()) == 0 and not owes


def wallet(owner: str) -> str:
    """Name the account of a tenant's or provider's free money."""
    return f"wallet/{owner}"


def escrow(deployment: str) -> str:
    """Name the account that holds the deposits of a deployment."""
    return f"escrow/{deployment}"


def earned(lease: str) -> str:
    """Name the account that holds what a lease earned and its provider has not withdrawn."""
    return f"lease/{lease}"


def bid_deposit(bid: str) -> str:
    """Name the account that holds the deposit of a bid."""
    return f"bid/{bid}"


def bond(provider: str) -> str:
    """Name the account that holds a provider's bond."""
    return f"bond/{provider}"
