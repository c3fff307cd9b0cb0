"""A keeper: the process that runs one workload, and goes on when the node does not.

It starts the program in its sandbox, keeps what it says, counts what it uses, passes its ports on,
starts it again after a pause, and stops it when it is told to, when it used more disk than agreed,
or when the time that was paid for is over. It runs no code of the workload and has one thread.

starting ─▶ running ─▶ waiting ─▶ starting …
    │          │ stop, expiry, disk    │
    └──────────┴─▶ stopping ─▶ ended ◀─┘     then the keeper ends too
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import Clock, SystemClock
from skerry.kernel.errors import CONFLICT, ENGINE_FAILED, UNSUPPORTED, SkerryError
from skerry.node.channel import Call, Channel
from skerry.node.sandbox import Limits, Membership
from skerry.node.sandbox.cgroup import Group
from skerry.node.workload.classes import LADDER, Launch
from skerry.node.workload.classes.base import Program
from skerry.node.workload.gauge import Gauge, bounds_of
from skerry.node.workload.order import CONTROL, SESSIONS, Folder, Kept, Order, Process, Wish
from skerry.node.workload.outcome import outcome
from skerry.node.workload.output import LogWriter
from skerry.node.workload.relay import Network, Relay
from skerry.node.workload.sessions import SESSIONS_MAX, Ask, serve_session
from skerry.node.workload.spawn import Child, join, start
from skerry.node.workload.spec import Exit, Restart, State
from skerry.node.workload.stage import Stage, set_stage

FIRST_SECONDS = 10.0
LOOK_SECONDS = (0.0005, 0.005)
STARTING_CORES = 1.0
"""What a sandbox may use until it is complete: making it costs more CPU than a small quota lets it
have in a period, and is no work of the program's."""
TICK_SECONDS = 1.0
PAUSE_SECONDS_MAX = 60.0
STEADY_SECONDS = 60.0
GRACE_SECONDS = 10.0
DRAIN_SECONDS = 2.0
READ_BYTES = 64 * 1024

_log = logging.getLogger(__name__)


class Keeper:
    """One workload's keeper."""

    def __init__(self, order: Order, folder: Folder, clock: Clock) -> None:
        self._order = order
        self._clock = clock
        self._folder = folder
        self._class = LADDER[order.spec.isolation]
        self._log = LogWriter(folder.log, clock)
        self._wish = folder.wish()
        self._kept = Kept(State.STARTING, expires=self._wish.expires)
        self._changed = asyncio.Event()
        self._channels: set[Channel] = set()
        self._sessions = 0
        self._child: Child | None = None
        self._first: int | None = None
        self._open: list[int] = []
        self._network: Network | None = None
        self._relay = Relay(self._find_network)
        self._reading: list[asyncio.Task[None]] = []
        self._servers: list[asyncio.Server] = []
        self._disk_full = False
        self._stage: Stage
        self._group: Group
        self._gauge: Gauge

    # ---- the life of the workload -----------------------------------------------------------

    async def run(self, ready: socket.socket) -> None:
        """Run the workload to its end; `ready` is where the first start is reported."""
        before = self._folder.state()
        first = await self._open_channel(ready)
        try:
            self._prepare(before)
            await self._listen(before)
            await self._live(first)
        except SkerryError as error:
            self._log.say(f"{error.what} {error.why}".strip())
            self._end(Exit("failed-to-start", text=f"{error.what} {error.why}".strip()))
            first.note("failed", error.as_dict())
        except Exception as error:
            _log.exception("the keeper failed")
            self._end(Exit("failed-to-start", text=str(error)))
            problem = ENGINE_FAILED("The workload's keeper failed.", why=str(error))
            first.note("failed", problem.as_dict())
        finally:
            await self._close()

    def _prepare(self, before: Kept) -> None:
        order = self._order
        self._group = order.cgroups.create(order.group)
        membership: Membership = self._group.membership
        self._stage = set_stage(order, self._folder, membership)
        self._gauge = Gauge(self._folder, self._group, self._clock)
        self._update(
            started=before.started,
            restarts=before.restarts,
            bounds=bounds_of(order, membership, self._stage),
        )

    async def _live(self, first: Channel) -> None:
        """Start the program, and start it again, as long as that is wanted."""
        pause = 1.0
        told = False
        while True:
            if (early := self._wanted_end()) is not None:
                self._end(early)
                if not told:
                    late = CONFLICT("The workload did not start.", why=f"It is {early.reason}.")
                    first.note("failed", late.as_dict())
                return
            began = self._clock.monotonic()
            await self._start()
            self._update(state=State.RUNNING, started=self._clock.now(), exit=None)
            if not told:
                first.note("running", None)
                told = True
            ended = await self._watch()
            if not self._again(ended):
                self._end(ended)
                return
            if self._clock.monotonic() - began > STEADY_SECONDS:
                pause = 1.0
            self._update(state=State.WAITING, exit=ended, restarts=self._kept.restarts + 1)
            await self._pause(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)

    def _again(self, ended: Exit) -> bool:
        """Tell whether an ended program is to be started again."""
        if ended.reason in ("stopped", "expired", "disk-full", "out-of-fuel"):
            return False
        rule = self._order.spec.restart
        return rule == Restart.ALWAYS or (rule == Restart.ON_FAILURE and not ended.clean)

    def _wanted_end(self) -> Exit | None:
        """Return why the program must not run (any more), None if it may."""
        now = self._clock.now()
        if not self._wish.run:
            return Exit("stopped", at=now)
        if self._wish.expires is not None and now >= self._wish.expires:
            return Exit("expired", text="The time that was agreed is over.", at=now)
        if self._disk_full:
            agreed = self._order.spec.disk_bytes
            return Exit("disk-full", text=f"It holds more than the agreed {agreed} bytes.", at=now)
        return None

    async def _start(self) -> None:
        """Start the program. Raises ENGINE_FAILED if its sandbox does not come up."""
        self._update(state=State.STARTING)
        self._gauge.begin()
        launch = self._class.launch(self._order, self._stage.place)
        self._group.limit(_while_starting(launch))
        outputs = {"stdout": os.pipe(), "stderr": os.pipe()}
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            streams = (null, outputs["stdout"][1], outputs["stderr"][1])
            self._child = start(launch, self._stage.place, streams)
        finally:
            os.close(null)
            for _, write_end in outputs.values():
                os.close(write_end)
            for descriptor in launch.keep:
                os.close(descriptor)
        for stream, (read_end, _) in outputs.items():
            self._reading.append(asyncio.ensure_future(self._read(stream, read_end)))
        self._gauge.first = self._child.pid
        self._open = launch.close
        await self._find_first(launch, self._child)
        self._group.limit(launch.limits)

    async def _find_first(self, launch: Launch, child: Child) -> None:
        """Find the first process inside; a program that ended at once has none any more."""
        self._first = None
        if launch.find_first is None:
            return
        deadline = self._clock.monotonic() + FIRST_SECONDS
        pause, longest = LOOK_SECONDS
        while self._clock.monotonic() < deadline:
            self._first = launch.find_first(child.pid)
            if self._first is not None or child.ended.done():
                break
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, longest)
        else:
            child.kill()
            raise ENGINE_FAILED("The sandbox did not come up in time.")
        if self._first is not None:
            self._update(first=Process.of(self._first))

    async def _read(self, stream: str, descriptor: int) -> None:
        """Keep what the program says."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while data := await reader.read(READ_BYTES):
                self._log.feed(stream, data)
        finally:
            transport.close()

    async def _watch(self) -> Exit:
        """Wait for the end of the program, or end it; return how it ended."""
        child = self._child
        assert child is not None
        kills_before = self._group.oom_kills()
        reason: Exit | None = None
        while not child.ended.done():
            reason = self._wanted_end()
            if reason is not None:
                await self._end_child(child)
                break
            self._changed.clear()
            changed = asyncio.ensure_future(self._changed.wait())
            waiting: set[asyncio.Future[Any]] = {changed, child.ended}
            await asyncio.wait(
                waiting, timeout=self._next_look(), return_when=asyncio.FIRST_COMPLETED
            )
            changed.cancel()
            self._measure()
        code = await child.ended
        out_of_memory = self._group.oom_kills() > kills_before
        await self._clear(child)
        return reason or outcome(self._order.spec.isolation, code, out_of_memory)

    def _next_look(self) -> float:
        expires = self._wish.expires
        if expires is None:
            return TICK_SECONDS
        return min(TICK_SECONDS, max(0.001, (expires - self._clock.now()) / 1e9))

    def _measure(self) -> None:
        if not self._folder.complete:
            # Its home was removed from under it: nobody will ever ask for it again.
            self._wish = Wish(False)
            return
        self._gauge.sample()
        spec = self._order.spec
        self._disk_full = self._stage.measured and self._stage.disk_bytes() > spec.disk_bytes

    async def _end_child(self, child: Child) -> None:
        """Ask the program to end; kill it when its grace is over."""
        self._update(state=State.STOPPING)
        grace = self._grace if not self._wish.run else GRACE_SECONDS
        for process in self._inner_first():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        await asyncio.wait({child.ended}, timeout=grace)
        child.kill()

    _grace = GRACE_SECONDS

    def _inner_first(self) -> Iterable[int]:
        """Return the program's own process, which in bubblewrap is a child of the first one."""
        if self._first is None:
            return [self._child.pid] if self._child else []
        children = Path(f"/proc/{self._first}/task/{self._first}/children")
        if self._order.spec.isolation == "bwrap" and children.exists():
            try:
                return [int(each) for each in children.read_text().split()][:1]
            except (FileNotFoundError, ProcessLookupError):
                return []
        return [self._first]

    async def _clear(self, child: Child) -> None:
        """End what is left of a sandbox, and take the last of its output and use."""
        self._gauge.sample()
        child.kill()
        if self._network is not None:
            self._network.close()
            self._network = None
        self._relay.drop()
        if self._first is not None and Process.of(self._first) == self._kept.first:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._first, signal.SIGKILL)
        self._group.kill()
        if self._reading:
            await asyncio.wait(self._reading, timeout=DRAIN_SECONDS)
        for task in self._reading:
            task.cancel()
        self._reading.clear()
        self._log.end()
        for descriptor in self._open:
            os.close(descriptor)
        self._open = []
        self._class.end(self._order, self._stage.place)
        self._gauge.end(child.cpu_ms)
        self._child = self._first = None

    async def _pause(self, seconds: float) -> None:
        """Wait before the next start, but no longer than the workload is wanted."""
        deadline = self._clock.monotonic() + seconds
        while (left := deadline - self._clock.monotonic()) > 0 and self._wanted_end() is None:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(left, self._next_look()))

    # ---- what the node sees and asks --------------------------------------------------------

    def _update(self, **news: Any) -> None:
        """Note a change, on disk and to the nodes that are connected."""
        self._kept = msgspec.structs.replace(self._kept, **news)
        if self._folder.complete:
            self._folder.write_state(self._kept)
        for channel in self._channels:
            channel.note("state", msgspec.to_builtins(self._kept))

    def _end(self, ended: Exit) -> None:
        at = ended.at or self._clock.now()
        ended = msgspec.structs.replace(ended, at=at)
        self._update(state=State.ENDED, exit=ended, first=None)

    async def _listen(self, before: Kept) -> None:
        """Open the sockets for the node, and the ports of the workload."""
        place = _empty_place(self._order.sockets)
        control, sessions = place / CONTROL, place / SESSIONS
        outside = {}
        for port in self._order.spec.ports:
            wanted = port.outside or before.outside.get(port.number, 0)
            path = place / str(port.number)
            outside[port.number] = await self._relay.listen(port, path, wanted)
        self._update(outside=outside)
        self._servers.append(await asyncio.start_unix_server(self._serve_session, str(sessions)))
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._make_channel, str(control)))

    def _make_channel(self) -> Channel:
        channel = Channel(self._calls())
        self._keep_channel(channel)
        return channel

    async def _open_channel(self, connection: socket.socket) -> Channel:
        channel = await Channel.open(connection, self._calls())
        self._keep_channel(channel)
        return channel

    def _keep_channel(self, channel: Channel) -> None:
        self._channels.add(channel)
        channel.closed.add_done_callback(lambda _: self._channels.discard(channel))

    def _calls(self) -> dict[str, Any]:
        return {"wish": self._take_wish, "status": self._tell_status}

    async def _take_wish(self, call: Call) -> None:
        """Do what the node wants from now on; it has written it down already."""
        self._wish = msgspec.convert(call.params["wish"], Wish)
        self._grace = float(call.params.get("grace_seconds", GRACE_SECONDS))
        self._update(expires=self._wish.expires)
        self._changed.set()

    async def _tell_status(self, call: Call) -> dict[str, Any]:
        """Tell the state, and what is used now."""
        self._gauge.sample()
        return {
            "kept": msgspec.to_builtins(self._kept),
            "memory_bytes": self._gauge.memory_bytes,
            "disk_bytes": self._stage.disk_bytes(),
        }

    def _find_network(self) -> Network | None:
        if self._network is None and self._first is not None:
            self._network = Network(self._first)
        return self._network

    async def _serve_session(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._sessions >= SESSIONS_MAX:
            writer.close()
            return
        self._sessions += 1
        try:
            await serve_session(self._start_session, reader, writer)
        finally:
            self._sessions -= 1

    def _start_session(self, ask: Ask, streams: tuple[int, int, int]) -> Child:
        """Start a program beside the first one. Raises CONFLICT or UNSUPPORTED."""
        order, place = self._order, self._stage.place
        if self._kept.state != State.RUNNING or self._child is None:
            raise CONFLICT(f"{order.name} does not run.", hint="skerry workload list")
        program = Program(
            argv=list(ask.argv),
            env={**order.env, **ask.env},
            directory=order.image.directory,
            terminal=ask.terminal is not None,
        )
        argv = self._class.session_argv(order, place, program)
        if argv is None and self._first is not None:
            return join(self._first, place, order.limits, program, streams)
        if not argv:
            raise UNSUPPORTED(
                f"Nothing can be run beside a module of class {order.spec.isolation}."
            )
        outside = Launch(argv=argv, scoped=False, network_of=self._first)
        return start(outside, place, streams)

    async def _close(self) -> None:
        """Close everything; the state on disk says the rest."""
        self._relay.close()
        for server in self._servers:
            server.close()
        with contextlib.suppress(SkerryError, AttributeError):
            self._group.remove()
        await asyncio.sleep(0)
        for channel in list(self._channels):
            channel.close()
        if self._folder.complete:
            _empty_place(self._order.sockets)
        await asyncio.sleep(0.01)


def _empty_place(sockets: str) -> Path:
    """Return the folder of the keeper's sockets, made or emptied of those of another keeper."""
    place = Path(sockets)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in place.iterdir():
        each.unlink()
    return place


def _while_starting(launch: Launch) -> Limits:
    """Return the limits until the sandbox is complete, where that can be seen."""
    cores = launch.limits.cpu_cores
    if launch.find_first is None or cores is None:
        return launch.limits
    return msgspec.structs.replace(launch.limits, cpu_cores=max(cores, STARTING_CORES))


def main(path: str, ready: socket.socket) -> None:
    """Run the workload in a folder, in a process that was forked for it."""
    folder = Folder(Path(path))
    lock = folder.hold()
    if lock is None:
        return
    asyncio.run(_run(folder, ready))


async def _run(folder: Folder, ready: socket.socket) -> None:
    await Keeper(folder.order(), folder, SystemClock()).run(ready)
