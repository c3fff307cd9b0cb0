"""A market that this node keeps: the log, the fold over it, and what the clock makes it do.

Two things happen by time. An order is cleared when its window for bids has passed, or as soon as
every provider has answered; if nobody bid, it stays open and is cleared again when somebody does.
And a deployment is settled when its money runs out, and all of them once a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from skerry.kernel.clock import Clock
from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.market.core import books as b
from skerry.market.core import messages as m
from skerry.market.core.entities import Lease, Order
from skerry.market.core.escrow import State as EscrowState
from skerry.market.core.market import Market
from skerry.market.core.messages import AnyMessage, Entry, Signed
from skerry.market.core.names import DeploymentId, OrderId
from skerry.market.core.prices import in_units
from skerry.market.core.state import State
from skerry.market.core.states import RUNNING, OrderState
from skerry.market.core.terms import Rule
from skerry.market.link import Feed, LeaseNotice, OrderNotice
from skerry.node.folded_log import FoldedLog

MILLISECOND = 1_000_000
SETTLE_MILLISECONDS = 60_000
WARN_MILLISECONDS = 600_000
"""How long before the money runs out a tenant is warned."""
SETTLE_BATCH = 1000
ORDERS_MAX = 1000
"""How many open orders, the oldest first, one answer of the feed holds."""
TICK_MILLISECONDS = 5
CHECK_MILLISECONDS = 1000
"""How often it is looked whose money ran out: time is metered by the second."""
QUIET_MILLISECONDS = 60_000
FOREVER = 1 << 53
"""The horizon of a lease that costs nothing: later than any date, and exact in JSON."""

_log = logging.getLogger("skerry.market")


class Exchange:
    """A market of this node, run by `operator`."""

    def __init__(self, directory: Path, operator: str, clock: Clock) -> None:
        self.operator = operator
        self._clock = clock
        self._market = Market(operator)
        self._folded = FoldedLog(
            directory,
            clock,
            new=lambda: Market(operator),
            save=lambda market: (market.save(),),
            restore=lambda parts: Market.restored(next(parts), operator),
        )
        self._changed = asyncio.Condition()
        self._answers: dict[OrderId, int] = {}
        self._warned: set[DeploymentId] = set()
        self._settled_at = 0
        self._checked_at = 0
        self._work: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def state(self) -> State:
        """The market as it is now; only the log changes it."""
        return self._market.state

    @property
    def now(self) -> int:
        """The time in milliseconds, never before what the market has seen."""
        return max(self._clock.now() // MILLISECOND, self.state.now)

    async def start(self) -> None:
        """Open the log and go on where it ends."""
        self._market = await self._folded.open()
        self._market.replaying = False
        self._settled_at = self.now
        self._work = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop the clock's work, let go of whoever waits, and close the log."""
        self._closing = True
        async with self._changed:
            self._changed.notify_all()
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        await self._folded.close()

    async def submit(self, signer: str, *messages: AnyMessage) -> None:
        """Append messages; they are durable and folded when this returns.

        Raises why the first refused one was refused.
        """
        now = self._clock.now() // MILLISECOND
        for message in messages:
            self._market.check(message, signer, now)
        entry = Entry(now, tuple(Signed(signer, each) for each in messages))
        try:
            await self._folded.append(m.encode(entry))
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def wait(self, after: int, seconds: float) -> None:
        """Wait until there is something after an entry of the log, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._closing or self.state.sequence > after)

    async def until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is so; return whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._closing or done())
        return done()

    async def feed(self, provider: str, after: int, seconds: float) -> Feed:
        """Return what a provider needs to know."""
        await self.wait(after, seconds)
        state = self.state
        names = state.open_orders if provider in state.admitted else ()
        orders = tuple(self._order_notice(state.orders[n]) for n in islice(names, ORDERS_MAX))
        known = state.providers.get(provider)
        leases = tuple(
            self._lease_notice(state.leases[name]) for name in (known.leases if known else ())
        )
        held = state.books.balance(b.wallet(provider))
        return Feed(self.operator, state.sequence, orders, leases, held)

    def lease_notice(self, lease: Lease) -> LeaseNotice:
        """Return a lease as its provider sees it, whatever its state."""
        return self._lease_notice(lease)

    def _order_notice(self, order: Order) -> OrderNotice:
        group = order.group
        return OrderNotice(order.id, group.spec, group.terms, order.limit, group.images)

    def _lease_notice(self, lease: Lease) -> LeaseNotice:
        state = self.state
        group = state.groups[lease.id.group]
        dry = state.dry_at(lease.id.deployment)
        return LeaseNotice(
            id=lease.id,
            state=lease.state,
            price=lease.price,
            group=group.spec,
            terms=group.terms,
            manifest_hash=state.deployments[lease.id.deployment].manifest_hash,
            created_at=lease.created_at,
            funded_until=FOREVER if dry is None else dry,
            reason=lease.reason,
            reclaim_at=lease.reclaim_at,
        )

    def warning(self, deployment: DeploymentId) -> str:
        """Return what a tenant must know of its money, or ''."""
        account = self.state.accounts[deployment]
        if account.state is EscrowState.OVERDRAWN:
            return f"the money ran out; {in_units(-account.funds)} are owed"
        dry = self.state.dry_at(deployment)
        if dry is None or account.state is not EscrowState.OPEN:
            return ""
        left = dry - self.now
        if left >= WARN_MILLISECONDS:
            return ""
        return f"the money lasts {max(left, 0) // 1000} s more: skerry market deposit"

    async def _run(self) -> None:
        while True:
            seen = self.state.sequence
            await self._tick()
            await self.wait(seen, self._quiet_seconds())

    def _quiet_seconds(self) -> float:
        """Return how long nothing happens by itself, if nobody sends a message."""
        now = self.now
        moments = [now + QUIET_MILLISECONDS]
        for name in self.state.open_orders:
            order = self.state.orders[name]
            end = order.created_at + order.group.terms.window_ms
            if end > now:
                moments.append(end)
        if self.state.running:
            moments.append(max(self._checked_at + CHECK_MILLISECONDS, now))
        return max(min(moments) - now, TICK_MILLISECONDS) / 1000

    def _paying(self) -> Iterator[DeploymentId]:
        return iter({name.deployment: None for name in self.state.running})

    async def _tick(self) -> None:
        try:
            await self._clear_due()
            await self._settle_due()
        except SkerryError as error:
            # A disk that is full or slow; the next tick tries again, and `doctor` says it too.
            _log.error("the market's log: %s %s", error.what, error.why)
            await asyncio.sleep(1)

    async def _clear_due(self) -> None:
        for name in list(self.state.open_orders):
            order = self.state.orders.get(name)
            if order is None or order.state is not OrderState.OPEN:
                continue
            if order.group.terms.clearing is Rule.MANUAL and order.verdicts:
                continue
            if self._due(order):
                self._answers[name] = self._answered(order)
                await self._clear(name)
        self._answers = {k: v for k, v in self._answers.items() if k in self.state.open_orders}

    async def _clear(self, name: OrderId) -> None:
        """Clear an order, unless it was closed or ran dry in the meantime."""
        try:
            await self.submit(self.operator, m.Clear(name))
        except SkerryError as error:
            if error.problem is not CONFLICT:
                raise

    def _due(self, order: Order) -> bool:
        """Tell whether an order's window is over, or nobody is left to answer."""
        answered = self._answered(order)
        if order.group.terms.clearing is Rule.POSTED and not order.verdicts:
            return True
        if self._answers.get(order.id) == answered:
            return False
        everybody = answered >= len(self.state.providers) > 0
        return everybody or self.now >= order.created_at + order.group.terms.window_ms

    def _answered(self, order: Order) -> int:
        return len(order.bids) + len(order.declined)

    async def _settle_due(self) -> None:
        now, state = self.now, self.state
        if now - self._checked_at < CHECK_MILLISECONDS:
            return
        self._checked_at = now
        dry = []
        for name in self._paying():
            end = state.dry_at(name)
            if end is None:
                continue
            if end < now:
                dry.append(name)
            elif end - now < WARN_MILLISECONDS and name not in self._warned:
                self._warned.add(name)
                _log.warning("%s: %s", name, self.warning(name))
        if now - self._settled_at >= SETTLE_MILLISECONDS:
            self._settled_at = now
            dry = list(self._paying())
            self._warned &= set(dry)
        for start in range(0, len(dry), SETTLE_BATCH):
            batch = tuple(dry[start : start + SETTLE_BATCH])
            await self.submit(self.operator, m.Settle(batch))


def check_running(lease: Lease) -> None:
    """Raise CONFLICT, with the reason why it was closed, unless a lease runs."""
    if lease.state not in RUNNING:
        raise CONFLICT(
            f"Lease {lease.id} is {lease.state}.",
            why=f"{lease.reason.words} (reason {lease.reason.value})",
            hint="skerry market leases",
        )
