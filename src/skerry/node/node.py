"""A node: all its parts, put together, started in order and stopped in the reverse."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skerry import kernel
from skerry.kernel.catalogue import Catalogue
from skerry.kernel.clock import Clock, Entropy, SystemClock, SystemEntropy
from skerry.kernel.errors import ALREADY_RUNNING, SkerryError
from skerry.kernel.kind import ASGIApplication, Front
from skerry.kernel.ledger import Ledger, Reading
from skerry.kernel.manifest import Manifest, Wire
from skerry.kernel.money import Rate
from skerry.kernel.names import host_label
from skerry.kernel.policy import Policy
from skerry.kernel.service import Service
from skerry.kernel.snapshots import (
    restore_catalogue,
    restore_ledger,
    save_catalogue,
    save_ledger,
)
from skerry.node.abroad import Abroad
from skerry.node.accountant import Accountant
from skerry.node.archives import Archives
from skerry.node.audit.identity import audit_signer, witness_signer
from skerry.node.audit.recorder import Recorder
from skerry.node.audit.witness import Collector, WitnessDesk
from skerry.node.branches import Branches
from skerry.node.cell.server import Server
from skerry.node.cells import Cell, Running
from skerry.node.certificate import ensure_certificate
from skerry.node.deploys import Deploys
from skerry.node.exports import Exports
from skerry.node.folded_log import FoldedLog, code_of
from skerry.node.gateway import NodeGateway
from skerry.node.gpus import Gpus
from skerry.node.home import Home, NodeConfig, default_name
from skerry.node.keys.at_rest import AtRest
from skerry.node.keys.ring import KeyRing
from skerry.node.logbook import Logbook
from skerry.node.masking import Masking
from skerry.node.memory import Frugality, give_back
from skerry.node.policy.engine import Engine
from skerry.node.policy.facts import read_facts
from skerry.node.policy.known import known_actions, own_facts, reading_actions
from skerry.node.ports import Ports, taken
from skerry.node.processes import Processes
from skerry.node.public import HINT, is_here, public_of
from skerry.node.router.gates import Gates
from skerry.node.router.router import Router
from skerry.node.router.targets import Targets
from skerry.node.sandbox.cgroup import Cgroups, detect
from skerry.node.scheduler import Scheduler
from skerry.node.secrets import Vault
from skerry.node.services import Services
from skerry.node.shelf import DiskBalances, DiskShelf
from skerry.node.supervisor import Supervisor
from skerry.node.tenure import Tenure
from skerry.node.token.registry import Registry
from skerry.node.volume import attach, open_volume
from skerry.node.words import Words
from skerry.node.workload.supervisor import Workloads
from skerry.node.workload.targets import make_finder
from skerry.node.workshop import Workshop

PRICES = {
    "cpu_ms": Rate(10_000, 3_600_000),
    "memory_mib_s": Rate(5_000, 1024 * 3600),
    "micro_eur": Rate(1, 1),
    "micro_eur_back": Rate(-1, 1),
}
"""Micro-units of money: 0.01 for an hour of a core, 0.005 for an hour of a GiB.

What providers charge in euro is passed on as it is, and what of that they do not charge in the end;
a node with another currency names its own rates under `prices` in its config.
"""

SNAPSHOT_BYTES = 2 << 20
"""How much log is folded at a start at most, unless the state is large: half a second of CPU."""
STOP_SNAPSHOT_BYTES = 64 << 10

API_DRAIN_SECONDS = 0.5
"""How long a call may go on when the node stops; a log that is followed has no end."""
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared, not bound)
"""Where a program on this machine finds what listens everywhere."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What `skerry up` is told; what is None comes from `<home>/config.toml`, then the default."""

    home: Path
    http_port: int | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    host: str | None = None
    name: str | None = None
    volume_driver: str | None = None


class Node:
    """One machine of Skerry."""

    def __init__(
        self,
        options: Options,
        manifests: Mapping[str, Manifest],
        make_api: Callable[[Node], ASGIApplication],
        services: Mapping[str, Service] | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self.options = options
        self.manifests = manifests
        self.services = Services(services or {})
        self.clock: Clock = clock or SystemClock()
        self.entropy: Entropy = entropy or SystemEntropy()
        self.home = Home(options.home)
        self.config = NodeConfig()
        self.public = public_of(self.config)
        self.ports: dict[str, int] = {}
        self.host = "127.0.0.1"
        self.http_port = 0
        self.name = options.name or ""
        self.since = self.clock.now()
        self._make_api = make_api
        self._stop_asked = asyncio.Event()
        self._catalogue_changed: Callable[[], None] = _nothing
        self._stack = contextlib.AsyncExitStack()

    @property
    def url(self) -> str:
        """The node's own URL; where it listens everywhere, the one that holds on this machine."""
        host = _LOCAL.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http_port}"

    def url_of(self, app: str, branch: str) -> str:
        """Return the URL of a branch."""
        return f"{self.host_url(host_label(app, branch))}/"

    def host_url(self, label: str) -> str:
        """Return the URL of a name below the node's domain, as clients reach it."""
        return self.public.host_url(label, self.config.domain, self.http_port)

    def _other_readings(self) -> Iterator[Reading]:
        """Yield what is used by no cell: workloads and services."""
        yield from self.workloads.known.readings()
        yield from self.services.readings()

    def _workload_url(self, host: str) -> str:
        """Return the URL of an HTTP port of a workload from its host before the node's domain."""
        return f"{self.host_url(host)}/"

    async def start(self) -> None:
        """Bring everything up; raise, and leave nothing behind, if a part does not come up."""
        async with contextlib.AsyncExitStack() as stack:
            self.home.create(self.entropy)
            stack.enter_context(self._only_one())
            self.config = self.home.config()
            self.public = public_of(self.config)
            self.name = self.options.name or self.config.name or default_name()
            self._wanted = Ports(
                self.manifests.values(),
                self.services.declared.values(),
                {**self.config.ports, **self.options.ports},
            )
            self._wanted.check()
            await self._open_state(stack)
            await self._start_cells(stack)
            await self._listen(stack)
            await self.services.start(self, stack)
            await self._open_api(stack)
            await self._zygote
            self.catalogue_log.check()
            self.ledger_log.check()
            await asyncio.to_thread(give_back)
            self._stack = stack.pop_all()

    @contextlib.contextmanager
    def _only_one(self) -> Any:
        """Hold the home's lock; raise ALREADY_RUNNING if another node has it."""
        with self.home.pid_file.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise ALREADY_RUNNING(
                    f"A node runs on {self.home.root} already, as process {file.read().strip()}.",
                    hint="skerry status",
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    async def _open_state(self, stack: contextlib.AsyncExitStack) -> None:
        """Open the logs, the volume and the keys."""
        await self._open_logs(stack)
        if self.home.image.exists():
            await asyncio.to_thread(attach, self.home.image, self.home.volume)
        self.volume = await asyncio.to_thread(
            open_volume, self.home.volume, self.options.volume_driver
        )
        self.keyring = await asyncio.to_thread(
            KeyRing,
            self.home.service("keys"),
            self.home.keys / "apps",
            self.clock,
            self.entropy,
        )
        self.at_rest = await asyncio.to_thread(AtRest, self.home.volume, self.keyring)
        stack.callback(self.at_rest.close)
        self.vault = Vault(self.home.node_key(), self.catalogue, self.keyring)
        self.tokens = await asyncio.to_thread(
            Registry, self.home.node_key(), self.home.service("token")
        )
        self.archives = Archives(self.home.spool, self.entropy)
        self.archives.clear()
        self.audit = await asyncio.to_thread(self._open_audit)
        stack.push_async_callback(self.audit.close)
        await self.audit.start()
        self._catalogue_changed = self.audit.changed
        self.witnesses = Collector(self.audit.ask)
        self.witness_desk = WitnessDesk(
            self.home.service("audit") / "seen.json",
            witness_signer(self.audit.log.signer, self.home.node_key()),
            self.clock,
        )
        self.placement = await asyncio.to_thread(self._make_policy)
        self.placement.recorder = self.audit.decided
        self.policy: Policy = self.placement
        self.masking = Masking(self.catalogue, self.vault)
        self.logbook = Logbook(self.home.logs, self.clock, self.masking.values)
        stack.push_async_callback(self.logbook.close)

    async def _open_logs(self, stack: contextlib.AsyncExitStack) -> None:
        """Make the folds over the logs; what grows with branches that sleep is on disk."""
        made_by = await asyncio.to_thread(code_of, kernel)
        self.catalogue_log = FoldedLog(
            self.home.catalogue,
            self.clock,
            new=lambda: Catalogue(DiskShelf(self.home.spool)),
            save=save_catalogue,
            restore=lambda parts: restore_catalogue(parts, DiskShelf(self.home.spool)),
            drop=lambda catalogue: catalogue.shelf.close(),
            changed=self._tell_catalogue_changed,
            code=made_by,
            snapshot_bytes=SNAPSHOT_BYTES,
            stop_bytes=STOP_SNAPSHOT_BYTES,
        )
        self.catalogue = await self.catalogue_log.open()
        stack.callback(self.catalogue.shelf.close)
        stack.push_async_callback(self.catalogue_log.close)
        self.tenure = Tenure(self.catalogue)
        self.abroad = Abroad(self.name, self.catalogue)
        self.ledger_log = FoldedLog(
            self.home.ledger,
            self.clock,
            new=lambda: Ledger(DiskBalances(self.home.spool)),
            save=save_ledger,
            restore=lambda parts: restore_ledger(parts, DiskBalances(self.home.spool)),
            drop=lambda ledger: ledger.balances.close(),
            code=made_by,
            snapshot_bytes=SNAPSHOT_BYTES,
            stop_bytes=STOP_SNAPSHOT_BYTES,
        )
        self.ledger = await self.ledger_log.open()
        stack.callback(self.ledger.balances.close)
        stack.push_async_callback(self.ledger_log.close)

    def _tell_catalogue_changed(self) -> None:
        """Let the audit log follow a change; at first there is none."""
        self._catalogue_changed()

    def _open_audit(self) -> Recorder:
        """Open the audit log; its key is derived from the node's, its origin names both."""
        return Recorder(
            directory=self.home.service("audit"),
            signer=audit_signer(self.name, self.home.node_key(), self.home.service("audit")),
            clock=self.clock,
            catalogue_log=self.catalogue_log,
            ledger_log=self.ledger_log,
            ledger=self.ledger,
            reading=reading_actions(self.manifests.values(), self.services.declared.values()),
        )

    def _make_policy(self) -> Engine:
        """Make the policy with what the operator says of this node and of others."""
        engine = Engine(
            node=self.name,
            catalogue=self.catalogue,
            clock=self.clock,
            facts=read_facts(self.home.facts),
            actions=known_actions(self.manifests.values(), self.services.declared.values()),
        )
        engine.learn("config", own_facts(self.name, self.config, engine.today))
        return engine

    async def _start_cells(self, stack: contextlib.AsyncExitStack) -> None:
        """Make what starts and stops processes, and what is built on it."""
        cgroups = await asyncio.to_thread(detect)
        await asyncio.to_thread(cgroups.reap, f"{self.home.digest}.")
        self.gpus = Gpus(self.config.engine_gpus)
        self._make_workshop(cgroups)
        packages = [manifest.package for manifest in self.manifests.values()]
        processes = self._processes = Processes(packages, (self.home.root, self.home.run))
        stack.push_async_callback(processes.stop)
        # It imports for as long as the rest of the node does, on another core.
        self._zygote = asyncio.create_task(processes.start())
        stack.push_async_callback(_given_up, self._zygote)
        self.supervisor = Supervisor(
            catalogue=self.catalogue,
            manifests=self.manifests,
            processes=processes,
            workshop=self.workshop,
            clock=self.clock,
            entropy=self.entropy,
            on_line=self.logbook.take,
            on_end=self._process_ended,
            on_leave=self._process_leaving,
            tenure=self.tenure,
            abroad=self.abroad,
        )
        self._frugality = Frugality(lambda: not self.supervisor.awake())
        stack.callback(self._frugality.close)
        self.accountant = Accountant(
            run=self.home.run,
            catalogue=self.catalogue,
            manifests=self.manifests,
            ledger=self.ledger,
            log=self.ledger_log,
            clock=self.clock,
            awake=self.supervisor.awake,
            others=self._other_readings,
        )
        self.workloads = Workloads(
            home=self.home,
            cgroups=cgroups,
            clock=self.clock,
            entropy=self.entropy,
            settle=self.accountant.settle,
            address=self._workload_url,
            gpus=self.gpus,
        )
        await self.accountant.settle_leftovers()
        gone = await asyncio.to_thread(self.home.renew_run, self.entropy)
        clearing = asyncio.create_task(asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True))
        stack.push_async_callback(asyncio.wait, {clearing})
        self._make_operations()
        await self.branches.sweep()
        stack.push_async_callback(self.workloads.stop)
        await self.workloads.start()
        self.scheduler = Scheduler(
            self.catalogue, self.manifests, self.supervisor, self.workshop, self.clock
        )
        for work in (self.accountant.run_for_ever(), self.scheduler.run_for_ever()):
            stack.callback(asyncio.create_task(work).cancel)
        stack.push_async_callback(self.supervisor.stop_all)

    def _make_workshop(self, cgroups: Cgroups) -> None:
        self.workshop = Workshop(
            home=self.home,
            node_name=self.name,
            group_prefix=self.home.digest,
            catalogue=self.catalogue,
            manifests=self.manifests,
            volume=self.volume,
            vault=self.vault,
            policy=self.policy,
            cgroups=cgroups,
            engine_read=self.config.engine_read,
            gpus=self.gpus,
            at_rest=self.at_rest,
            abroad=self.abroad,
        )

    async def _process_ended(self, cell: Cell, running: Running) -> None:
        await self.accountant.on_end(cell, running)
        await asyncio.to_thread(self.workshop.clear_after, running)
        try:
            await asyncio.to_thread(running.group.clear)
        except (SkerryError, OSError):
            _log.exception("what %s left running could not be ended", running.instance)
        self._frugality.ended()

    def _process_leaving(self, running: Running) -> None:
        self.router.leaving(running)

    def _make_operations(self) -> None:
        self.branches: Branches = Branches(
            catalogue=self.catalogue,
            log=self.catalogue_log,
            manifests=self.manifests,
            supervisor=self.supervisor,
            workshop=self.workshop,
            volume=self.volume,
            clock=self.clock,
            entropy=self.entropy,
            at_rest=self.at_rest,
            abroad=self.abroad,
            on_copied=self._frugality.copied,
        )
        self.deploys = Deploys(
            home=self.home,
            catalogue=self.catalogue,
            log=self.catalogue_log,
            manifests=self.manifests,
            supervisor=self.supervisor,
            workshop=self.workshop,
            branches=self.branches,
            archives=self.archives,
            placement=self.placement,
            services=self.services.declared,
            clock=self.clock,
            tenure=self.tenure,
            abroad=self.abroad,
        )
        self.words = Words(self.catalogue, self.manifests, self.supervisor)
        self.exports = Exports(
            self.catalogue,
            self.manifests,
            self.supervisor,
            self.workshop,
            self.archives,
            self.abroad,
        )

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        """Open every port."""
        self.host = self.options.host or self.config.host
        self.router = Router(
            targets=Targets(
                self.catalogue,
                self.manifests,
                self.config.domain,
                finders=(make_finder(self.workloads, self.config.domain),),
            ),
            gates=Gates(self.catalogue, self.manifests, self.workshop.resource, self.clock),
            supervisor=self.supervisor,
            run=self.home.run,
            node_socket=self.home.socket,
            domain=self.config.domain,
            clock=self.clock,
            proxies=self.public.proxies,
        )
        await self._open_fronts(stack)
        port = self.config.http_port if self.options.http_port is None else self.options.http_port
        try:
            self.http_port = await self.router.start(self.host, port)
        except OSError as error:
            raise taken("HTTP", self.host, port, "--http-port 0", error) from error
        if not is_here(self.host):
            _log.warning("HTTP listens on %s without TLS: %s", self.host, HINT)
        self.workshop.url = self.url
        stack.push_async_callback(self.router.stop)

    async def _open_api(self, stack: contextlib.AsyncExitStack) -> None:
        """Open the node's own socket, which the router leads to as well."""
        api = Server(self._make_api(self), str(self.home.socket))
        await api.start()
        stack.push_async_callback(api.stop, API_DRAIN_SECONDS)

    def wanted_port(self, name: str) -> int:
        """Return the port to open for a port wire or a service, as the operator wants it."""
        return self._wanted.wanted(name)

    async def _open_fronts(self, stack: contextlib.AsyncExitStack) -> None:
        certificate = self.home.keys / "tls.pem"
        await asyncio.to_thread(
            ensure_certificate, certificate, self.name, self.config.domain, self.clock
        )
        self.gateway = NodeGateway(self.catalogue, self.supervisor, self.workshop, certificate)
        for manifest in self.manifests.values():
            for wire in manifest.wires:
                if not wire.front:
                    continue
                front: Front = manifest.load(wire.front)(self.gateway)
                server = await self._open_front(front, wire)
                stack.callback(server.close)
                self.ports[wire.name] = server.sockets[0].getsockname()[1]

    async def _open_front(self, front: Front, wire: Wire) -> asyncio.Server:
        """Open a wire's port: the one that was said, else its usual one, or any if that is taken.

        Raises CONFLICT if the one that was said is taken.
        """
        port = self.wanted_port(wire.name)
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(front.protocol, self.host, port)
        except OSError as error:
            if wire.name in self._wanted.chosen or error.errno != errno.EADDRINUSE:
                flag = f"--port {wire.name}=0"
                raise taken(wire.protocol, self.host, port, flag, error) from error
        server = await loop.create_server(front.protocol, self.host, 0)
        _log.warning(
            "port %d, the usual one of %s, is taken: it has %d until the node stops; "
            "to keep one: skerry up --port %s=PORT",
            port,
            wire.name,
            server.sockets[0].getsockname()[1],
            wire.name,
        )
        return server

    def request_stop(self) -> None:
        """Make `run` return."""
        self._stop_asked.set()

    async def run(self) -> None:
        """Serve until `request_stop`; then stop in order."""
        try:
            await self._stop_asked.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop in the reverse order of starting."""
        await self._stack.aclose()

    def cost(self, unit: str, amount: int) -> int:
        """Return the micro-units of money that an amount of a unit costs here."""
        if unit in self.config.prices:
            return Rate(*self.config.prices[unit]).cost(amount)
        return PRICES[unit].cost(amount) if unit in PRICES else 0

    def kept_ready(self) -> list[int]:
        """Return the processes that run whatever sleeps, so that a wake is short."""
        return [*self._processes.pids(), *self.supervisor.spares()]

    def remove_code(self, app: str) -> None:
        """Remove every version of an app that is deleted."""
        shutil.rmtree(self.home.apps / app, ignore_errors=True)


def _nothing() -> None:
    """Tell nobody: there is no audit log yet."""


async def _given_up(task: asyncio.Task[None]) -> None:
    """Await the end of what a start that failed, or a stop, does not wait for."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
