"""What a workload is, what it may use, and what is known of it: plain data and its rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePosixPath

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kernel.names import check_name

MIB = 1 << 20
MEMORY_BYTES_LEAST = 4 * MIB
DISK_BYTES_LEAST = 1 * MIB
CPU_MILLICORES_LEAST = 10
PIDS_LEAST = 1
GPUS_MAX = 64
PORTS_MAX = 64
MOUNTS_MAX = 32
WORDS_MAX = 256
WORD_BYTES_MAX = 64 * 1024
ENVIRONMENT_MAX = 512
LABELS_MAX = 64
HOSTS_MAX = 64

_VARIABLE = re.compile(r"[^=\x00]{1,256}")
_IMAGE = re.compile(
    r"[a-z0-9](?:[a-z0-9._/-]|:(?=[0-9]+/)){0,200}(?::[\w.-]{1,128})?(?:@sha256:[0-9a-f]{64})?"
)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,62})"
_HOST = re.compile(rf"(?=.{{1,253}}$)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_NOT_MOUNTABLE = ("/proc", "/dev", "/sys")


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A port that the program listens on, and how it is reached.

    `http` ports answer through the node's router; every port, `tcp` and `udp` too, is forwarded
    from a port of loopback: `outside`, or one that the system chooses (0).
    """

    number: int
    protocol: str = "http"
    outside: int = 0


class Mount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder of the workload's own disk, seen at `path`; it is kept as long as the workload."""

    name: str
    path: str
    read_only: bool = False


class Restart(StrEnum):
    """When an ended program is started again; each time after a longer pause, at most a minute."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


class WorkloadSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program to run, and all that it may use.

    `image` names an image of the node's catalogue. `command` and `args` take the place of the
    image's own, as in a container. `isolation` is a class of the ladder (`wasm`, `bwrap`, `crun`,
    `gvisor`). The amounts bound all processes of the workload together: CPU in thousandths of a
    core, whole `gpus`, memory and disk in bytes, `pids` in processes and threads; `fuel` is how
    many instructions a WebAssembly module may execute (None: as many as its CPU can). `expires` is
    when it is stopped at the latest, in nanoseconds since 1970 (None: never); the keeper watches
    it, not the node.
    `hosts` are further host names under which its first HTTP port answers; `*.example.com` is every
    name of one label before `example.com` that no other workload has. `account` is the
    ledger's account that its use is posted to (by default `workload/<name>`). `labels` are for
    whoever runs it.
    """

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    isolation: str = "bwrap"
    cpu_millicores: int = 500
    gpus: int = 0
    memory_bytes: int = 128 * MIB
    disk_bytes: int = 256 * MIB
    pids: int = 64
    fuel: int | None = None
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    restart: Restart = Restart.ON_FAILURE
    expires: int | None = None
    hosts: tuple[str, ...] = ()
    account: str = ""
    labels: dict[str, str] = {}

    def __repr__(self) -> str:
        # The environment and the arguments of a program hold its passwords.
        return f"WorkloadSpec(image={self.image!r}, isolation={self.isolation!r})"


class State(StrEnum):
    """Where a workload is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    ENDED = "ended"


class Exit(msgspec.Struct, frozen=True):
    """How a program ended.

    `reason` is one of `exited` (with `code`), `killed` (by signal `code`), `out-of-memory`,
    `disk-full`, `expired`, `stopped`, `out-of-fuel`, `failed-to-start`, `lost` (with its keeper).
    `text` says more, for people. `at` is nanoseconds since 1970.
    """

    reason: str
    code: int = 0
    text: str = ""
    at: int = 0

    @property
    def clean(self) -> bool:
        """Whether the program ended by itself and well."""
        return self.reason == "exited" and self.code == 0


class WorkloadUsage(msgspec.Struct, frozen=True):
    """What a workload used since it was made; both totals only grow, and survive every restart."""

    cpu_ms: int = 0
    memory_mib_s: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0


class Reachable(msgspec.Struct, frozen=True):
    """Where a port answers: a TCP address of loopback, and a URL if it speaks HTTP."""

    number: int
    protocol: str
    address: str
    url: str = ""


class WorkloadInfo(msgspec.Struct, frozen=True):
    """A workload as it is now; times are nanoseconds since 1970, 0 where there was none yet.

    `bounds` says of every amount how it is bounded here, and what is weaker than elsewhere.
    """

    id: str
    name: str
    image: str
    isolation: str
    state: State
    created: int
    started: int = 0
    restarts: int = 0
    expires: int | None = None
    exit: Exit | None = None
    usage: WorkloadUsage = WorkloadUsage()
    ports: tuple[Reachable, ...] = ()
    bounds: dict[str, str] = {}
    labels: dict[str, str] = {}


class ClassInfo(msgspec.Struct, frozen=True):
    """A class of the ladder on this machine: `why` and `hint` say what is missing if it is not."""

    name: str
    available: bool
    summary: str
    why: str = ""
    hint: str = ""


def check_spec(spec: WorkloadSpec) -> None:
    """Raise INVALID if a spec says something impossible; what this node lacks is not its matter."""
    check_image_name(spec.image)
    for problem in _problems(spec):
        raise INVALID(f"This cannot be a workload: {problem}.")


def check_image_name(text: str) -> str:
    """Return `text` if it may name an image (`python`, `alpine:3.19`, `ghcr.io/a/b:1`)."""
    if not _IMAGE.fullmatch(text):
        raise INVALID(
            f"{text!r} cannot name an image.",
            why="It is a name in lower case, with slashes between its parts, and at most one tag.",
        )
    return text


def _problems(spec: WorkloadSpec) -> Iterator[str]:
    for name, value, least in (
        ("cpu_millicores", spec.cpu_millicores, CPU_MILLICORES_LEAST),
        ("memory_bytes", spec.memory_bytes, MEMORY_BYTES_LEAST),
        ("disk_bytes", spec.disk_bytes, DISK_BYTES_LEAST),
        ("pids", spec.pids, PIDS_LEAST),
    ):
        if not least <= value < 1 << 50:
            yield f"{name} is {value}, and must be at least {least}"
    if not 0 <= spec.gpus <= GPUS_MAX:
        yield f"gpus is {spec.gpus}, and must be 0 to {GPUS_MAX}"
    if spec.fuel is not None and not 0 < spec.fuel < 1 << 62:
        yield f"fuel is {spec.fuel}, and must be positive"
    words = (*spec.command, *spec.args)
    if len(words) > WORDS_MAX or any(len(word.encode()) > WORD_BYTES_MAX for word in words):
        yield f"the command has over {WORDS_MAX} words, or one over {WORD_BYTES_MAX} bytes"
    if any("\0" in word for word in (*words, *spec.env.values())):
        yield "a word or a variable has a zero byte"
    if len(spec.env) > ENVIRONMENT_MAX or not all(map(_VARIABLE.fullmatch, spec.env)):
        yield f"the environment has over {ENVIRONMENT_MAX} variables, or an impossible name"
    if any(len(value.encode()) > WORD_BYTES_MAX for value in spec.env.values()):
        yield f"a variable has over {WORD_BYTES_MAX} bytes"
    if len(spec.labels) > LABELS_MAX:
        yield f"it has over {LABELS_MAX} labels"
    yield from _port_problems(spec)
    yield from _mount_problems(spec)


def _port_problems(spec: WorkloadSpec) -> Iterator[str]:
    if len(spec.ports) > PORTS_MAX:
        yield f"it has over {PORTS_MAX} ports"
    if len({port.number for port in spec.ports}) < len(spec.ports):
        yield "a port is named twice"
    for port in spec.ports:
        if not (1 <= port.number <= 65535 and 0 <= port.outside <= 65535):
            yield f"{port.number} is no port"
        if port.protocol not in ("http", "tcp", "udp"):
            yield f"port {port.number} is of protocol {port.protocol}, and not http, tcp or udp"
    if len(spec.hosts) > HOSTS_MAX:
        yield f"it has over {HOSTS_MAX} host names"
    for host in spec.hosts:
        if not _HOST.fullmatch(host):
            yield f"{host!r} is no host name in lower case"


def _mount_problems(spec: WorkloadSpec) -> Iterator[str]:
    if len(spec.mounts) > MOUNTS_MAX:
        yield f"it has over {MOUNTS_MAX} mounts"
    if len({mount.path for mount in spec.mounts}) < len(spec.mounts):
        yield "two mounts have one path"
    for mount in spec.mounts:
        check_name(mount.name, "a mount")
        path = PurePosixPath(mount.path)
        plain = str(path) == mount.path and ".." not in path.parts and len(path.parts) > 1
        if not plain or any(path.is_relative_to(each) for each in _NOT_MOUNTABLE):
            yield f"nothing can be mounted at {mount.path!r}"
