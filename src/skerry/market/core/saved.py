"""A market's whole state as a snapshot keeps it, so that a start need not fold all of the log."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec

from skerry.kernel.money import Rate
from skerry.market.core.books import Books, SavedBooks
from skerry.market.core.entities import Bid, Deployment, Group, Lease, Order, Provider, Verdict
from skerry.market.core.escrow import Account, Escrow
from skerry.market.core.names import BidId, DeploymentId, LeaseId, OrderId
from skerry.market.core.state import State
from skerry.market.core.states import OrderState

VERSION = 1
"""To be raised whenever what is saved, or what it means, changes: older ones are not read."""


@dataclass(slots=True)
class SavedOrder:
    """An order, which tells its group by its name."""

    id: OrderId
    limit: Rate
    created_at: int
    state: OrderState
    bids: list[BidId]
    declined: dict[str, tuple[str, ...]]
    verdicts: tuple[Verdict, ...]
    winner: str


class Saved(msgspec.Struct, frozen=True):
    """A state."""

    version: int
    operator: str
    sequence: int
    now: int
    books: SavedBooks
    admitted: list[str]
    providers: list[Provider]
    deployments: list[Deployment]
    accounts: list[Account]
    groups: list[Group]
    orders: list[SavedOrder]
    bids: list[Bid]
    leases: list[Lease]
    open_orders: list[OrderId]
    running: list[LeaseId]
    dseqs: dict[str, int]
    slashes: list[tuple[str, int, str, int]]
    cleared: list[OrderId]
    units: dict[str, list[DeploymentId]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Saved)
_ORDER = tuple(each.name for each in fields(SavedOrder))


def save(state: State) -> bytes:
    """Return a state's bytes."""
    found = Saved(
        version=VERSION,
        operator=state.operator,
        sequence=state.sequence,
        now=state.now,
        books=state.books.save(),
        admitted=sorted(state.admitted),
        providers=list(state.providers.values()),
        deployments=list(state.deployments.values()),
        accounts=list(state.accounts.values()),
        groups=list(state.groups.values()),
        orders=[_saved_order(each) for each in state.orders.values()],
        bids=list(state.bids.values()),
        leases=list(state.leases.values()),
        open_orders=list(state.open_orders),
        running=list(state.running),
        dseqs=state.dseqs,
        slashes=state.slashes,
        cleared=state.cleared,
        units=state.units,
    )
    return _encoder.encode(found)


def restore(body: bytes, operator: str) -> State:
    """Return the state that was saved; raise ValueError if it is none of this version."""
    try:
        found = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    if (found.version, found.operator) != (VERSION, operator):
        raise ValueError(f"it is version {found.version} of the market of {found.operator}")
    state = State(operator)
    state.books = Books.restored(found.books)
    state.escrow = Escrow(state.books)
    state.admitted = set(found.admitted)
    for provider in found.providers:
        state.providers[provider.address] = provider
        state.board.put(provider)
    state.deployments = {each.id: each for each in found.deployments}
    state.accounts = dict(zip(state.deployments, found.accounts, strict=True))
    state.groups = {each.id: each for each in found.groups}
    state.orders = {each.id: _order(state, each) for each in found.orders}
    state.bids = {each.id: each for each in found.bids}
    state.leases = {each.id: each for each in found.leases}
    state.open_orders = dict.fromkeys(found.open_orders)
    state.running = dict.fromkeys(found.running)
    state.dseqs, state.units = found.dseqs, found.units
    state.slashes, state.cleared = found.slashes, found.cleared
    state.sequence, state.now = found.sequence, found.now
    return state


def _saved_order(order: Order) -> SavedOrder:
    return SavedOrder(**{name: getattr(order, name) for name in _ORDER})


def _order(state: State, saved: SavedOrder) -> Order:
    values: dict[str, Any] = {name: getattr(saved, name) for name in _ORDER}
    return Order(group=state.groups[saved.id.group], **values)
