"""The provider agent: answers orders, serves leases, and never ends one because it lost contact.

For every market that it offers in, it follows the market's feed. An order is answered at once, with
a bid or with the reasons against one. A lease is served from its manifest on, until its market says
that it ended or its prepaid time is over. While a market cannot be reached, everything goes on;
when it can be reached again, the feed says what changed meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import CONFLICT, NOT_FOUND, SkerryError
from skerry.market.core import messages as m
from skerry.market.core.messages import Capacity, PriceList
from skerry.market.core.names import LeaseId, OrderId
from skerry.market.core.needs import need
from skerry.market.core.state import BID_DEPOSIT
from skerry.market.core.states import LeaseState, Reason
from skerry.market.link import FEED_SECONDS_MAX, Feed, LeaseNotice, MarketLink, OrderNotice
from skerry.market.provider.inventory import Inventory
from skerry.market.provider.manifests import group_of
from skerry.market.provider.pricing import STANDARD, NoPriceError, price_of
from skerry.market.provider.records import Ended, Held, Manifested, Record, Records, encode
from skerry.market.provider.runner import Runner
from skerry.market.sdl.build import LEASED_IP, manifest_hash
from skerry.node.folded_log import FoldedLog
from skerry.node.workload import State, WorkloadInfo

MILLISECOND = 1_000_000
MANIFEST_MILLISECONDS = 300_000
HORIZON_MILLISECONDS = 2000
"""How far a lease's prepaid time must move before its workloads are told."""
RETRY_SECONDS = (1.0, 30.0)
ANSWERS_AT_ONCE = 16
REASONS_MAX = 20
REASON_MAX = 500
FEED_SECONDS = 2.0
"""How long a manifest waits for the feed to tell of its lease."""
WITHDRAW_SECONDS = 24 * 3600.0
RESTARTS_MAX = 20
"""After so many restarts a workload counts as unstable, and its lease is closed."""

_log = logging.getLogger("skerry.market.provider")


class Settings(msgspec.Struct, frozen=True):
    """What a provider was started with; kept on disk, so that it starts again with its node."""

    name: str
    country: str
    url: str
    attributes: dict[str, str] = {}
    markets: tuple[str, ...] = ()
    price_script: str = ""
    standing: PriceList = STANDARD
    offers_posted: bool = False
    notice_seconds: int = 0
    share_percent: int = 90


class Agent:
    """A provider."""

    def __init__(
        self,
        settings: Settings,
        address: str,
        capacity: Capacity,
        runner: Runner,
        directory: Path,
        clock: Clock,
        node: Callable[[], str] = str,
    ) -> None:
        self._node = node
        self.settings = settings
        self.address = address
        self.inventory = Inventory(capacity)
        self.runner = runner
        self.records = Records()
        self.links: dict[str, MarketLink] = {}
        self.contact: dict[str, str] = {}
        self.wallets: dict[str, int] = {}
        self.log = FoldedLog(
            directory,
            clock,
            new=Records,
            save=lambda records: (records.save(),),
            restore=lambda parts: Records.restored(next(parts)),
        )
        self._clock = clock
        self._answered: dict[str, set[OrderId]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(ANSWERS_AT_ONCE)
        self._reported: set[LeaseId] = set()
        self._ending: set[LeaseId] = set()
        self._news = asyncio.Event()

    @property
    def now(self) -> int:
        """The time in milliseconds."""
        return self._clock.now() // MILLISECOND

    async def start(self) -> None:
        """Open the log, and go on with every lease that it holds."""
        self.records = await self.log.open()
        for record in list(self.records.leases.values()):
            self.inventory.reserve(record.notice.id.order, need(record.notice.group))
            if record.group is not None:
                self._later(self._serve(record.notice, record.group))
        self._later(self._withdraw_for_ever())

    async def stop(self) -> None:
        """Let go; what runs goes on by itself."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.log.close()

    async def join(self, link: MarketLink, *, must: bool) -> None:
        """Register in a market and follow it, now or as soon as it can be reached.

        `must`: raise why the market refuses or cannot be reached, and do not follow it.
        """
        said = None
        if must:
            said = await self.describe()
            await link.submit(said)
        self.links[link.name] = link
        self._answered[link.name] = set()
        self._later(self._follow(link, said))

    async def describe(self) -> m.RegisterProvider:
        """Return what this provider says of itself: its classes and images are those of now."""
        settings = self.settings
        isolation, images = await self.runner.can()
        return m.RegisterProvider(
            owner=self.address,
            name=settings.name,
            url=settings.url,
            country=settings.country,
            isolation=isolation,
            capacity=self.inventory.capacity,
            attributes=settings.attributes,
            images=images,
            posted=settings.standing if settings.offers_posted else None,
            node=self._node(),
        )

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry out work in the background; what goes wrong is told, and the rest goes on."""
        try:
            await work
        except SkerryError as error:
            _log.warning("%s %s", error.what, error.why)
        except OSError:
            _log.exception("the provider's work failed")

    async def _follow(self, link: MarketLink, said: m.RegisterProvider | None) -> None:
        after, pause = -1, RETRY_SECONDS[0]
        while True:
            try:
                message = await self.describe()
                if message != said:
                    await link.submit(message)
                    said = message
                # After a loss of contact the first answer is asked for at once.
                seconds = 0.0 if self.contact.get(link.name) else FEED_SECONDS_MAX
                feed = await link.feed(after, seconds)
                await self._take(link, feed)
            except (SkerryError, OSError, TimeoutError) as error:
                # Lost contact ends no lease: everything goes on, and this tries again.
                self.contact[link.name] = getattr(error, "what", str(error)) or repr(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_SECONDS[1])
                continue
            after, pause = feed.sequence, RETRY_SECONDS[0]
            self.contact[link.name] = ""

    async def _take(self, link: MarketLink, feed: Feed) -> None:
        """Take in what a market says; it knows which leases there are."""
        answered = self._answered[link.name]
        self.wallets[link.name] = feed.wallet
        live = {notice.id: notice for notice in feed.leases}
        for order in feed.orders:
            if order.id not in answered:
                answered.add(order.id)
                self._later(self._answer(link, order))
        open_orders = {order.id for order in feed.orders}
        for name in answered - open_orders:
            answered.discard(name)
            if not any(lease.order == name for lease in live):
                self.inventory.release(name)
        for notice in live.values():
            await self._hold(link, notice)
        for lease, record in list(self.records.leases.items()):
            if record.market == link.name and lease not in live and lease not in self._ending:
                self._ending.add(lease)
                self._later(self._end(lease, "its market says that it ended"))

    async def _answer(self, link: MarketLink, order: OrderNotice) -> None:
        async with self._slots:
            reasons = await self._obstacles(order)
            if not reasons:
                try:
                    await self._bid(link, order)
                    return
                except NoPriceError as error:
                    reasons = [str(error)]
                except SkerryError as error:
                    reasons = [error.why or error.what]
            self.inventory.release(order.id)
            with contextlib.suppress(SkerryError):
                said = tuple(each[:REASON_MAX] for each in reasons[:REASONS_MAX])
                await link.submit(m.Decline(order.id, self.address, said))

    async def _bid(self, link: MarketLink, order: OrderNotice) -> None:
        """Reserve what an order needs, price it and bid."""
        script = Path(self.settings.price_script) if self.settings.price_script else None
        if not self.inventory.reserve(order.id, need(order.group)):
            raise CONFLICT("; ".join(self.inventory.obstacles(need(order.group))))
        price = await price_of(order, script, self.settings.standing)
        window = max(order.terms.reclamation_seconds, self.settings.notice_seconds)
        await link.submit(m.CreateBid(order.id, self.address, price, BID_DEPOSIT, window))

    async def assess(self, order: OrderNotice) -> list[str]:
        """Return why this provider would not bid on an order; nothing is reserved."""
        found = await self._obstacles(order)
        script = Path(self.settings.price_script) if self.settings.price_script else None
        try:
            await price_of(order, script, self.settings.standing)
        except NoPriceError as error:
            found.append(str(error))
        return found

    async def _obstacles(self, order: OrderNotice) -> list[str]:
        """Return why this provider cannot serve an order."""
        found = self.inventory.obstacles(need(order.group), order.id)
        isolation = order.terms.isolation or "bwrap"
        exposed = any(unit.resources.endpoints for unit in order.group.resources)
        gpus = max(unit.resources.gpu_units for unit in order.group.resources)
        for image in order.images:
            for reason in await self.runner.obstacles(image, isolation, exposed=exposed, gpus=gpus):
                if reason not in found:
                    found.append(reason)
        for unit in order.group.resources:
            if any(each.kind == LEASED_IP for each in unit.resources.endpoints):
                found.append("endpoint: it has no addresses to lease")
            wanted = [each.key for each in unit.resources.gpu_attributes]
            own = self.inventory.capacity.gpu_model
            if unit.resources.gpu_units and not has_gpu(own, wanted):
                found.append(f"gpu: it has none of {', '.join(wanted)}")
        return found

    async def _hold(self, link: MarketLink, notice: LeaseNotice) -> None:
        """Take note of a lease that this provider has, or of what changed of it.

        Another market has no say in it, unless the lease's own is followed no longer: then it is
        the same market by another name, or the operator gave the lease over to it.
        """
        known = self.records.leases.get(notice.id)
        moved = known is not None and known.market != link.name
        if known is not None and moved and known.market in self.links:
            return
        if known is not None and not moved and not _differs(known.notice, notice):
            if known.group is None and self.now - known.since > MANIFEST_MILLISECONDS:
                await link.submit(m.CloseBid(notice.id, Reason.MANIFEST_TIMEOUT))
            return
        await self.log.append(encode(Held(link.name, notice, self.now)))
        self.inventory.reserve(notice.id.order, need(notice.group))
        if known is not None and known.group is not None:
            await self.runner.extend(notice)
        # A new manifest replaces what runs, so it must not overtake what is done here.
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def take_manifest(self, lease: LeaseId, manifest: list[dict[str, Any]]) -> None:
        """Check a manifest and run it; it is durable, and runs, when this returns."""
        record = await self._await_lease(lease, manifest_hash(manifest))
        group = group_of(manifest, record.notice)
        await self.runner.check(record.notice, group)
        again = record.group is not None and record.group != group
        await self.log.append(encode(Manifested(lease, group, self.now)))
        await (self.runner.replace if again else self.runner.start)(record.notice, group)

    async def _await_lease(self, lease: LeaseId, digest: str) -> Record:
        """Return a lease; the feed may take a moment to tell of it, or of its new manifest."""

        def announced() -> bool:
            record = self.records.leases.get(lease)
            return record is not None and record.notice.manifest_hash == digest

        await self._hear(announced)
        record = self.records.leases.get(lease)
        if record is not None:
            return record
        why = self.records.ended.get(lease, "It was not made, or its market cannot be reached.")
        raise NOT_FOUND(f"This provider has no lease {lease}.", why=why)

    async def leases_of(self, owner: str, dseq: int) -> list[LeaseId]:
        """Return the leases of a deployment; the feed may take a moment to tell of a new one."""

        def found() -> list[LeaseId]:
            known = self.records.leases
            return [each for each in known if each.owner == owner and each.dseq == dseq]

        await self._hear(found)
        if not found():
            raise NOT_FOUND(f"This provider has no lease of {owner}/{dseq}.")
        return found()

    async def _hear(self, enough: Callable[[], object]) -> None:
        """Wait until the feed has told enough, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FEED_SECONDS):
                while not enough():
                    await self._news.wait()

    async def _serve(self, notice: LeaseNotice, group: dict[str, Any]) -> None:
        """Go on with a lease after a restart: whatever of it is missing is started."""
        if notice.funded_until > self.now:
            await self.runner.start(notice, group)

    def lease(self, lease: LeaseId) -> tuple[LeaseNotice, dict[str, Any]]:
        """Return a lease and its group of the manifest; raise NOT_FOUND or CONFLICT."""
        record = self.records.leases.get(lease)
        if record is None:
            why = self.records.ended.get(lease, "")
            raise NOT_FOUND(f"This provider has no lease {lease}.", why=why)
        if record.group is None:
            raise CONFLICT(f"No manifest came for lease {lease}.")
        return record.notice, record.group

    async def _end(self, lease: LeaseId, why: str) -> None:
        """Stop what a lease paid for; programs may take their time, and others do not wait."""
        try:
            await self.runner.end(lease)
            await self.log.append(encode(Ended(lease, why, self.now)))
        finally:
            self._ending.discard(lease)
        self.inventory.release(lease.order)
        self._reported.discard(lease)

    def changed(self, info: WorkloadInfo) -> None:
        """Take note of a workload's change of state: report results, give up on the unstable."""
        label = info.labels.get("lease")
        for lease, record in self.records.leases.items():
            if str(lease) == label:
                link = self.links.get(record.market)
                if link is not None and info.state is State.ENDED:
                    self._later(self._report(link, lease))
                elif link is not None and info.restarts > RESTARTS_MAX:
                    self._later(self._give_up(link, record.notice))

    async def _report(self, link: MarketLink, lease: LeaseId) -> None:
        found = await self.runner.result(lease)
        if found is None or lease in self._reported:
            return
        self._reported.add(lease)
        await link.submit(m.Report(lease, found[0], found[1]))

    async def _give_up(self, link: MarketLink, notice: LeaseNotice) -> None:
        if notice.state is LeaseState.ACTIVE:
            await link.submit(m.CloseBid(notice.id, Reason.UNSTABLE))

    async def _withdraw_for_ever(self) -> None:
        while True:
            await asyncio.sleep(WITHDRAW_SECONDS)
            await self.withdraw()

    async def withdraw(self) -> list[LeaseId]:
        """Take what every lease earned so far; return the leases."""
        done, paid = [], {}
        for lease, record in list(self.records.leases.items()):
            link = self.links.get(record.market)
            if link is not None:
                await link.submit(m.Withdraw(lease))
                done.append(lease)
                paid[record.market] = link
        for name, link in paid.items():
            self.wallets[name] = (await link.feed(-1, 0.0)).wallet
        return done


def has_gpu(own: str, wanted: list[str]) -> bool:
    """Tell whether a GPU, by the name that its tool gives it, is one of those asked for.

    What the name does not say (its memory, its interface) is not promised.
    """
    name = own.lower().replace(" ", "")
    for key in wanted:
        parts = key.lower().split("/")
        asked = dict(zip(parts[::2], parts[1::2], strict=False))
        model = asked.get("model", "*")
        memory = asked.get("ram", "").removesuffix("gi").removesuffix("g")
        fits = model in ("*", "") or model in name
        fits = fits and (not memory or f"{memory}gb" in name)
        if name and fits and asked.get("interface", "") in name:
            return True
    return False


def _differs(old: LeaseNotice, new: LeaseNotice) -> bool:
    """Tell whether what changed of a lease matters to who serves it."""
    moved = abs(new.funded_until - old.funded_until) >= HORIZON_MILLISECONDS
    return moved or (old.state, old.manifest_hash, old.reclaim_at) != (
        new.state,
        new.manifest_hash,
        new.reclaim_at,
    )
