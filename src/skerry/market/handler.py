"""The market of a node: its wallets, the market that it keeps, its provider, and its tenant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.commands import Done, Nothing
from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, SkerryError
from skerry.kernel.keys import derive
from skerry.kernel.money import show
from skerry.kernel.policy import Fact, Place, Request, enforce
from skerry.market import present
from skerry.market import results as r
from skerry.market import service as s
from skerry.market.core import books as b
from skerry.market.core import messages as m
from skerry.market.core.entities import Lease, Provider
from skerry.market.core.messages import PriceList
from skerry.market.core.names import BidId, DeploymentId, parse_lease
from skerry.market.core.states import RUNNING, DeploymentState, GroupState, Reason
from skerry.market.core.terms import Rule, parse_reserve, parse_verification
from skerry.market.courier import Courier
from skerry.market.exchange import SETTLE_BATCH, Exchange
from skerry.market.identity.keys import Wallet
from skerry.market.identity.tokens import MessageTokens
from skerry.market.link import MarketLink, ProviderLink, Session, run_to_end
from skerry.market.money import parse_amount
from skerry.market.offering import Offering
from skerry.market.placing import Placing
from skerry.market.probing import Probing
from skerry.market.provider.agent import Agent, Settings
from skerry.market.provider.pricing import STANDARD
from skerry.market.tenant import Tenant
from skerry.market.ways import SCHEME, Ways
from skerry.market.wires.links import LocalMarket, LocalProvider, RemoteMarket, RemoteProvider

_log = logging.getLogger("skerry.market")
Progress = Any
EXEC_SECONDS = 600.0


class Handler:
    """What carries out the market's commands."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.clock = node.clock
        self.directory: Path = node.home.service("market")
        key = node.home.node_key()
        self.wallet = Wallet(derive(key, "market", "owner"))
        self.provider_wallet = Wallet(derive(key, "market", "provider"))
        self.operator_token: str = node.home.token()
        self.tokens = MessageTokens(node.clock)
        self.ways = Ways(node)
        self.exchange = Exchange(self.directory / "log", self.wallet.address, node.clock)
        self.tenant = Tenant(self.exchange, self.wallet, node.clock, self.directory, self._reach)
        self.courier = Courier(self.exchange, self.tenant, self.decide)
        self.placing = Placing(self)
        self.offering = Offering(self)
        self.probing = Probing(self)

    @property
    def agent(self) -> Agent | None:
        """The provider of this node, if it is one."""
        return self.offering.agent

    @property
    def currency(self) -> str:
        """The currency of the market."""
        return str(self.node.config.currency)

    async def start(self) -> None:
        """Open the market, and offer again if this node was a provider."""
        await self.exchange.start()
        await self.offering.resume()
        self.probing.start()
        self.courier.start()

    async def stop(self) -> None:
        """Stop what goes on by itself; workloads go on by themselves."""
        await self.courier.stop()
        await self.probing.stop()
        await self.offering.stop()
        await self.exchange.stop()

    def link(self, url: str) -> MarketLink:
        """Return the way to a market, this node's own if none is named."""
        if not url or url == "local":
            return LocalMarket(self.exchange, self.provider_wallet.address)
        return RemoteMarket(url, self.provider_wallet, self.clock, self.node.entropy, self.ways)

    def _reach(self, provider: str) -> ProviderLink:
        """Return the way to a provider; what is sent there was decided on before."""
        agent = self.agent
        if agent is not None and provider == agent.address:
            return LocalProvider(agent)
        known = self.exchange.state.provider(provider)
        return RemoteProvider(known, self.wallet, self.clock, self.ways)

    async def submit(self, message: m.AnyMessage) -> None:
        """Send a message as this node's owner."""
        await self.exchange.submit(self.wallet.address, message)

    def deployment(self, dseq: int | None) -> DeploymentId:
        """Return the owner's deployment of a number, by default the last; raise NOT_FOUND."""
        owner = self.wallet.address
        last = self.exchange.state.dseqs.get(owner, 0)
        if not last:
            raise NOT_FOUND("Nothing was deployed yet.", hint="skerry market deploy deploy.yaml")
        name = DeploymentId(owner, last if dseq is None else dseq)
        if name not in self.exchange.state.deployments:
            raise NOT_FOUND(
                f"There is no deployment {name.dseq}.",
                why=f"The last one is {last}.",
                hint="skerry market leases --all",
            )
        return name

    def running(self, dseq: int) -> list[Lease]:
        """Return the running leases of a deployment; raise why there is none."""
        name = self.deployment(dseq)
        state = self.exchange.state
        leases = list(state.leases_of(name))
        found = [each for each in leases if each.state in RUNNING]
        if not found:
            why = leases[-1].reason.words if leases else "Nobody serves it yet."
            raise CONFLICT(
                f"Deployment {dseq} has no running lease.", why=why, hint="skerry market bids"
            )
        return found

    async def do_overview(self, _params: Nothing, _progress: Progress) -> r.Overview:
        """See `market.overview`."""
        return present.overview(self)

    async def do_fund(self, params: s.Fund, _progress: Progress) -> Done:
        """See `market.fund`."""
        amount = parse_amount(params.amount)
        owner = params.to or self.wallet.address
        await self.submit(m.Fund(owner, amount))
        held = show(self.exchange.state.books.balance(b.wallet(owner)), self.currency)
        return Done(f"The wallet of {owner} holds {held}.", next="skerry market deploy")

    async def do_admit(self, params: s.Admit, _progress: Progress) -> Done:
        """See `market.admit`."""
        await self.submit(m.Admit(params.address, not params.remove))
        if params.remove:
            return Done(f"{params.address} may offer here no longer; its leases go on.")
        credit = parse_amount(params.credit, least=0)
        if credit:
            await self.submit(m.Fund(params.address, credit))
        return Done(f"{params.address} may offer here, with {show(credit, self.currency)}.")

    async def do_sign(self, params: s.Sign, _progress: Progress) -> Done:
        """See `market.sign`."""
        attributes = read_pairs(params.attribute)
        await self.submit(m.SignAttributes(self.wallet.address, params.provider, attributes))
        return Done(f"{self.wallet.address} vouches for {len(attributes)} attributes.")

    async def do_providers(self, _params: Nothing, _progress: Progress) -> list[r.ProviderInfo]:
        """See `market.providers`."""
        return await present.providers(self)

    async def do_provider_start(
        self, params: s.ProviderStart, progress: Progress
    ) -> r.ProviderStarted:
        """See `market.provider.start`."""
        standing = STANDARD
        if params.cpu_price or params.memory_price:
            standing = PriceList(
                cpu=parse_amount(params.cpu_price or "0.01", least=0),
                memory_gib=parse_amount(params.memory_price or "0.005", least=0),
                storage_gib=STANDARD.storage_gib,
                gpu=STANDARD.gpu,
            )
        country = params.country.strip().upper()
        if len(country) != 2 or not country.isalpha():
            raise INVALID(f"{params.country!r} is no country.", why="Write two letters (ISO 3166).")
        settings = Settings(
            name=params.name or self.node.name,
            country=country,
            url=f"{self.node.url}/market/provider",
            attributes=read_pairs(params.attribute),
            markets=tuple(map(_market, params.market)) or ("local",),
            price_script=params.price_script,
            standing=standing,
            offers_posted=params.posted,
            notice_seconds=params.notice_hours * 3600,
            share_percent=params.share,
        )
        return await self.offering.begin(settings)

    async def do_provider_stop(self, _params: Nothing, _progress: Progress) -> Done:
        """See `market.provider.stop`."""
        await self.offering.end()
        return Done("This machine offers nothing more.", next="skerry market providers")

    async def do_provider_show(self, _params: Nothing, _progress: Progress) -> r.ProviderShown:
        """See `market.provider.show`."""
        return present.provider(self, self.offering.running())

    async def do_provider_withdraw(self, _params: Nothing, _progress: Progress) -> Done:
        """See `market.provider.withdraw`."""
        agent = self.offering.running()
        done = await agent.withdraw()
        leases = "1 lease" if len(done) == 1 else f"{len(done)} leases"
        wallets = "; ".join(
            f"the wallet {'here' if name == 'local' else f'at {name}'} "
            f"holds {show(held, self.currency)}"
            for name, held in agent.wallets.items()
        )
        return Done(f"Withdrew from {leases}; {wallets}.")

    async def do_provider_bond(self, params: s.Bond, _progress: Progress) -> Done:
        """See `market.provider.bond`."""
        agent = self.offering.running()
        amount = parse_amount(params.amount)
        kind = m.ReturnBond if params.back else m.PostBond
        for link in agent.links.values():
            await link.submit(kind(agent.address, amount))
        return Done(f"{'Took back' if params.back else 'Staked'} {show(amount, self.currency)}.")

    async def do_provider_close(self, params: s.ProviderClose, _progress: Progress) -> Done:
        """See `market.provider.close`."""
        agent, lease = self.offering.running(), parse_lease(params.lease)
        agent.lease(lease)
        link = agent.links[agent.records.leases[lease].market]
        reason = Reason[params.reason.upper()]
        if params.announce:
            await link.submit(m.StartReclaim(lease, reason))
            return Done(f"The end of {lease} is announced.")
        await link.submit(m.CloseBid(lease, reason))
        return Done(f"Lease {lease} is closed: {reason.words}.")

    async def do_deploy(self, params: s.Deploy, progress: Progress) -> r.Deployed:
        """See `market.deploy`."""
        changes = _terms(params)
        changes["refused"] = self.refused(params.for_app)
        plan = await asyncio.to_thread(self.tenant.plan, params.file, params.file_name, **changes)
        plan = msgspec.structs.replace(plan, app=params.for_app)
        if params.dry_run:
            return await self.placing.dry_run(plan)
        deposit = parse_amount(params.deposit)
        return await self.placing.deploy(plan, deposit, params.name, params.wait, progress)

    async def do_bids(self, params: s.MaybeDeployment, _progress: Progress) -> list[r.BidInfo]:
        """See `market.bids`."""
        return present.bids(self, self.deployment(params.dseq))

    async def do_accept(self, params: s.Accept, progress: Progress) -> r.Deployed:
        """See `market.accept`."""
        bid: BidId = parse_lease(params.bid)
        self.decide(bid)
        await self.submit(m.CreateLease(bid))
        return await self.placing.hand_over(bid.deployment, progress)

    def decide(self, bid: BidId) -> None:
        """Ask the decision point before anything goes to a provider; raise DENIED."""
        deployment = self.exchange.state.deployments[bid.deployment]
        if deployment.app:
            enforce(self.node.policy, self._request(bid.provider, deployment.app))

    def _request(self, address: str, app: str) -> Request:
        """Return what would happen if a provider served a deployment of an app."""
        agent = self.agent
        if agent is not None and address == agent.address:
            return Request("operator", "market:bid", self.node.name, app=app)
        place = place_of(self.exchange.state.provider(address))
        return Request("operator", "market:bid", str(place), app=app, place=place)

    def refused(self, app: str) -> tuple[tuple[str, str], ...]:
        """Return the providers that an app's policy refuses, each with the reason."""
        if not app:
            return ()
        self.node.catalogue.app(app)
        found = []
        for address in self.exchange.state.providers:
            decision = self.node.policy.decide(self._request(address, app))
            if not decision.allowed:
                found.append((address, f"{decision.rule}: {decision.reason}"))
        return tuple(found)

    async def do_leases(self, params: s.Leases, _progress: Progress) -> list[r.LeaseInfo]:
        """See `market.leases`."""
        leases = self.exchange.state.leases.values()
        return [
            present.lease(self, each)
            for each in leases
            if each.id.owner == self.wallet.address and (params.all or each.state in RUNNING)
        ]

    async def do_status(self, params: s.OfDeployment, _progress: Progress) -> list[r.ServiceInfo]:
        """See `market.status`."""
        found: list[r.ServiceInfo] = []
        for lease in self.running(params.dseq):
            try:
                statuses = await self.tenant.status(lease)
            except SkerryError as error:
                trouble = self.courier.trouble(lease.id)
                if not trouble:
                    raise
                name = present.name_of(self, lease.id.provider)
                raise CONFLICT(f"{name} did not take the manifest.", why=trouble) from error
            found += [present.service(self, lease, each) for each in statuses]
        return found

    async def stream_logs(self, params: s.Logs) -> AsyncIterator[r.LineInfo]:
        """See `market.logs`."""
        lines = min(max(params.lines, 0), 10_000)
        for lease in self.running(params.dseq):
            found = self.tenant.logs(lease, params.service, lines, params.follow)
            async for line in found:
                yield r.LineInfo(line.service, line.stream, line.text, line.time)

    async def do_exec(self, params: s.Execute, _progress: Progress) -> r.Ran:
        """See `market.exec`."""
        if not params.command:
            raise INVALID("There is no command.", hint="skerry market exec 1 -- ls /")
        session = await self.session(params.dseq, params.service, params.command, None)
        async with asyncio.timeout(EXEC_SECONDS):
            code, out, errors = await run_to_end(session, params.stdin.encode())
        return r.Ran(code, out.decode(errors="replace"), errors.decode(errors="replace"))

    async def session(
        self,
        dseq: int,
        service: str,
        command: tuple[str, ...],
        terminal: tuple[int, int] | None,
    ) -> Session:
        """Run a program beside a service of a deployment, by default its first."""
        lease = self.running(dseq)[0]
        name = service or (await self.tenant.status(lease))[0].name
        return await self.tenant.link(lease).session(lease.id, name, command, terminal)

    async def do_deposit(self, params: s.Deposit, _progress: Progress) -> Done:
        """See `market.deposit`."""
        name = self.deployment(params.dseq)
        amount = parse_amount(params.amount)
        await self.submit(m.Deposit(name, self.wallet.address, amount))
        return Done(f"Deployment {params.dseq} has {show(amount, self.currency)} more.")

    async def do_update(self, params: s.Update, progress: Progress) -> r.Deployed:
        """See `market.update`."""
        name = self.deployment(params.dseq)
        plan = await asyncio.to_thread(self.tenant.plan, params.file, params.file_name)
        await self.tenant.update(name, plan)
        return await self.placing.hand_over(name, progress, keep=True)

    async def do_start(self, params: s.OfDeployment, progress: Progress) -> r.Deployed:
        """See `market.start`."""
        name = self.deployment(params.dseq)
        state = self.exchange.state
        paused = [
            each
            for each in state.deployments[name].groups
            if state.groups[each].state is GroupState.PAUSED
        ]
        if not paused:
            raise CONFLICT(f"No group of deployment {params.dseq} is paused.")
        for each in paused:
            await self.submit(m.StartGroup(each))
        return await self.placing.await_and_hand_over(name, 30.0, progress)

    async def do_close(self, params: s.OfDeployment, _progress: Progress) -> Done:
        """See `market.close`."""
        name = self.deployment(params.dseq)
        await self.submit(m.CloseDeployment(name))
        await asyncio.to_thread(self.tenant.forget_manifest, name)
        total = show(present.invoice(self, name).total, self.currency)
        return Done(
            f"Deployment {params.dseq} is closed; it cost {total}.",
            next=f"skerry market invoice {params.dseq}",
        )

    async def do_invoice(self, params: s.InvoiceOf, _progress: Progress) -> r.Invoice:
        """See `market.invoice`."""
        name = None if params.dseq is None else self.deployment(params.dseq)
        active = [
            each.id
            for each in self.exchange.state.deployments.values()
            if each.id == (name or each.id) and each.state is DeploymentState.ACTIVE
        ]
        for start in range(0, len(active), SETTLE_BATCH):
            await self.submit(m.Settle(tuple(active[start : start + SETTLE_BATCH])))
        found = present.invoice(self, name)
        return msgspec.structs.replace(found, format=params.format)

    async def do_books(self, _params: Nothing, _progress: Progress) -> list[r.AccountInfo]:
        """See `market.books`."""
        return [
            r.AccountInfo(name, show(held, self.currency), held)
            for name, held in self.exchange.state.books.accounts()
        ]


def place_of(provider: Provider) -> Place:
    """Return a provider as the decision point sees it; nothing that it says of itself is proved."""
    facts = [
        Fact(f"provider/{provider.name}", name, value)
        for name, value in sorted(provider.attributes.items())
    ]
    host = urlsplit(provider.url).hostname or ""
    return Place(provider.name, provider.country, host, tuple(facts))


def _terms(params: s.Deploy) -> dict[str, Any]:
    """Return what the flags of a deployment change of its file's terms; raise INVALID."""
    changes: dict[str, Any] = {}
    if params.clearing:
        changes["clearing"] = Rule(params.clearing)
    if params.window_ms is not None:
        if not 0 <= params.window_ms <= 300_000:
            raise INVALID("A window for bids is 0 to 300000 ms.")
        changes["window_ms"] = params.window_ms
    if params.country:
        changes["countries"] = tuple(each.upper() for each in params.country)
    if params.owner:
        changes["owners"] = params.owner
    if params.isolation:
        changes["isolation"] = params.isolation
    if params.verification:
        changes["verification"] = parse_verification(params.verification)
    if params.bond:
        changes["bond"] = parse_amount(params.bond)
    if params.reserve:
        changes["reserve_ppm"] = parse_reserve(params.reserve)
    return changes


def _market(text: str) -> str:
    """Return where a market is: an address, or the name of a node that is bound to this one."""
    return text if text == "local" or "://" in text else f"{SCHEME}://{text}"


def read_pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    """Read `key=value`s; raise INVALID for one that is none."""
    found = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise INVALID(f"{pair!r} is no attribute.", why="Write key=value.")
        found[key] = value
    return found
