"""Control groups: bound, measure, pause and kill a cell with all its processes.

Version 2 is used where its memory and pids controllers can be delegated, else the hierarchies of
version 1, else nothing (then rlimits bound each process). Source: cgroups(7) and the kernel's
`admin-guide/cgroup-v2.rst` and `cgroup-v1/`.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from skerry.kernel.errors import INVALID, TIMED_OUT, UNSUPPORTED
from skerry.node.sandbox.limits import Limits, Membership

_FOLDER = "skerry"
_NODE_LEAF = "skerry-node"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")
_WAIT_SECONDS = 5.0
_PERIOD_US = 100_000
_V1 = ("memory", "pids", "cpu", "cpuacct", "freezer")
_BOUNDS = {"memory": "memory", "pids": "processes", "cpu": "cpu"}


class Usage(msgspec.Struct, frozen=True):
    """What a group used: CPU since it was made, memory now and at most; None where unknown."""

    cpu_ms: int | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None


class Group:
    """One cgroup; without cgroups on the machine it bounds and measures nothing.

    `directories` holds the group's directory by controller; in version 2 all are the same.
    """

    def __init__(self, name: str, version: int, directories: dict[str, Path]) -> None:
        self.name = name
        self.version = version
        self._directories = directories
        self._places = tuple(dict.fromkeys(directories.values()))

    @property
    def join_paths(self) -> tuple[str, ...]:
        """The files into which a process writes "0" to join."""
        return tuple(str(place / "cgroup.procs") for place in self._places)

    @property
    def membership(self) -> Membership:
        """How a process joins, and what the group bounds."""
        bounds = tuple(bound for name, bound in _BOUNDS.items() if name in self._directories)
        return Membership(self.join_paths, bounds)

    def add(self, process: int) -> None:
        """Move another process into the group."""
        for path in self.join_paths:
            Path(path).write_text(str(process), encoding="ascii")

    def processes(self) -> list[int]:
        """Return the ids of the group's processes."""
        found: dict[int, None] = {}
        for path in self.join_paths:
            try:
                found.update(dict.fromkeys(int(each) for each in Path(path).read_text().split()))
            except OSError:
                # The group, or its last process, went while it was read.
                continue
        return list(found)

    def limit(self, limits: Limits) -> None:
        """Set or change the bounds; what is None is left as it was."""
        write = self._write
        if limits.memory_bytes is not None:
            if self.version == 2:
                write("memory", "memory.max", limits.memory_bytes)
                write("memory", "memory.swap.max", 0)
            else:
                self._limit_memory_v1(limits.memory_bytes)
        if limits.processes is not None:
            write("pids", "pids.max", limits.processes)
        if limits.cpu_cores is not None:
            quota = max(1000, int(limits.cpu_cores * _PERIOD_US))
            if self.version == 2:
                write("cpu", "cpu.max", f"{quota} {_PERIOD_US}")
            else:
                write("cpu", "cpu.cfs_period_us", _PERIOD_US)
                write("cpu", "cpu.cfs_quota_us", quota)

    def usage(self) -> Usage:
        """Return what the group used so far."""
        if self.version == 2:
            return Usage(
                cpu_ms=self._cpu_ms_v2(),
                memory_bytes=self._number("memory", "memory.current"),
                memory_peak_bytes=self._number("memory", "memory.peak"),
            )
        nanoseconds = self._number("cpuacct", "cpuacct.usage")
        return Usage(
            cpu_ms=None if nanoseconds is None else nanoseconds // 1_000_000,
            memory_bytes=self._number("memory", "memory.usage_in_bytes"),
            memory_peak_bytes=self._number("memory", "memory.max_usage_in_bytes"),
        )

    def oom_kills(self) -> int:
        """Return how many processes of the group the kernel killed for want of memory."""
        files = {2: "memory.events", 1: "memory.oom_control"}
        file = files.get(self.version, "")
        if not file or not self._has("memory", file):
            return 0
        rows = dict(line.split() for line in self._text("memory", file).splitlines())
        return int(rows.get("oom_kill", 0))

    def freeze(self) -> None:
        """Stop every process of the group where it is. Raises TIMED_OUT or UNSUPPORTED."""
        self._set_frozen(True)

    def thaw(self) -> None:
        """Let the processes go on."""
        self._set_frozen(False)

    def kill(self) -> None:
        """Kill every process of the group and wait until they are gone. Raises TIMED_OUT.

        A group that another process removes meanwhile is fine: it had none.
        """
        try:
            self._kill_at_once()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
        self._wait(self._gone, "die")

    def _kill_at_once(self) -> None:
        if self.version == 2 and self._has("", "cgroup.kill"):
            self._write("", "cgroup.kill", 1)
        elif self._can_freeze():
            # A frozen group cannot fork away from the signals.
            self._set_frozen(True)
            self._signal_all()
            self._set_frozen(False)

    def remove(self) -> None:
        """Remove the group, which must be empty; a group that is gone is fine."""
        self._wait(self._removed, "be removed")

    def clear(self) -> None:
        """End whatever is left in the group, and remove it. Raises TIMED_OUT."""
        self.kill()
        self.remove()

    def _gone(self) -> bool:
        if not self.processes():
            return True
        self._signal_all()
        return False

    def _removed(self) -> bool:
        for place in self._places:
            try:
                place.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True

    def _signal_all(self) -> None:
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _can_freeze(self) -> bool:
        return self._has("", "cgroup.freeze") or "freezer" in self._directories

    def _set_frozen(self, frozen: bool) -> None:
        if not self._can_freeze():
            raise UNSUPPORTED(f"This machine cannot pause the group {self.name}.")
        if self.version == 2:
            self._write("", "cgroup.freeze", int(frozen))
            wanted = f"frozen {int(frozen)}"
            self._wait(lambda: wanted in self._text("", "cgroup.events"), "pause or go on")
            return
        state = "FROZEN" if frozen else "THAWED"

        def reached() -> bool:
            self._write("freezer", "freezer.state", state)
            return self._text("freezer", "freezer.state").strip() == state

        self._wait(reached, "pause or go on")

    def _wait(self, done: Callable[[], bool], verb: str) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        pause = 0.0005
        while not done():
            if time.monotonic() > deadline:
                raise TIMED_OUT(
                    f"The processes of {self.name} did not {verb} within {_WAIT_SECONDS:.0f} s.",
                    why=f"Still there: {self.processes()[:10]}.",
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def _place(self, controller: str) -> Path | None:
        if controller:
            return self._directories.get(controller)
        return self._places[0] if self._places else None

    def _has(self, controller: str, file: str) -> bool:
        place = self._place(controller)
        return place is not None and (place / file).exists()

    def _write(self, controller: str, file: str, value: object) -> None:
        place = self._place(controller)
        if place is not None and (place / file).exists():
            (place / file).write_text(str(value), encoding="ascii")

    def _text(self, controller: str, file: str) -> str:
        place = self._place(controller)
        return (place / file).read_text(encoding="ascii") if place is not None else ""

    def _number(self, controller: str, file: str) -> int | None:
        return int(self._text(controller, file)) if self._has(controller, file) else None

    def _cpu_ms_v2(self) -> int | None:
        if not self._has("", "cpu.stat"):
            return None
        rows = dict(line.split() for line in self._text("", "cpu.stat").splitlines())
        return int(rows["usage_usec"]) // 1000

    def _limit_memory_v1(self, value: int) -> None:
        """Bound memory, and memory with swap, in the order that the kernel accepts."""
        files = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        with_swap = self._number("memory", files[1])
        if with_swap is not None and value > with_swap:
            files.reverse()
        for file in files:
            self._write("memory", file, value)


class Cgroups:
    """The machine's cgroups as far as this process may use them; `version` is 2, 1 or 0 (none)."""

    def __init__(self, version: int, folders: dict[str, Path]) -> None:
        self.version = version
        self._folders = folders

    @property
    def controllers(self) -> tuple[str, ...]:
        """The controllers that can be used."""
        return tuple(self._folders)

    @property
    def folders(self) -> dict[str, str]:
        """The folder by controller, from which another process can make this anew."""
        return {controller: str(folder) for controller, folder in self._folders.items()}

    def exists(self, name: str) -> bool:
        """Tell whether there is a group of that name."""
        return any((folder / name).is_dir() for folder in self._folders.values())

    def create(self, name: str, limits: Limits = Limits()) -> Group:  # noqa: B008
        """Make the group `name` with its bounds; one that exists already is taken over."""
        group = self._group(name)
        for folder in dict.fromkeys(self._folders.values()):
            (folder / name).mkdir(exist_ok=True)
        group.limit(limits)
        return group

    def reap(self, prefix: str) -> int:
        """Kill and remove the groups whose names start with `prefix`; return how many there were.

        A node that was killed leaves its groups behind; it calls this when it starts again.
        """
        names = {
            each.name
            for folder in self._folders.values()
            for each in folder.glob(f"{prefix}*")
            if each.is_dir()
        }
        for name in names:
            group = self._group(name)
            group.kill()
            group.remove()
        return len(names)

    def _group(self, name: str) -> Group:
        if not _NAME.fullmatch(name):
            raise INVALID(f"{name!r} cannot name a cgroup.")
        directories = {controller: at / name for controller, at in self._folders.items()}
        return Group(name, self.version, directories)


def detect(mounts: str | None = None, own: str | None = None) -> Cgroups:
    """Find what this process may use, and prepare it; call it before starting other processes.

    `mounts` and `own` are the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    """
    process = Path("/proc/self")
    if mounts is None:
        if not (process / "cgroup").exists():
            return Cgroups(0, {})
        mounts = (process / "mountinfo").read_text()
    own = (process / "cgroup").read_text() if own is None else own
    unified, hierarchies = _parse_mounts(mounts)
    if unified is not None:
        mine = next((line[3:] for line in own.splitlines() if line.startswith("0::")), "/")
        inner = unified / mine.lstrip("/")
        # A service's own group keeps the limits that its owner set for it; else the machine's root.
        for base in (inner.parent if inner.name == _NODE_LEAF else inner, unified):
            folder = _prepare(base)
            if folder is not None:
                names = (folder / "cgroup.controllers").read_text().split()
                return Cgroups(2, {each: folder for each in names if each in _V1})
    usable = {
        controller: folder
        for controller in _V1
        if controller in hierarchies and (folder := _make(hierarchies[controller])) is not None
    }
    return Cgroups(1, usable) if usable else Cgroups(0, {})


def _parse_mounts(text: str) -> tuple[Path | None, dict[str, Path]]:
    unified: Path | None = None
    hierarchies: dict[str, Path] = {}
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        where = Path(fields.split()[4])
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup2":
            unified = unified or where
        elif kind == "cgroup":
            for option in options.split(","):
                hierarchies.setdefault(option, where)
    return unified, hierarchies


def _prepare(base: Path) -> Path | None:
    """Make our folder below a version 2 group and pass the controllers on, if that is allowed."""
    try:
        offered = (base / "cgroup.controllers").read_text().split()
        if not {"memory", "pids"} <= set(offered):
            return None
        if (base / "cgroup.type").exists():
            _step_into_leaf(base)
        wanted = [each for each in ("memory", "pids", "cpu") if each in offered]
        _enable(base, wanted)
        folder = base / _FOLDER
        folder.mkdir(exist_ok=True)
        _enable(folder, wanted)
        return folder
    except OSError:
        return None


def _step_into_leaf(base: Path) -> None:
    """Leave the group for a leaf of it: a group with processes cannot pass controllers on."""
    inside = (base / "cgroup.procs").read_text().split()
    if inside == [str(os.getpid())]:
        leaf = base / _NODE_LEAF
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text("0", encoding="ascii")


def _enable(place: Path, controllers: Iterable[str]) -> None:
    control = place / "cgroup.subtree_control"
    missing = [each for each in controllers if each not in control.read_text().split()]
    if missing:
        control.write_text(" ".join(f"+{each}" for each in missing), encoding="ascii")


def _make(hierarchy: Path) -> Path | None:
    folder = hierarchy / _FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
