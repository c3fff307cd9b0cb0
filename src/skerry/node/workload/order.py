"""What a node hands to a keeper, what a keeper leaves for the node, and where both lie on disk.

<home>/workloads/<id>/order.json   what to run, written once and durable before the keeper starts
                      wish.json    what the node wants of it by now: to run or not, and until when
                      state.json   what became of it, written by the keeper
                      usage        counters in shared memory; `kill -9` loses none of them
                      lock         held by the keeper while it lives
                      log, log.old what the program said
                      disk.img     its disk, mounted where only the keeper and the program see it
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from skerry.node.counters import FileMeter, read_counters
from skerry.node.home import write_secret
from skerry.node.sandbox.cgroup import Cgroups
from skerry.node.sandbox.limits import Limits
from skerry.node.workload.images import Image
from skerry.node.workload.spec import Exit, State, WorkloadSpec

UNITS = ("cpu_ms", "memory_mib_s")
"""What every workload is metered in, in the order of its counters."""

CONTROL = "control"
SESSIONS = "sessions"
"""The names of a keeper's sockets for the node: calls, and programs beside the first."""


class Order(msgspec.Struct, frozen=True):
    """All that a keeper needs to know; nothing in it changes.

    `uid` is the machine's user to run as (None: the node's own). `cgroup_version` and
    `cgroup_folders` are what the node may use, `sockets` is where the keeper's sockets lie.
    `gpus` are the numbers of the GPUs that it has to itself, and `devices` lead to them: where each
    is on the machine, by what it is inside.
    """

    id: str
    name: str
    spec: WorkloadSpec
    image: Image
    uid: int | None
    cgroup_version: int
    cgroup_folders: dict[str, str]
    group: str
    sockets: str
    created: int
    gpus: tuple[int, ...] = ()
    devices: dict[str, str] = {}

    @property
    def cgroups(self) -> Cgroups:
        """The machine's cgroups as the node may use them."""
        folders = {name: Path(folder) for name, folder in self.cgroup_folders.items()}
        return Cgroups(self.cgroup_version, folders)

    @property
    def limits(self) -> Limits:
        """The bounds of all its processes together, and of each."""
        return Limits(
            memory_bytes=self.spec.memory_bytes,
            processes=self.spec.pids,
            cpu_cores=self.spec.cpu_millicores / 1000,
            open_files=65_536,
            file_bytes=self.spec.disk_bytes,
        )

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments: the spec's words take the place of the image's."""
        spec, image = self.spec, self.image
        if spec.command:
            return (*spec.command, *spec.args)
        return (*image.entrypoint, *(spec.args or image.command))

    @property
    def env(self) -> dict[str, str]:
        """The program's environment."""
        return {"HOME": "/workload", **self.image.env, **self.spec.env}


class Wish(msgspec.Struct, frozen=True):
    """What the node wants: whether it is to run, and until when (nanoseconds since 1970)."""

    run: bool
    expires: int | None = None


class Process(msgspec.Struct, frozen=True):
    """A process by its id and its start in clock ticks, so that another of that id is not meant."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has that id now, None if there is none."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return cls(pid, int(fields[19]))


class Kept(msgspec.Struct, frozen=True):
    """What a keeper knows of its workload; `first` is the first process inside, seen from here."""

    state: State
    started: int = 0
    restarts: int = 0
    expires: int | None = None
    exit: Exit | None = None
    outside: dict[int, int] = {}
    bounds: dict[str, str] = {}
    first: Process | None = None


class Folder:
    """The folder of one workload."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path / "lock"
        self.usage = path / "usage"
        self.disk_image = path / "disk.img"
        self.disk = path / "disk"
        self.bundle = path / "bundle"
        self.log = path / "log"

    def write_order(self, order: Order) -> None:
        """Keep the order; durable when this returns."""
        write_secret(self.path / "order.json", msgspec.json.encode(order))

    def order(self) -> Order:
        """Read the order."""
        return msgspec.json.decode((self.path / "order.json").read_bytes(), type=Order)

    @property
    def complete(self) -> bool:
        """Whether its order was written."""
        return (self.path / "order.json").exists()

    def write_wish(self, wish: Wish) -> None:
        """Keep what is wanted; durable when this returns."""
        write_secret(self.path / "wish.json", msgspec.json.encode(wish))

    def wish(self) -> Wish:
        """Read what is wanted: what the order said, unless it has changed since."""
        path = self.path / "wish.json"
        if not path.exists():
            return Wish(True, self.order().spec.expires)
        return msgspec.json.decode(path.read_bytes(), type=Wish)

    def write_state(self, kept: Kept) -> None:
        """Keep the state; durable when this returns if it is the last."""
        durable = kept.state == State.ENDED
        write_secret(self.path / "state.json", msgspec.json.encode(kept), durable=durable)

    def state(self) -> Kept:
        """Read the state; a workload whose keeper wrote none has not started."""
        path = self.path / "state.json"
        if not path.exists():
            return Kept(State.STARTING)
        return msgspec.json.decode(path.read_bytes(), type=Kept)

    def meter(self) -> FileMeter:
        """Open the counters to add to them."""
        return FileMeter(self.usage, UNITS)

    def counters(self) -> dict[str, int]:
        """Read the counters."""
        return read_counters(self.usage, UNITS) if self.usage.exists() else dict.fromkeys(UNITS, 0)

    def hold(self) -> int | None:
        """Take the keeper's lock; return its descriptor, None if another keeper has it."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @property
    def kept(self) -> bool:
        """Whether a keeper lives."""
        descriptor = self.hold()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False
