"""A process of a cell: it serves its slots until the node stops it or nobody has used it for a
time.

The zygote has just forked it. It reads what it is to be from the node, confines itself, and only
then opens any state or reads a byte of a user.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from skerry.kernel.apart import nowhere
from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.journal import keep_journal
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kernel.manifest import Manifest, Verb
from skerry.kernel.reading import keep_leader
from skerry.node.cell import warden
from skerry.node.cell.host import Bind, SlotHost, current_call
from skerry.node.cell.journal import SocketJournal
from skerry.node.cell.launcher import Launcher
from skerry.node.cell.server import Server
from skerry.node.cell.slot import Slot
from skerry.node.cell.spec import ProcessSpec, SlotSpec, http_socket, packages_beside, scratch
from skerry.node.cell.warden import WardenSpec
from skerry.node.channel import Call, Channel, read_exactly
from skerry.node.counters import FileMeter, file_name
from skerry.node.log_lines import LineFormatter
from skerry.node.sandbox import confine
from skerry.node.together import together

DRAIN_SECONDS = 30.0
TICK_SECONDS_MAX = 5.0
TICK_SECONDS_MIN = 0.05

_log = logging.getLogger(__name__)
_spec_in = msgspec.msgpack.Decoder(ProcessSpec | WardenSpec).decode


def main(connection: socket.socket, manifests: Mapping[str, Manifest]) -> None:
    """Become the process that the node asks for; returns when it is over."""
    spec = _spec_in(_read_frame(connection))
    if isinstance(spec, WardenSpec):
        warden.main(spec)
        return
    confine(spec.confinement)
    _log_to_standard_error()
    sys.path.insert(0, spec.code)
    sys.path.insert(1, str(packages_beside(Path(spec.code))))
    _make_scratch(Path(scratch(spec.served[0].run, spec.instance)))
    os.chdir("/")
    gc.unfreeze()
    process = Process(spec, manifests)
    uvloop.run(process.run(connection))


def _read_frame(connection: socket.socket) -> bytes:
    """Read the first frame of the channel, before there is a loop."""
    connection.setblocking(True)
    try:
        length = int.from_bytes(read_exactly(connection, 4))
        return read_exactly(connection, length)
    except ConnectionResetError as error:
        raise SystemExit("The node went away.") from error


def _make_scratch(directory: Path) -> None:
    """Give the process a place for temporary files; its sandbox lets it write to no other."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for name in ("TMPDIR", "SQLITE_TMPDIR", "HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(directory)
    tempfile.tempdir = None


def _log_to_standard_error() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


class Process:
    """The slots of one process, and what the node may ask of them."""

    def __init__(self, spec: ProcessSpec, manifests: Mapping[str, Manifest]) -> None:
        self._spec = spec
        self._manifests = manifests
        self._clock = SystemClock()
        self._slots: dict[str, Slot] = {}
        self._servers: list[Server] = []
        self._over: asyncio.Event = asyncio.Event()
        self._channel: Channel

    async def run(self, connection: socket.socket) -> None:
        """Serve until the end."""
        handlers: dict[str, Callable[[Call], Awaitable[Any]]] = {
            name.removeprefix("do_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("do_")
        }
        self._channel = await Channel.open(connection, handlers)
        for each in (*self._spec.served, *self._spec.bound):
            if each.journal:
                directory = Path(each.directory)
                keep_journal(directory, SocketJournal(directory, each.journal))
            if each.leader:
                keep_leader(Path(each.directory), each.leader)
        for slot_spec in self._spec.served:
            await self._add(slot_spec)
        self._channel.note("listening")
        watch = asyncio.create_task(self._rest_when_idle())
        over = asyncio.create_task(self._over.wait())
        ends: set[asyncio.Future[Any]] = {over, self._channel.closed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        watch.cancel()
        await self._stop_all()
        self._channel.close()

    async def _add(self, spec: SlotSpec) -> None:
        manifest = self._manifests[spec.ref.kind]
        context = self._context(spec, served=True)
        slot = Slot(manifest, context, spec.idle_seconds, self._clock, spec.leader)
        self._slots[spec.ref.name] = slot
        if any(wire.application for wire in manifest.wires):
            server = Server(slot.answer, http_socket(spec.run, self._spec.instance))
            await server.start()
            self._servers.append(server)

    def _context(self, spec: SlotSpec, *, served: bool) -> Context:
        """Build what an engine (served) or a binding (bound to this process) is given."""
        manifest = self._manifests[spec.ref.kind]
        meter_directory = spec.run if served else self._spec.served[0].run
        name = file_name(self._spec.instance, spec.id)
        bound = {
            each.ref.name: self._bound(each)
            for each in (*self._spec.bound, *self._spec.served)
            if each.ref.name in spec.bindings
        }
        host = SlotHost(spec.ref.name, self._slots, bound, self._channel)
        apart = Launcher(spec.ref.name, Path(spec.run), self._channel)
        return Context(
            ref=spec.ref,
            id=spec.id,
            directory=Path(spec.directory),
            run=Path(spec.run),
            code=Path(self._spec.code),
            config=msgspec.convert(spec.config, manifest.config),
            keys=Keys(spec.own, spec.lineage),
            meter=FileMeter(Path(meter_directory) / name, [u.name for u in manifest.units]),
            clock=self._clock,
            host=host,
            bindings=spec.bindings,
            secrets=spec.secrets,
            url=self._spec.url,
            permit=host.permit,
            apart=apart if served else nowhere,
            node=self._spec.node,
            environments=Path(self._spec.environments) if self._spec.environments else None,
        )

    def _bound(self, spec: SlotSpec) -> Bind:
        """Return what makes the binding of a resource: the kind's own, or the one from afar."""
        manifest = self._manifests[spec.ref.kind]
        remote = manifest.remote if spec.away else None
        name = remote.binding if remote is not None else manifest.binding

        async def bind() -> Any:
            return await manifest.load(name)(self._context(spec, served=False))

        return bind

    async def _rest_when_idle(self) -> None:
        """Stop engines that nobody uses; when none is left, ask the node to end the process."""
        limits = [slot.idle_seconds for slot in self._slots.values() if slot.idle_seconds > 0]
        tick = min(max(min(limits, default=60.0) / 4, TICK_SECONDS_MIN), TICK_SECONDS_MAX)
        while True:
            await asyncio.sleep(tick)
            try:
                resting = [await slot.rest(self._may_sleep) for slot in self._slots.values()]
            except Exception:
                _log.exception("an engine could not be stopped")
                continue
            if all(resting) and not any(slot.in_flight for slot in self._slots.values()):
                unused = self._clock.monotonic() - max(s.last_used for s in self._slots.values())
                if unused >= min(limits, default=float("inf")):
                    self._channel.note("idle")

    async def _may_sleep(self, resource: str) -> bool:
        return bool(await self._channel.call("may_sleep", resource))

    async def do_ready(self, call: Call) -> str:
        """Start the engine of a resource; return its endpoint."""
        async with self._slot(call.params).used() as engine:
            return await engine.endpoint()

    async def do_touch(self, call: Call) -> None:
        """Note that a client of a port wire uses a resource."""
        self._slot(call.params).touch()

    async def do_check_moment(self, call: Call) -> None:
        """Ask the engines that run and can go back in time whether they reach a moment."""
        for slot in self._slots.values():
            if slot.awake and slot.manifest.able(Verb.BRANCH_AT):
                await (await slot.ready()).check_moment(call.params)

    async def do_prepare(self, call: Call) -> None:
        """Hold slots as they are, and make the coming freeze short; wake the ones named."""
        wake = call.params["wake"]
        await together(slot.prepare(wake=name in wake) for name, slot in self._only(call))

    async def do_freeze(self, call: Call) -> None:
        """Hold the writers of what was prepared."""
        atomic = bool(call.params["atomic"])
        await together(slot.freeze(atomic) for _, slot in self._only(call))

    async def do_thaw(self, call: Call) -> None:
        """Let the writers of what was prepared go on."""
        for _, slot in self._only(call):
            await slot.thaw()

    def _only(self, call: Call) -> list[tuple[str, Slot]]:
        """Return the slots that a call is about: those in `only`, or all."""
        only = call.params["only"]
        return [(name, slot) for name, slot in self._slots.items() if only is None or name in only]

    async def do_export(self, call: Call) -> None:
        """Write a resource into a directory, in standard formats."""
        current_call.set(call)
        async with self._slot(call.params["resource"]).used() as engine:
            await engine.export(Path(call.params["directory"]))

    async def do_restore(self, call: Call) -> None:
        """Replace a resource's state with an export."""
        current_call.set(call)
        async with self._slot(call.params["resource"]).used() as engine:
            await engine.restore(Path(call.params["directory"]))

    async def do_word(self, call: Call) -> Any:
        """Carry out a word of a kind."""
        current_call.set(call)
        slot = self._slot(call.params["resource"])
        return await slot.word(call.params["word"], call.params["params"])

    async def do_status(self, call: Call) -> dict[str, Any]:
        """Tell which engines run, and what they say of themselves."""
        found: dict[str, Any] = {}
        for name, slot in self._slots.items():
            if slot.awake:
                found[name] = await (await slot.ready()).status()
        return found

    async def do_count(self, call: Call) -> dict[str, int]:
        """Start a resource's engine if need be, and count what its state holds."""
        current_call.set(call)
        async with self._slot(call.params["resource"]).used() as engine:
            return await engine.count()

    async def do_stop(self, call: Call) -> None:
        """End the process once its answers are out."""
        self._over.set()

    def _slot(self, name: str) -> Slot:
        if name not in self._slots:
            raise NOT_FOUND(f"This process does not serve {name}.")
        return self._slots[name]

    async def _stop_all(self) -> None:
        for server in self._servers:
            server.stop_accepting()
        deadline = self._clock.monotonic() + DRAIN_SECONDS
        while any(slot.in_flight for slot in self._slots.values()):
            if self._clock.monotonic() > deadline:
                _log.warning("requests were still in flight after %g s", DRAIN_SECONDS)
                break
            await asyncio.sleep(0.01)
        for slot in self._slots.values():
            try:
                await slot.close()
            except Exception:
                _log.exception("%s did not stop cleanly", slot.context.ref)
