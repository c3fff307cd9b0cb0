"""The workloads of a node: started, watched, stopped, and found again after a restart of the node.

Every workload has a keeper of its own (`keeper.py`), which goes on without the node. The node keeps
what is wanted on disk and tells the keeper; when it starts, it connects to the keepers that live
and starts those anew whose workload is wanted and paid for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import (
    ALREADY_EXISTS,
    CONFLICT,
    TIMED_OUT,
    UNSUPPORTED,
    SkerryError,
)
from skerry.kernel.names import check_name
from skerry.node.gpus import Gpus
from skerry.node.home import Home
from skerry.node.sandbox.cgroup import Cgroups
from skerry.node.sandbox.identity import Range, identities
from skerry.node.workload.classes import LADDER, probe
from skerry.node.workload.images import Images
from skerry.node.workload.keepers import READY_SECONDS, Yard
from skerry.node.workload.order import SESSIONS, Folder, Order, Wish
from skerry.node.workload.output import LogLine, follow, tail
from skerry.node.workload.record import Record
from skerry.node.workload.recovery import Recovery
from skerry.node.workload.registry import Registry, source_of
from skerry.node.workload.sessions import Ask, Session
from skerry.node.workload.spec import (
    ClassInfo,
    State,
    WorkloadInfo,
    WorkloadSpec,
    WorkloadUsage,
    check_spec,
)

CALL_SECONDS = 10.0
_SOCKET_PATH_LENGTH_MAX = 107
_LONGEST_SOCKET = len("/0123456789abcdef/sessions")
_log = logging.getLogger(__name__)

Listener = Callable[[WorkloadInfo], None]


class Workloads:
    """Runs programs of others on a node."""

    def __init__(
        self,
        *,
        home: Home,
        cgroups: Cgroups,
        clock: Clock,
        entropy: Entropy,
        settle: Callable[[str], Awaitable[None]] | None = None,
        address: Callable[[str], str] | None = None,
        gpus: Gpus | None = None,
    ) -> None:
        self._home = home
        self._root = home.root / "workloads"
        self._cgroups = cgroups
        self._clock = clock
        self._entropy = entropy
        self._settle = settle
        self._address = address or (lambda _host: "")
        self._users: Range | None = identities()
        self._classes: tuple[ClassInfo, ...] | None = None
        self._yard: Yard | None = None
        self._listeners: list[Listener] = []
        self._placing = asyncio.Lock()
        self.known = Registry()
        self._recovery = Recovery(self.known, cgroups, clock, self._launch, self._tell)
        self.gpus = gpus or Gpus()
        self.images = Images(home.root / "images", entropy)

    # ---- the service ------------------------------------------------------------------------

    async def start(self) -> None:
        """Find what runs already, start what should, and clean up after what is gone."""
        self._root.mkdir(mode=0o711, exist_ok=True)
        self._sockets = await asyncio.to_thread(self._make_sockets)
        await asyncio.to_thread(self.images.open)
        for path in sorted(self._root.iterdir()):
            folder = Folder(path)
            if path.name.startswith("."):
                continue
            if not folder.complete:
                await asyncio.to_thread(shutil.rmtree, path, True)
                continue
            record = Record(await asyncio.to_thread(folder.order), folder)
            self.known.add(record)
        await self._recovery.find_all()

    async def stop(self) -> None:
        """Let go of the keepers, which go on, and of what was waiting."""
        await self._recovery.stop()
        for record in self.known:
            record.disconnect()
        if self._yard is not None:
            await self._yard.stop()
            self._yard = None

    def on_change(self, listener: Listener) -> None:
        """Call `listener` at every change of a workload's state."""
        self._listeners.append(listener)

    async def classes(self) -> tuple[ClassInfo, ...]:
        """Return the ladder as it is on this machine; tried once, until `look_again`."""
        if self._classes is None:
            user = None if self._users is None else self._users.guest(0).uid
            self._classes = await asyncio.to_thread(probe, user)
        return self._classes

    def look_again(self) -> None:
        """Try the classes anew when they are asked for next, as a program may be installed now."""
        self._classes = None

    async def reasons(self, spec: WorkloadSpec) -> tuple[str, ...]:
        """Return why this node cannot run a workload; nothing if it can. Raises INVALID."""
        check_spec(spec)
        found: list[str] = []
        cls = LADDER.get(spec.isolation)
        if cls is None:
            known = ", ".join(LADDER)
            return (f"there is no class of isolation {spec.isolation}; there are {known}",)
        info = next(each for each in await self.classes() if each.name == spec.isolation)
        if not info.available:
            found.append(f"class {info.name} cannot be had here: {info.why} ({info.hint})")
        try:
            image = self.images.resolve(spec.image)
        except SkerryError as error:
            return (*found, error.what)
        found += cls.reasons(spec, image)
        if spec.gpus:
            there = len(await asyncio.to_thread(self.gpus.for_workloads))
            if spec.gpus > there:
                found.append(f"{spec.gpus} GPUs are asked for, and this machine has {there}")
        if image.kind != "wasm" and not (spec.command or image.entrypoint or image.command):
            found.append(
                f"{image.name} says of itself no program to run, and neither does the order"
            )
        return tuple(found)

    # ---- one workload -----------------------------------------------------------------------

    async def run(self, spec: WorkloadSpec, name: str = "") -> WorkloadInfo:
        """Start a workload; when this returns it is on disk and its program runs.

        Raises INVALID, NOT_FOUND (the image), UNSUPPORTED (with the reasons), ALREADY_EXISTS (the
        name), BUSY, ENGINE_FAILED (with what the sandbox said), TIMED_OUT.
        """
        check_spec(spec)
        image = self.images.resolve(spec.image)
        reasons = await self.reasons(spec)
        if reasons:
            raise UNSUPPORTED(
                "This node cannot run the workload.",
                why="; ".join(reasons) + ".",
                hint="skerry workload classes",
            )
        async with self._placing:
            record = await asyncio.to_thread(self._place, spec, name, image)
            self.known.add(record)
        try:
            await self._launch(record)
        except BaseException:
            await self._forget(record)
            raise
        return await self.info(record.id)

    def _place(self, spec: WorkloadSpec, name: str, image: object) -> Record:
        """Write the order of a new workload."""
        self.known.check_room()
        id = self._entropy.bytes(6).hex()  # noqa: A001 (the word of the record)
        name = check_name(name or f"w-{id}", "a workload")
        if any(each.name == name for each in self.known):
            raise ALREADY_EXISTS(
                f"There is a workload {name} already.", hint=f"skerry workload remove {name}"
            )
        gpus = self.known.free_gpus(spec.gpus, self.gpus.for_workloads()) if spec.gpus else ()
        order = Order(
            id=id,
            name=name,
            spec=spec,
            image=self.images.resolve(spec.image),
            uid=self.known.free_user(self._users),
            cgroup_version=self._cgroups.version,
            cgroup_folders=self._cgroups.folders,
            group=f"w-{self._home.digest}-{id}",
            sockets=str(self._sockets / id),
            created=self._clock.now(),
            gpus=gpus,
            devices=self.gpus.devices_of(gpus) if gpus else {},
        )
        path = self._root / id
        path.mkdir(mode=0o711)
        folder = Folder(path)
        folder.write_order(order)
        return Record(order, folder)

    async def _launch(self, record: Record) -> None:
        """Start a keeper and wait until its program runs. Raises what kept it from that."""
        if self._yard is None:
            self._yard = Yard()
        await record.free(CALL_SECONDS)
        ours = await self._yard.keep(record.folder.path)
        await record.connect(ours, self._recovery.changed)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await record.running()
        except TimeoutError as error:
            raise TIMED_OUT(f"{record.name} did not start within {READY_SECONDS:.0f} s.") from error

    async def stop_one(self, name: str, grace_seconds: float = 10.0) -> WorkloadInfo:
        """Ask a workload's program to end, and kill it after its grace. Raises NOT_FOUND."""
        record = self.known.find(name)
        await self._wish(record, Wish(False, record.wish.expires), grace_seconds)
        await self._ended(record, grace_seconds)
        return await self.info(record.id)

    async def _ended(self, record: Record, grace_seconds: float) -> None:
        try:
            async with asyncio.timeout(grace_seconds + CALL_SECONDS):
                await record.ended()
        except TimeoutError as error:
            raise TIMED_OUT(f"{record.name} does not end.", hint="skerry workload list") from error

    async def restart(self, name: str, expires: int | None = None) -> WorkloadInfo:
        """Run a workload again that has ended, on the same disk. Raises NOT_FOUND or CONFLICT."""
        record = self.known.find(name)
        async with record.changing:
            if record.kept.state == State.ENDED:
                await self._ended(record, 0.0)
            if record.connected:
                raise CONFLICT(f"{record.name} has not ended.", hint=f"skerry workload stop {name}")
            self.known.check_gpus(record)
            wish = Wish(True, expires if expires is not None else record.wish.expires)
            await asyncio.to_thread(record.folder.write_wish, wish)
            record.wish = wish
            await self._launch(record)
        return await self.info(record.id)

    async def extend(self, name: str, expires: int | None) -> WorkloadInfo:
        """Change until when a workload may run, in nanoseconds since 1970 (None: for ever)."""
        record = self.known.find(name)
        await self._wish(record, Wish(record.wish.run, expires))
        return await self.info(record.id)

    async def _wish(self, record: Record, wish: Wish, grace_seconds: float = 10.0) -> None:
        """Write down what is wanted, then tell the keeper, if there is one."""
        async with record.wishing:
            # It may have been removed while this waited.
            self.known.find(record.id)
            await asyncio.to_thread(record.folder.write_wish, wish)
            record.wish = wish
        try:
            await record.tell_wish(wish, grace_seconds, CALL_SECONDS)
        except SkerryError as error:
            if record.connected:
                raise
            # It ended meanwhile, and read what is wanted from disk or will not start again.
            _log.info("%s: its keeper is gone: %s", record.name, error.what)

    async def remove(self, name: str) -> None:
        """Stop a workload and remove its disk, its log and all that is known of it."""
        record = self.known.find(name)
        async with record.changing:
            if record not in self.known:
                # Somebody else removed it while this waited.
                return
            if record.connected:
                await self.stop_one(record.id, grace_seconds=1.0)
            await self._forget(record)

    async def _forget(self, record: Record) -> None:
        async with record.wishing:
            record.disconnect()
            await asyncio.to_thread(self._recovery.clean_up, record)
            if self._settle is not None:
                await self._settle(source_of(record))
            self.known.drop(record)
            await asyncio.to_thread(_remove_tree, record.folder.path)
            await asyncio.to_thread(shutil.rmtree, record.order.sockets, True)

    async def info(self, name: str) -> WorkloadInfo:
        """Return what is known of a workload now. Raises NOT_FOUND."""
        record = self.known.find(name)
        await record.ask_status(CALL_SECONDS)
        return self._info(record)

    def _info(self, record: Record) -> WorkloadInfo:
        return record.info(self._address)

    async def list(self, labels: Mapping[str, str] | None = None) -> list[WorkloadInfo]:
        """Return the workloads that have these labels, in the order in which they were made."""
        chosen = self.known.labelled(labels or {})
        await asyncio.gather(*(each.ask_status(CALL_SECONDS) for each in chosen))
        return [self._info(each) for each in chosen]

    async def usage(self, name: str) -> WorkloadUsage:
        """Return what a workload used since it was made. Raises NOT_FOUND."""
        return (await self.info(name)).usage

    async def logs(
        self, name: str, lines: int = 100, follow_on: bool = False
    ) -> AsyncIterator[LogLine]:
        """Yield the last lines of a workload, and then those that come. Raises NOT_FOUND."""
        record = self.known.find(name)
        if not follow_on:
            for line in await asyncio.to_thread(tail, record.folder.log, lines):
                yield line
            return
        async for line in follow(record.folder.log, lines):
            yield line

    async def execute(
        self,
        name: str,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str] | None = None,
        terminal: tuple[int, int] | None = None,
    ) -> Session:
        """Run a program beside a workload's own, inside its sandbox and its limits.

        `terminal` is its size in rows and columns, None for plain pipes. Raises NOT_FOUND,
        CONFLICT (it does not run); UNSUPPORTED comes with the session's output.
        """
        record = self.known.find(name)
        if not record.connected:
            raise CONFLICT(f"{record.name} does not run.", hint="skerry workload list")
        ask = Ask(tuple(argv), dict(env or {}), terminal)
        return await Session.open(Path(record.order.sockets) / SESSIONS, ask)

    async def remove_image(self, name: str) -> None:
        """Remove an image from the catalogue. Raises NOT_FOUND, or CONFLICT if it is used."""
        async with self._placing:
            image = self.images.resolve(name)
            used = any(each.order.image.name == image.name for each in self.known)
            await asyncio.to_thread(self.images.remove, image.name, used)

    # ---- after a restart --------------------------------------------------------------------

    def _tell(self, record: Record) -> None:
        info = self._info(record)
        for listener in self._listeners:
            listener(info)

    def _make_sockets(self) -> Path:
        """Make the folder of all keepers' sockets: in the home, or where its path is short."""
        place = self._root / ".sockets"
        if len(str(place)) + _LONGEST_SOCKET > _SOCKET_PATH_LENGTH_MAX:
            digest = self._home.digest[:12]
            place = Path(tempfile.gettempdir()) / f"skerry-w-{os.geteuid()}-{digest}"
        place.mkdir(mode=0o700, exist_ok=True)
        if place.lstat().st_uid != os.geteuid():
            raise UNSUPPORTED(f"{place} belongs to another user.", hint="skerry up --home <folder>")
        return place


def _remove_tree(path: Path) -> None:
    """Remove a workload's folder: its order last, so that a crash leaves it to be removed again."""
    for each in path.iterdir():
        if each.name == "order.json":
            continue
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink()
    shutil.rmtree(path, ignore_errors=True)
