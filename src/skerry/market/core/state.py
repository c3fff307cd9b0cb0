"""All that a market knows, and how it is found."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.money import Rate
from skerry.market.core import books as b
from skerry.market.core import prices
from skerry.market.core.board import Board
from skerry.market.core.books import Books
from skerry.market.core.entities import Bid, Deployment, Group, Lease, Order, Provider
from skerry.market.core.escrow import Account, Escrow
from skerry.market.core.names import BidId, DeploymentId, GroupId, LeaseId, OrderId
from skerry.market.core.states import RUNNING, OrderState

BIDS_MAX = 500
"""How many bids an order takes; Akash's default is 20 and its highest setting this."""
BID_DEPOSIT = 500_000
"""Micro-units that a bid puts down, and gets back: what Akash asks in its own coin."""
DEPOSIT_MIN = 100_000
"""The least that a deployment puts into escrow."""


class State:
    """A market at a moment. `operator` is the address that the market itself acts by."""

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.books = Books()
        self.escrow = Escrow(self.books)
        self.board = Board()
        self.admitted: set[str] = {operator}
        self.providers: dict[str, Provider] = {}
        self.deployments: dict[DeploymentId, Deployment] = {}
        self.accounts: dict[DeploymentId, Account] = {}
        self.groups: dict[GroupId, Group] = {}
        self.orders: dict[OrderId, Order] = {}
        self.bids: dict[BidId, Bid] = {}
        self.leases: dict[LeaseId, Lease] = {}
        self.open_orders: dict[OrderId, None] = {}
        self.running: dict[LeaseId, None] = {}
        self.dseqs: dict[str, int] = {}
        self.sequence = 0
        self.now = 0
        self.slashes: list[tuple[str, int, str, int]] = []
        self.cleared: list[OrderId] = []
        self.units: dict[str, list[DeploymentId]] = {}

    def deployment(self, id: DeploymentId) -> Deployment:  # noqa: A002 (its own word)
        """Return a deployment; raise NOT_FOUND if there is none."""
        found = self.deployments.get(id)
        if found is None:
            raise NOT_FOUND(f"There is no deployment {id}.", hint="skerry market leases")
        return found

    def group(self, id: GroupId) -> Group:  # noqa: A002 (its own word)
        """Return a group; raise NOT_FOUND if there is none."""
        found = self.groups.get(id)
        if found is None:
            raise NOT_FOUND(f"There is no group {id}.", hint="skerry market leases")
        return found

    def order(self, id: OrderId) -> Order:  # noqa: A002 (its own word)
        """Return an order; raise NOT_FOUND if there is none."""
        found = self.orders.get(id)
        if found is None:
            raise NOT_FOUND(f"There is no order {id}.", hint="skerry market bids")
        return found

    def bid(self, id: BidId) -> Bid:  # noqa: A002 (its own word)
        """Return a bid; raise NOT_FOUND if there is none."""
        found = self.bids.get(id)
        if found is None:
            raise NOT_FOUND(f"There is no bid {id}.", hint="skerry market bids")
        return found

    def lease(self, id: LeaseId) -> Lease:  # noqa: A002 (its own word)
        """Return a lease; raise NOT_FOUND if there is none."""
        found = self.leases.get(id)
        if found is None:
            raise NOT_FOUND(f"There is no lease {id}.", hint="skerry market leases")
        return found

    def provider(self, address: str) -> Provider:
        """Return a provider; raise NOT_FOUND if it did not register."""
        found = self.providers.get(address)
        if found is None:
            raise NOT_FOUND(
                f"{address} is not a provider here.", hint="skerry market provider start"
            )
        return found

    def latest_order(self, group: GroupId) -> Order:
        """Return the order that a group placed last."""
        return self.orders[OrderId(*group, self.groups[group].orders)]

    def lease_of(self, order: OrderId) -> Lease | None:
        """Return the lease of an order that is active."""
        found = self.orders.get(order)
        if found is None or found.state is not OrderState.ACTIVE:
            return None
        for bid in found.bids:
            lease = self.leases.get(bid)
            if lease is not None and lease.state in RUNNING:
                return lease
        return None

    def leases_of(self, deployment: DeploymentId) -> Iterator[Lease]:
        """Yield the leases of a deployment, in the order in which they began."""
        for group in self.deployments[deployment].groups:
            for oseq in range(1, self.groups[group].orders + 1):
                for bid in self.orders[OrderId(*group, oseq)].bids:
                    if bid in self.leases:
                        yield self.leases[bid]

    def bond(self, provider: str) -> int:
        """Return what a provider staked."""
        return self.books.balance(b.bond(provider))

    def limit(self, group: Group) -> Rate:
        """Return the most that all replicas of a group may cost together."""
        return prices.total(
            [
                prices.times(prices.per_block(unit.amount), Fraction(unit.count))
                for unit in group.spec.resources
            ]
        )

    def dry_at(self, deployment: DeploymentId) -> int | None:
        """Return when the money runs out (ms), or None if nothing drains it."""
        account = self.accounts[deployment]
        rates = [payment.rate for payment in account.open_payments()]
        whole = prices.fraction_of(prices.total(rates))
        if not whole or account.funds < 0:
            return None
        return account.settled_at + int(account.funds / whole)
