"""What a market knows at a moment."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from skerry.kernel.money import Rate
from skerry.market.core.messages import Capacity, PriceList
from skerry.market.core.names import BidId, DeploymentId, GroupId, LeaseId, OrderId
from skerry.market.core.reputation import Record
from skerry.market.core.states import (
    BidState,
    DeploymentState,
    GroupState,
    LeaseState,
    OrderState,
    Reason,
)
from skerry.market.core.terms import Terms
from skerry.market.sdl.model import GroupSpec


@dataclass(slots=True)
class Provider:
    """A provider: what it says of itself, what others vouch for, and how it did."""

    address: str
    name: str
    url: str
    country: str
    isolation: tuple[str, ...]
    capacity: Capacity
    attributes: dict[str, str]
    images: tuple[str, ...]
    posted: PriceList | None
    since: int
    node: str = ""
    signed: dict[str, dict[str, str]] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    leases: set[LeaseId] = field(default_factory=set)


@dataclass(slots=True)
class Deployment:
    """A tenant's deployment."""

    id: DeploymentId
    name: str
    manifest_hash: str
    created_at: int
    unit: str = ""
    app: str = ""
    state: DeploymentState = DeploymentState.ACTIVE
    groups: list[GroupId] = field(default_factory=list)
    reason: Reason = Reason.NONE
    closed_at: int = 0


@dataclass(slots=True)
class Group:
    """A group of a deployment."""

    id: GroupId
    spec: GroupSpec
    terms: Terms
    created_at: int
    images: tuple[str, ...] = ()
    state: GroupState = GroupState.OPEN
    orders: int = 0


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """Why a provider did not get an order, or that it did; `score` is lower for better."""

    provider: str
    reason: str
    score: int | None = None


@dataclass(slots=True)
class Order:
    """An order of a group. `limit` is the most that it may cost."""

    id: OrderId
    group: Group
    limit: Rate
    created_at: int
    state: OrderState = OrderState.OPEN
    bids: list[BidId] = field(default_factory=list)
    declined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    winner: str = ""


@dataclass(slots=True)
class Bid:
    """A provider's offer. `price` is what it asks, which is not always what it gets."""

    id: BidId
    price: Rate
    created_at: int
    deposit: int
    reclamation_seconds: int
    state: BidState = BidState.OPEN


@dataclass(slots=True)
class Lease:
    """A bid that was taken, at the price that the order's rule came to; times in ms."""

    id: LeaseId
    price: Rate
    created_at: int
    reclamation_seconds: int
    state: LeaseState = LeaseState.ACTIVE
    closed_at: int = 0
    reason: Reason = Reason.NONE
    reclaim_at: int = 0
    reclaim_reason: Reason = Reason.NONE
    status: int | None = None
    digest: str = ""
    probes: int = 0
    probes_failed: int = 0
