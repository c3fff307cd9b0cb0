"""The supervisor: it wakes what is used, once; lets sleep what is not; and mends what crashed."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from skerry.kernel.catalogue import Branch, Catalogue
from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import (
    BUSY,
    DENIED,
    ENGINE_FAILED,
    TIMED_OUT,
    UNSUPPORTED,
    SkerryError,
)
from skerry.kernel.manifest import Manifest
from skerry.node.abroad import Abroad
from skerry.node.aparts import Aparts
from skerry.node.cell.spec import PermitCall, ProcessSpec
from skerry.node.cells import SHARED, Cell, Failures, PortSession, Running
from skerry.node.channel import Call, Channel
from skerry.node.log_lines import ENGINES, LINE_BYTES_MAX, marked
from skerry.node.processes import Child, Processes, how_it_ended, read_lines
from skerry.node.sandbox.cgroup import Group
from skerry.node.sandbox.namespaces import accounts_mark
from skerry.node.spares import Spares
from skerry.node.tenure import Tenure
from skerry.node.workshop import Workshop

LISTEN_SECONDS = 30.0
DRAIN_SECONDS = 30.0
"""How long requests may go on in a process that is told to stop: it hears of it only after them."""
STOP_SECONDS = 40.0
QUICK_DEATH_SECONDS = 2.0
READY_TRIES = 5
PATIENCE_SECONDS = 1.0
JOINERS = 4
"""Threads of their own for a wake: long work on disks may fill the common ones."""

_log = logging.getLogger(__name__)


Renew = Callable[[Branch, str], Awaitable[None]]
"""Renews what a reader's resource is read from; nothing of it runs meanwhile that is not ending."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process is made of."""

    spec: ProcessSpec
    child: Child
    group: Group
    sealed: Mapping[str, bytes]


class Supervisor:
    """Starts, finds, holds and stops the processes of all cells.

    `deploying` holds branches as they will be once the deploy under way has ended; their engines
    run so already, because the functions that are being tried need them. `renew` brings what a
    process of a reader is about to serve up to the state that the node has.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        manifests: Mapping[str, Manifest],
        processes: Processes,
        workshop: Workshop,
        clock: Clock,
        entropy: Entropy,
        on_line: Callable[[str, str, str, str], None],
        on_end: Callable[[Cell, Running], Awaitable[None]],
        on_leave: Callable[[Running], None],
        tenure: Tenure,
        abroad: Abroad,
    ) -> None:
        self._abroad = abroad
        self._catalogue = catalogue
        self._manifests = manifests
        self._processes = processes
        self._workshop = workshop
        self._clock = clock
        self._entropy = entropy
        self._spares = Spares(processes, workshop.group, entropy)
        self._aparts = Aparts(processes, workshop, clock, entropy)
        self._joiners = ThreadPoolExecutor(JOINERS, thread_name_prefix="cgroup")
        self._on_line = on_line
        self._on_end = on_end
        self._on_leave = on_leave
        self._tenure = tenure
        self.deploying: dict[tuple[str, str], Branch] = {}
        self.renew: Renew = _cannot_renew
        self._cells: dict[tuple[str, str], Cell] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def cell(self, app: str, branch: str) -> Cell:
        """Return the cell of a branch; it may have no process."""
        key = (app, branch)
        if key not in self._cells:
            self._cells[key] = Cell(app, branch)
        return self._cells[key]

    def awake(self) -> list[Cell]:
        """Return the cells that have processes."""
        return [cell for cell in self._cells.values() if any(cell.running())]

    def spares(self) -> list[int]:
        """Return the processes that are kept ready for the next wake."""
        return self._spares.pids()

    def key_of(self, branch: Branch, name: str) -> str:
        """Return the key of the process that serves a resource; see `Workshop.own_process`."""
        own = self._workshop.own_process(branch, branch.resources[name])
        return name if own else SHARED

    def running(self, app: str, branch: str, resource: str) -> Running | None:
        """Return the process that serves a resource, if it is awake."""
        cell = self._cells.get((app, branch))
        if cell is None or not self._tenure.holds(app):
            return None
        for key in (SHARED, resource):
            running = cell.processes.get(key)
            if running is not None and running.usable and resource in running.resources:
                return running
        return None

    async def wake(self, app: str, branch: str, resource: str) -> Running:
        """Return the process that serves a resource, started if need be, once for all callers."""
        self._catalogue.record(app, branch, resource)
        self._tenure.check(app)
        self._abroad.check_served(app, resource)
        served = self._catalogue.branch(app, branch)
        key = self.key_of(served, resource)
        self._workshop.declaration(self.deploying.get((app, branch), served), resource)
        while True:
            cell = self.cell(app, branch)
            running = cell.processes.get(key)
            if running is not None and running.usable:
                return running
            try:
                async with cell.lock:
                    # It may have been forgotten meanwhile: two cells must not serve one state.
                    if self._cells.setdefault((app, branch), cell) is not cell:
                        continue
                    # It may have moved to another node while this waited.
                    self._catalogue.record(app, branch, resource)
                    self._abroad.check_served(app, resource)
                    running = cell.processes.get(key)
                    if running is None or not running.usable:
                        running = await self._start_held(cell, key)
            except BaseException:
                self.forget_if_empty(cell)
                raise
            return running

    async def _start_held(self, cell: Cell, key: str) -> Running:
        """Start a process of a cell whose lock is held, and make it the current one."""
        failures = cell.failures.get(key)
        if failures is not None:
            wait = failures.retry_at - self._clock.monotonic()
            if 0 < wait <= PATIENCE_SECONDS:
                await asyncio.sleep(wait)
            elif wait > 0:
                raise BUSY(
                    f"{key or 'The engines'} of {cell.app}/{cell.branch} ended {failures.count} "
                    "times in a row at or just after its start.",
                    why=f"The next try is in {wait:.1f} s.",
                    hint=f"skerry logs --app {cell.app} --branch {cell.branch}",
                )
        if key == SHARED:
            await self._wait_gone(cell, key)
        branch = self._catalogue.branch(cell.app, cell.branch)
        if key == SHARED:
            branch = self.deploying.get((cell.app, cell.branch), branch)
        if branch.leader:
            await self.renew(branch, key)
        running = await self.start(cell, branch, key)
        cell.processes[key] = running
        return running

    async def _wait_gone(self, cell: Cell, key: str) -> None:
        """Wait until the processes that were told to leave have left the state."""
        ended = [each.child.ended for each in cell.leaving if each.key == key]
        if ended:
            _, late = await asyncio.wait(ended, timeout=STOP_SECONDS)
            if late:
                raise TIMED_OUT("The process before did not end in time.")

    async def start(self, cell: Cell, branch: Branch, key: str) -> Running:
        """Start a process for a branch; the caller says when it becomes the current one."""
        sealed = self._workshop.sealed(branch, key)
        spare = self._spares.take()
        instance = spare.instance if spare else self._entropy.bytes(4).hex()
        try:
            spec, group = await self._workshop.process(branch, key, instance)
        except BaseException:
            if spare is not None:
                self._spares.discard(spare)
            raise
        child, joining = (spare.child, _done()) if spare else await self._fork(group)
        parts = Parts(spec, child, group, sealed)
        running, listening = await self._adopt(cell, branch, key, parts)
        try:
            await self._wait_listening(running, listening)
            await joining
        except BaseException as error:
            self._workshop.kill(running)
            await asyncio.gather(joining, return_exceptions=True)
            if isinstance(error, OSError):
                raise ENGINE_FAILED("A process could not join its group.", why=str(error)) from None
            raise
        self._spares.refill(child.pid)
        return running

    async def _fork(self, group: Group) -> tuple[Child, asyncio.Future[None]]:
        """Fork a process that joins a group meanwhile.

        The kernel takes milliseconds to move a process into a group; until that is done, the child
        sets itself up and nothing is asked of it.
        """
        try:
            child = await self._processes.fork()
        except BaseException:
            await asyncio.to_thread(group.remove)
            raise
        loop = asyncio.get_running_loop()
        return child, loop.run_in_executor(self._joiners, group.add, child.pid)

    async def _adopt(
        self, cell: Cell, branch: Branch, key: str, parts: Parts
    ) -> tuple[Running, asyncio.Future[None]]:
        """Take charge of a forked process: its channel, its output, its end."""
        running: Running
        spec, child = parts.spec, parts.child
        loop = asyncio.get_running_loop()
        listening: asyncio.Future[None] = loop.create_future()

        async def on_listening(_: Call) -> None:
            if not listening.done():
                listening.set_result(None)

        async def on_idle(_: Call) -> None:
            await self._let_sleep(cell, running)

        async def on_may_sleep(call: Call) -> bool:
            return self._may_sleep(running, call.params)

        async def on_ready(call: Call) -> str:
            return await self._ready_for(cell, running, call.params)

        async def on_permit(call: Call) -> Any:
            asked = msgspec.convert(call.params, PermitCall)
            if asked.resource not in running.resources and asked.resource not in running.bound:
                raise DENIED(f"{asked.resource} is not served here.")
            return msgspec.to_builtins(self._workshop.permit(branch, asked))

        def on_apart(line: str) -> None:
            self._on_line(cell.app, cell.branch, key or ENGINES, line)

        handlers = {
            **self._aparts.handlers(branch, lambda: running, on_apart),
            "permit": on_permit,
            "listening": on_listening,
            "idle": on_idle,
            "may_sleep": on_may_sleep,
            "ready": on_ready,
        }
        data = msgspec.msgpack.encode(spec)
        child.channel.setblocking(False)
        await loop.sock_sendall(child.channel, len(data).to_bytes(4) + data)
        running = Running(
            key=key,
            instance=spec.instance,
            version=branch.version,
            child=child,
            channel=await Channel.open(child.channel, handlers),
            group=parts.group,
            started=self._clock.now(),
            resources={slot.ref.name: slot.id for slot in spec.served},
            bound={slot.ref.name: slot.id for slot in spec.bound},
            sealed=parts.sealed,
            accounts=accounts_mark(),
            sampled=self._clock.monotonic(),
        )
        source = key or ENGINES
        self._spawn(
            read_lines(
                child.output,
                lambda line: self._on_line(cell.app, cell.branch, source, line),
                LINE_BYTES_MAX,
            )
        )
        self._spawn(self._watch_end(cell, running, listening))
        return running, listening

    async def _wait_listening(self, running: Running, listening: asyncio.Future[None]) -> None:
        async with asyncio.timeout(LISTEN_SECONDS):
            waited: set[asyncio.Future[Any]] = {listening, running.child.ended}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            raise ENGINE_FAILED(
                f"{running.key or 'The engines'} did not start.",
                why=f"The process ended: {how_it_ended(running.child.ended.result().status)}.",
                hint="skerry logs",
            )

    async def _watch_end(
        self, cell: Cell, running: Running, listening: asyncio.Future[None]
    ) -> None:
        ended = await running.child.ended
        running.channel.close()
        running.cpu_ms = max(running.cpu_ms, ended.cpu_ms)
        await self._aparts.end_of(running)
        # Its sockets closed before it was known to have ended: let the router tell of them first.
        await asyncio.sleep(0)
        lived = (self._clock.now() - running.started) / 1e9
        if not running.leaving and ended.status != 0:
            source = running.key or ENGINES
            text = f"The process ended after {lived:.1f} s: {how_it_ended(ended.status)}."
            self._on_line(cell.app, cell.branch, source, marked("error", "", text))
            _log.warning("%s/%s %s: %s", cell.app, cell.branch, source, text)
            at_work = ended.status == signal.SIGKILL or running.ended_over_request
            if not listening.done() or (lived < QUICK_DEATH_SECONDS and not at_work):
                failures = cell.failures.setdefault(running.key, Failures())
                failures.note(self._clock.monotonic())
            else:
                cell.failures.pop(running.key, None)
        elif ended.status == 0:
            cell.failures.pop(running.key, None)
        for name in list(running.sessions):
            self._tell_sessions(running, name)
        try:
            await self._on_end(cell, running)
        finally:
            if cell.processes.get(running.key) is running:
                del cell.processes[running.key]
            cell.leaving.discard(running)
            running.settled.set()
            self.forget_if_empty(cell)

    def forget_if_empty(self, cell: Cell) -> None:
        """Drop a cell in which nothing runs: a sleeping branch costs nothing here."""
        if cell.empty and self._cells.get((cell.app, cell.branch)) is cell:
            del self._cells[cell.app, cell.branch]

    async def wake_bound_held(self, cell: Cell) -> list[str]:
        """Start the process of what running functions are bound to; return what they are bound to.

        The cell's lock is held. A function may write state without the engine, which alone can hold
        it off for a copy.
        """
        await self._wait_gone(cell, SHARED)
        bound = {name for each in cell.running() if each.key != SHARED for name in each.bound}
        branch = self._catalogue.branch(cell.app, cell.branch)
        names = sorted(
            name
            for name in bound
            if name in branch.resources and self.key_of(branch, name) == SHARED
        )
        engines = cell.processes.get(SHARED)
        if names and (engines is None or not engines.usable):
            await self._start_held(cell, SHARED)
        return names

    async def ready(self, app: str, branch: str, resource: str) -> tuple[Running, str]:
        """Wake a resource's engine; return its process and where the engine listens."""
        for _ in range(READY_TRIES):
            running = await self.wake(app, branch, resource)
            try:
                return running, str(await running.channel.call("ready", resource, seconds=60.0))
            except SkerryError:
                if running.usable and not await self._renewed(self.cell(app, branch), running):
                    raise
        raise BUSY(f"{resource} of {app}/{branch} is being stopped again and again.")

    async def _renewed(self, cell: Cell, running: Running) -> bool:
        """Stop a process whose user may have lost its name; tell whether a successor may start.

        A cell has its user's name in a list that is gone once the machine's own was replaced; its
        successor has it again. Not while the cell is copied or something starts in it.
        """
        if running.accounts == accounts_mark() or cell.lock.locked():
            return False
        _log.info("%s/%s starts anew: the list of users was replaced", cell.app, cell.branch)
        self.leave(cell, running)
        await self.stop(cell, running)
        return True

    async def _ready_for(self, cell: Cell, running: Running, resource: str) -> str:
        """Start an engine for a process to which it is bound; return where it listens."""
        if resource not in running.bound:
            raise DENIED(f"{resource} is not bound to {running.key}.")
        branch = self._catalogue.branch(cell.app, cell.branch)
        away = branch.away.get(resource)
        if away is not None:
            return await self._abroad.open_way(branch, away.record, away.node)
        _, endpoint = await self.ready(cell.app, cell.branch, resource)
        return endpoint

    def _may_sleep(self, running: Running, resource: str) -> bool:
        """Decide whether an engine may stop: not while a session needs it."""
        if any(session.is_active for session in running.sessions.get(resource, ())):
            return False
        self._tell_sessions(running, resource)
        return True

    def _tell_sessions(self, running: Running, resource: str) -> None:
        for session in running.sessions.pop(resource, set()):
            for callback in session.callbacks:
                callback()

    def add_session(self, running: Running, resource: str) -> PortSession:
        """Note a client of a port wire that needs the engine."""
        session = PortSession(is_active=True)
        running.sessions.setdefault(resource, set()).add(session)
        return session

    async def _let_sleep(self, cell: Cell, running: Running) -> None:
        """End a process that says it is idle, unless somebody just came.

        While somebody starts something in the cell or copies its state, it can wait.
        """
        if running.holds == 0 and running.usable and not cell.lock.locked():
            self.leave(cell, running)
            await self.stop(cell, running)

    def leave(self, cell: Cell, running: Running) -> None:
        """Give it no new work; whoever comes now gets its successor."""
        running.leaving = True
        self._on_leave(running)
        cell.leaving.add(running)
        if cell.processes.get(running.key) is running:
            del cell.processes[running.key]

    async def stop(self, cell: Cell, running: Running) -> None:
        """Stop a process that is leaving, gently first."""
        assert running.leaving, "call leave first"
        deadline = self._clock.monotonic() + DRAIN_SECONDS
        while running.holds and self._clock.monotonic() < deadline:
            await asyncio.sleep(0.01)
        try:
            await running.channel.call("stop")
        except SkerryError:
            _log.info("%s was gone already", running.instance)
        _, late = await asyncio.wait({running.child.ended}, timeout=STOP_SECONDS)
        if late:
            _log.warning("%s/%s did not stop in time; killing it", cell.app, cell.branch)
            self._workshop.kill(running)
        await running.settled.wait()

    async def sleep(self, app: str, branch: str) -> None:
        """Put a branch to sleep now."""
        cell = self.cell(app, branch)
        async with cell.lock:
            await self.sleep_held(cell)
        self.forget_if_empty(cell)

    async def sleep_held(self, cell: Cell) -> None:
        """Put a branch to sleep whose lock is held."""
        for running in list(cell.processes.values()):
            self.leave(cell, running)
        await asyncio.gather(*(self.stop(cell, each) for each in list(cell.leaving)))

    def kill_all(self, app: str) -> None:
        """Kill every process of an app at once: another node may serve it."""
        for cell in [each for each in self._cells.values() if each.app == app]:
            self.kill_cell(cell)

    def kill_cell(self, cell: Cell) -> None:
        """Kill every process of a cell at once, whatever waits for an answer."""
        for running in list(cell.running()):
            self._workshop.kill(running)

    async def sleep_engines_held(self, cell: Cell) -> None:
        """Stop the engines of a cell whose lock is held; the next byte wakes them."""
        running = cell.processes.get(SHARED)
        if running is not None:
            self.leave(cell, running)
            await self.stop(cell, running)

    async def stop_all(self) -> None:
        """Put every branch to sleep."""
        await self._spares.close()
        await asyncio.gather(*(self.sleep(cell.app, cell.branch) for cell in self.awake()))
        for task in list(self._tasks):
            task.cancel()

    def _spawn(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _done() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def _cannot_renew(branch: Branch, resource: str) -> None:
    raise UNSUPPORTED(f"No copy of {branch.origin} is kept here to be read.")
