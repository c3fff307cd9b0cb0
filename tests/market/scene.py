"""A market for tests: without a log, driven by messages at moments of one's choice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.kernel.money import Rate
from skerry.market.core import messages as m
from skerry.market.core.market import Market
from skerry.market.core.messages import AnyMessage, Entry, Signed
from skerry.market.core.names import BidId, DeploymentId, LeaseId, OrderId
from skerry.market.core.terms import Terms
from skerry.market.sdl.model import Attribute, GroupSpec, Resources, ResourceUnit, Volume

OPERATOR = "operator"
TENANT = "tenant"
HASH = "0" * 64
EUR = 1_000_000
SECOND = 1000
HOUR = 3600 * SECOND

CAPACITY = m.Capacity(cpu_milli=8000, memory_bytes=16 << 30, storage_bytes=100 << 30)


def group(
    amount: str = "1000",
    count: int = 1,
    attributes: tuple[Attribute, ...] = (),
    **signed: Any,
) -> GroupSpec:
    """Return a group of small replicas; `amount` is the most that a block of one may cost."""
    resources = Resources(1, 500, 512 << 20, (Volume("default", 1 << 30),))
    unit = ResourceUnit(resources, count, "uakt", amount)
    return GroupSpec("web", (unit,), attributes, **signed)


class Scene:
    """A market with money, and providers `p0`, `p1`, … of different countries."""

    def __init__(self, providers: int = 2, money: int = 1000 * EUR) -> None:
        self.market = Market(OPERATOR)
        self.market.replaying = False
        self.state = self.market.state
        self.now = 1_800_000_000_000
        self.entries: list[Entry] = []
        self.send(OPERATOR, m.Fund(TENANT, money))
        for number in range(providers):
            self.add_provider(f"p{number}", country=("FI", "DE", "US")[number % 3])

    def go_on_with(self, market: Market) -> None:
        """Go on with another market of the same log."""
        self.market, self.state = market, market.state

    def add_provider(self, name: str, **changes: Any) -> None:
        """Admit, fund and register a provider."""
        settings = {
            "owner": name,
            "name": name,
            "url": f"http://{name}.example",
            "country": "FI",
            "isolation": ("bwrap",),
            "capacity": CAPACITY,
            **changes,
        }
        self.send(OPERATOR, m.Admit(name))
        self.send(OPERATOR, m.Fund(name, 100 * EUR))
        self.send(name, m.RegisterProvider(**settings))

    def send(self, signer: str, message: AnyMessage, *, later: int = 0) -> None:
        """Fold a message; raise why it is refused."""
        self.now += later
        entry = Entry(self.now, (Signed(signer, message),))
        self.entries.append(entry)
        self.market.apply(m.encode(entry))

    def refused(self, signer: str, message: AnyMessage, *, later: int = 0) -> SkerryError:
        """Fold a message that must be refused; return why, and see that it changed nothing."""
        before = self.picture()
        try:
            self.send(signer, message, later=later)
        except SkerryError as error:
            assert self.picture() == before
            return error
        raise AssertionError(f"{message} was accepted")

    def deploy(
        self, *groups: GroupSpec, terms: Terms | None = None, deposit: int = 10 * EUR, **more: Any
    ) -> DeploymentId:
        """Create a deployment; return its name."""
        wanted = groups or (group(),)
        one = terms or Terms()
        message = m.CreateDeployment(TENANT, wanted, (one,) * len(wanted), HASH, deposit, **more)
        self.send(TENANT, message)
        return DeploymentId(TENANT, self.state.dseqs[TENANT])

    def bid(self, order: OrderId, provider: str, per_second: int, **more: Any) -> BidId:
        """Bid micro-units for a second."""
        self.send(provider, self.offer(order, provider, per_second, **more))
        return BidId(*order, provider)

    def offer(self, order: OrderId, provider: str, per_second: int, **more: Any) -> m.CreateBid:
        """Return the message of a bid."""
        return m.CreateBid(order, provider, Rate(per_second, SECOND), 500_000, **more)

    def lease(
        self, deployment: DeploymentId, provider: str = "p0", per_second: int = 100, gseq: int = 1
    ) -> LeaseId:
        """Let a tenant take the only bid on a group's order."""
        state = self.state
        oseq = state.groups[OrderId(*deployment, gseq, 1).group].orders
        bid = self.bid(OrderId(*deployment, gseq, oseq), provider, per_second)
        self.send(TENANT, m.CreateLease(bid))
        return bid

    def held(self, name: str) -> int:
        """Return an account's balance."""
        return self.state.books.balance(name)

    def picture(self) -> dict[str, Any]:
        """Return all that counts of the state, to compare."""
        return picture(self.market)


def picture(market: Market) -> dict[str, Any]:
    """Return all that counts of a market's state, to compare."""
    state = market.state
    return {
        "deployments": {str(k): (v.state, v.reason) for k, v in state.deployments.items()},
        "groups": {str(k): v.state for k, v in state.groups.items()},
        "orders": {
            str(k): (v.state, v.winner, v.verdicts, sorted(v.declined.items()))
            for k, v in state.orders.items()
        },
        "bids": {str(k): (v.state, v.price) for k, v in state.bids.items()},
        "leases": {
            str(k): (v.state, v.reason, v.price, v.closed_at, v.reclaim_at, v.status)
            for k, v in state.leases.items()
        },
        "escrow": {
            str(k): (v.state, v.funds, v.settled_at, [d.balance for d in v.deposits])
            for k, v in state.accounts.items()
        },
        "payments": {
            p.id: (p.state, p.balance, p.unsettled, p.withdrawn)
            for v in state.accounts.values()
            for p in v.payments.values()
        },
        "providers": {k: (replace(v.record), sorted(v.leases)) for k, v in state.providers.items()},
        "money": dict(state.books.accounts()),
        "digest": state.books.machine.digest,
    }
