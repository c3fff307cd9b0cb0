"""Random histories of a ledger, in which ids, accounts and flags meet often.

Most events are nearly right: a small number of accounts and ids, and now and then one field that is
odd. Chance is a `random.Random`, which Hypothesis seeds.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from skerry.kernel.ledger.records import (
    U128_MAX,
    Account,
    AccountFilter,
    ChangesFilter,
    QueryFilter,
    Transfer,
)

SECOND = 1_000_000_000
ACCOUNTS = 6
IDS = [*range(1, 19), 2**64, 2**64 + 1, U128_MAX - 1]
AMOUNTS = [0, 1, 2, 3, 5, 8, 13, 21, 34, U128_MAX]
ODD_AMOUNTS = [U128_MAX, U128_MAX - 1, 2**127, 2**127 - 1, 2**64 - 1, 2**64]
ACCOUNT_FLAGS = [0, 0, 8, 8, 2, 4, 10, 12]
FIRST_PHASES = [0, 0, 0, 0, 2, 2, 2, 16, 32, 48, 18, 34, 66, 130, 194]
SECOND_PHASES = [4, 4, 4, 8, 8]
ODD: dict[type, dict[str, list[int]]] = {
    Account: {
        "id": [0, U128_MAX, 1, 2],
        "debits_pending": [1, 2**64],
        "debits_posted": [1],
        "credits_pending": [1],
        "credits_posted": [2**64],
        "user_data_128": [1, 2**64],
        "user_data_64": [2],
        "user_data_32": [1],
        "reserved": [1],
        "ledger": [0, 2],
        "code": [0, 2],
        "flags": [6, 32, 64, 1 << 15],
        "timestamp": [1],
    },
    Transfer: {
        "id": [0, U128_MAX, 1, 2, 3],
        "debit_account_id": [0, U128_MAX, 1, 99],
        "credit_account_id": [0, U128_MAX, 1, 99],
        "amount": [*ODD_AMOUNTS, 1],
        "pending_id": [0, U128_MAX, 1, 2, 3],
        "user_data_128": [1, 2**64],
        "user_data_64": [2],
        "user_data_32": [1],
        "timeout": [1],
        "ledger": [0, 2],
        "code": [0, 2],
        "flags": [12, 6, 20, 64, 128, 1 << 9, 1 << 15, 258],
        "timestamp": [1],
    },
}
LINKED, IMPORTED_ACCOUNT, IMPORTED_TRANSFER = 1, 16, 256


@dataclass
class Batch:
    """What is given to a ledger at once, so many nanoseconds after what was before."""

    kind: str
    later: int = 0
    events: list[Any] = field(default_factory=list)


def history(random: Random) -> list[Batch]:
    """Return batches that follow one another."""
    opening = [
        Account(at, ledger=1 + (at == ACCOUNTS), code=1, flags=random.choice(ACCOUNT_FLAGS))
        for at in range(1, ACCOUNTS + 1)
    ]
    batches = [Batch("accounts", 0, opening)]
    kinds = ["transfers"] * 8 + ["accounts", "expire"]
    past: list[Any] = [*opening]
    for _ in range(random.randrange(14)):
        later = random.choice([0, 0, 5, 1000, SECOND, 2 * SECOND])
        batch = Batch(random.choice(kinds), later)
        size = random.randrange(14)
        if batch.kind == "transfers":
            pending = [each.id for each in past if type(each) is Transfer and each.flags & 2]
            batch.events = [transfer(random, pending or IDS) for _ in range(size)]
        elif batch.kind == "accounts":
            batch.events = [account(random) for _ in range(size // 2)]
        for at, event in enumerate(batch.events):
            again = [each for each in past[-30:] if type(each) is type(event)]
            if again and random.random() < 0.2:
                batch.events[at] = _spoil(random, copy(random.choice(again)))
        if random.random() < 0.12:
            _import(random, batch)
        past += batch.events
        batches.append(batch)
    return batches


def _import(random: Random, batch: Batch) -> None:
    """Let a batch import: most of its events lie before the batch itself, in order."""
    flag = IMPORTED_ACCOUNT if batch.kind == "accounts" else IMPORTED_TRANSFER
    span = random.choice([100, 20_000, 10**6])
    times = sorted(random.randrange(1, span) for _ in batch.events)
    for event, timestamp in zip(batch.events, times, strict=True):
        if random.random() < 0.95:
            event.flags |= flag
            event.timestamp = timestamp
            if batch.kind == "transfers" and random.random() < 0.9:
                event.timeout = 0
        if random.random() < 0.05:
            event.timestamp = random.choice([0, 2**63, 2**63 - 1, 2**62])


def account(random: Random) -> Any:
    """Return an account, most often a well-formed one."""
    made = Account(random.choice(IDS), ledger=1, code=1, flags=random.choice(ACCOUNT_FLAGS))
    made.user_data_64 = random.choice([0, 1])
    made.flags |= LINKED * (random.random() < 0.15)
    return _spoil(random, made)


def transfer(random: Random, pending: list[int]) -> Any:
    """Return a transfer of either phase, most often a well-formed one."""
    made = Transfer(random.choice(IDS), ledger=1, code=1)
    made.amount = random.choice(ODD_AMOUNTS if random.random() < 0.06 else AMOUNTS[:-1])
    made.user_data_64 = random.choice([0, 0, 1])
    if random.random() < 0.35:
        made.flags = random.choice(SECOND_PHASES)
        made.pending_id = random.choice([random.choice(IDS), *pending[-4:]])
        made.amount = random.choice([*AMOUNTS, 0, U128_MAX, U128_MAX])
        made.ledger, made.code = random.choice([(0, 0), (0, 0), (1, 1), (0, 2), (2, 0)])
    else:
        made.flags = random.choice(FIRST_PHASES)
        made.debit_account_id, made.credit_account_id = random.sample(range(1, ACCOUNTS + 1), 2)
        if made.flags & 2:
            made.timeout = random.choice([0, 0, 1, 2, 2**32 - 1])
    made.flags |= LINKED * (random.random() < 0.15)
    return _spoil(random, made)


def _spoil(random: Random, made: Any) -> Any:
    """Put something odd into one field, now and then."""
    if random.random() < 0.25:
        odd = ODD[type(made)]
        name = random.choice([*odd])
        setattr(made, name, random.choice(odd[name]))
    return made


def account_filter(random: Random) -> Any:
    """Return a filter for the transfers of an account."""
    made = AccountFilter(random.choice([*range(1, ACCOUNTS + 1), *range(1, ACCOUNTS + 1), 0, 99]))
    made.flags = random.choice([1, 2, 3, 3, 3, 7, 7, 5, 6, 0, 8])
    return _narrow(random, made)


def query_filter(random: Random) -> Any:
    """Return a filter for accounts or transfers."""
    made = QueryFilter(flags=random.choice([0, 0, 0, 1, 1, 2]))
    made.ledger = random.choice([0, 0, 0, 1, 2])
    return _narrow(random, made)


def changes_filter(random: Random) -> Any:
    """Return a filter for change events."""
    return _narrow(random, ChangesFilter())


def _narrow(random: Random, made: Any) -> Any:
    for name, values in {
        "user_data_128": [1, 2**64],
        "user_data_64": [1],
        "user_data_32": [1],
        "code": [1, 2],
        "timestamp_min": [5, 20_000, 50_000, 2 * SECOND, 2**63],
        "timestamp_max": [100, 50_000, 2 * SECOND, 2**63 - 1, 2**63],
        "limit": [0, 1, 3, 2**32 - 1],
    }.items():
        if hasattr(made, name) and random.random() < 0.2:
            setattr(made, name, random.choice(values))
    return made
