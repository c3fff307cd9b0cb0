"""Snapshots of folds: a state in parts, from which it is made again without its log.

A part is small, so that neither writing nor reading needs the whole state in memory. What follows
from other parts (the readers of standbys) is not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from skerry.kernel import events
from skerry.kernel.branch import BranchesOfApp, Shelf
from skerry.kernel.catalogue import App, Branch, Catalogue
from skerry.kernel.events import AppFollowed
from skerry.kernel.ledger import Balance, Balances, Ledger

PAGE_ROWS = 1000
_AMOUNT_BYTES = 16
DERIVED = {"apps", "readers", "origins", "shelf"}
"""What of a catalogue is written in parts of its own, or follows from what is written."""

_encode = msgspec.msgpack.Encoder().encode
T = TypeVar("T")


class Known(msgspec.Struct, frozen=True):
    """What a catalogue knows besides apps and branches, by the names that it has there."""

    next_index: int
    moved: dict[str, str]
    away: dict[str, str]
    unreached: dict[str, frozenset[str]]
    guests_gone: set[str]
    standbys: dict[str, AppFollowed]
    keys: dict[str, bytes]


class Apps(msgspec.Struct, frozen=True, tag=True):
    """Some apps, without their branches."""

    apps: list[App]


class Branches(msgspec.Struct, frozen=True, tag=True):
    """Some branches, in the order in which they came."""

    branches: list[Branch]


class Elsewhere(msgspec.Struct, frozen=True, tag=True):
    """Some ids of resources that another node has, and their apps."""

    ids: list[tuple[str, str]]


class Counters(msgspec.Struct, frozen=True, tag=True):
    """Some counters of a ledger: source, account, unit, and how far they had come."""

    rows: list[tuple[str, str, str, int]]


class Accounts(msgspec.Struct, frozen=True, tag=True):
    """Some balances: account, unit, debits and credits, which 64 bits may not hold."""

    rows: list[tuple[str, str, bytes, bytes]]


_known = msgspec.msgpack.Decoder(Known)
_of_catalogue = msgspec.msgpack.Decoder(Apps | Branches | Elsewhere)
_of_ledger = msgspec.msgpack.Decoder(Counters | Accounts)


def save_catalogue(catalogue: Catalogue) -> Iterator[bytes]:
    """Yield the parts of a catalogue, which nobody changes meanwhile."""
    yield _encode(Known(**{name: getattr(catalogue, name) for name in Known.__struct_fields__}))
    apps = (msgspec.structs.replace(each, branches={}) for each in catalogue.apps.values())
    for page in _pages(apps):
        yield _encode(Apps(page))
    for branches in _pages(catalogue.branches()):
        yield _encode(Branches(branches))
    for ids in _pages(catalogue.shelf.elsewhere()):
        yield _encode(Elsewhere(ids))


def restore_catalogue(parts: Iterator[bytes], shelf: Shelf) -> Catalogue:
    """Make a catalogue of its parts, on an empty shelf.

    Raises ValueError, and closes the shelf, if they are none.
    """
    catalogue = Catalogue(shelf)
    try:
        known = _known.decode(next(parts, b""))
        for followed in known.standbys.values():
            catalogue.apply(events.encode(followed))
        for name in Known.__struct_fields__:
            setattr(catalogue, name, getattr(known, name))
        for data in parts:
            part = _of_catalogue.decode(data)
            if isinstance(part, Apps):
                for app in part.apps:
                    app.branches = BranchesOfApp(shelf, app.name)
                    catalogue.apps[app.name] = app
            elif isinstance(part, Branches):
                for branch in part.branches:
                    shelf.put(branch)
            else:
                for resource_id, name in part.ids:
                    shelf.note_elsewhere(name, [resource_id])
    except msgspec.MsgspecError as error:
        shelf.close()
        raise ValueError(str(error)) from error
    return catalogue


def save_ledger(ledger: Ledger) -> Iterator[bytes]:
    """Yield the parts of a ledger, which nobody changes meanwhile."""
    for page in _pages((*key, total) for key, total in ledger.counters.items()):
        yield _encode(Counters(page))
    balances = (
        (account, unit, each.debits.to_bytes(_AMOUNT_BYTES), each.credits.to_bytes(_AMOUNT_BYTES))
        for account, unit, each in ledger.balances.below()
    )
    for rows in _pages(balances):
        yield _encode(Accounts(rows))


def restore_ledger(parts: Iterator[bytes], balances: Balances) -> Ledger:
    """Make a ledger of its parts, on empty balances.

    Raises ValueError, and closes the balances, if they are none.
    """
    ledger = Ledger(balances)
    try:
        for data in parts:
            part = _of_ledger.decode(data)
            if isinstance(part, Counters):
                ledger.counters |= {row[:3]: row[3] for row in part.rows}
            else:
                for account, unit, debits, credited in part.rows:
                    found = Balance(int.from_bytes(debits), int.from_bytes(credited))
                    balances.put(account, unit, found)
    except msgspec.MsgspecError as error:
        balances.close()
        raise ValueError(str(error)) from error
    return ledger


def _pages(rows: Iterable[T]) -> Iterator[list[T]]:
    """Yield rows in lists of at most a page."""
    left = iter(rows)
    while page := list(islice(left, PAGE_ROWS)):
        yield page
