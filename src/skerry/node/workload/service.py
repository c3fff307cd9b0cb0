"""The service `workload`: run programs of others on this node, in a sandbox, with their limits."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.kernel.commands import Command, Done, Nothing, Params, about
from skerry.kernel.service import Mount, Page, Service
from skerry.node.workload.spec import ClassInfo, WorkloadInfo

Named = Annotated[str, about("the workload's name or id", positional=True)]


class Run(Params, frozen=True):
    """Parameters of `workload.run`."""

    image: Annotated[str, about("an image of this node's catalogue", positional=True)]
    program: Annotated[
        tuple[str, ...],
        about("program and arguments; by default the image's own", positional=True, repeat=True),
    ] = ()
    name: Annotated[str, about("its name; by default one is made up")] = ""
    isolation: Annotated[str, about("the class: wasm, bwrap, crun or gvisor")] = ""
    env: Annotated[tuple[str, ...], about("a variable of its environment, NAME=value")] = ()
    port: Annotated[
        tuple[str, ...], about("a port: 80 or 80/http or 5432/tcp, or 5432/tcp=15432 to fix ours")
    ] = ()
    mount: Annotated[tuple[str, ...], about("a folder of its disk, name:/path")] = ()
    cpu: Annotated[float, about("cores, at most")] = 0.5
    memory: Annotated[str, about("memory, at most")] = "128M"
    disk: Annotated[str, about("disk, at most")] = "256M"
    gpu: Annotated[int, about("whole GPUs, which no other workload gets; class bwrap alone")] = 0
    pids: Annotated[int, about("processes and threads, at most")] = 64
    fuel: Annotated[int | None, about("instructions of a WebAssembly module, at most")] = None
    restart: Annotated[str, about("never, on-failure or always")] = "on-failure"
    lasts: Annotated[str | None, about("how long it may run, such as 90s, 10m or 2h")] = None
    host: Annotated[tuple[str, ...], about("a further host name of its first HTTP port")] = ()


class Listed(Params, frozen=True):
    """Parameters of `workload.list`."""

    label: Annotated[tuple[str, ...], about("only those with a label, name=value")] = ()


class OfWorkload(Params, frozen=True):
    """A workload."""

    name: Named


class Stop(Params, frozen=True):
    """Parameters of `workload.stop`."""

    name: Named
    grace: Annotated[float, about("seconds that its program has to end")] = 10.0


class Extend(Params, frozen=True):
    """Parameters of `workload.extend`."""

    name: Named
    lasts: Annotated[str | None, about("how long from now, such as 2h; without it, for ever")] = (
        None
    )


class WorkloadLogs(Params, frozen=True):
    """Parameters of `workload.logs`."""

    name: Named
    lines: Annotated[int, about("how many of the last lines")] = 100
    follow: Annotated[bool, about("go on as lines come")] = False


class Execute(Params, frozen=True):
    """Parameters of `workload.exec`."""

    name: Named
    program: Annotated[
        tuple[str, ...], about("the program and its arguments", positional=True, repeat=True)
    ]
    input: Annotated[bytes, about("its standard input", file=True)] = b""


class Shell(Params, frozen=True):
    """Parameters of `workload.shell`."""

    name: Named
    program: Annotated[
        tuple[str, ...], about("by default /bin/sh", positional=True, repeat=True)
    ] = ("/bin/sh",)


class Left(msgspec.Struct, frozen=True):
    """A shell that was left, and its exit code."""

    exit_code: int

    def draw(self, columns: int) -> str:
        """Return nothing: the shell has said everything itself."""
        return ""


class ImageAdd(Params, frozen=True):
    """Parameters of `workload.image.add`."""

    name: Annotated[str, about("the image's name, as orders name it", positional=True)]
    archive: Annotated[
        str,
        about("a file on the node's machine: a root file system, OCI layout, or .wasm", path=True),
    ] = ""
    upload: Annotated[str, about("the id of an upload that holds such a file")] = ""
    pip: Annotated[tuple[str, ...], about("a Python package beside the machine's /usr")] = ()
    debian: Annotated[tuple[str, ...], about("a Debian package beside the machine's /usr")] = ()


class ImageNamed(Params, frozen=True):
    """An image."""

    name: Annotated[str, about("the image", positional=True)]


class WorkloadLine(msgspec.Struct, frozen=True):
    """A workload in a list; amounts are in the units of their names, times in nanoseconds."""

    name: str
    state: str
    image: str
    isolation: str
    restarts: int
    cpu_ms: int
    memory_bytes: int
    disk_bytes: int
    url: str
    ended: str


class ImageLine(msgspec.Struct, frozen=True):
    """An image in a list."""

    name: str
    kind: str
    bytes: int
    source: str
    digest: str


class LogRow(msgspec.Struct, frozen=True):
    """A line that a program said; `time` is nanoseconds since 1970 (UTC)."""

    time: int
    stream: str
    text: str

    def draw(self, columns: int) -> str:
        """Return the line for people."""
        return self.text if self.stream == "stdout" else f"[{self.stream}] {self.text}"


class Executed(msgspec.Struct, frozen=True):
    """What a program said, and its exit code."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def exit_code(self) -> int:
        """The exit code of the command line."""
        return self.code

    def draw(self, columns: int) -> str:
        """Return what it said, for people."""
        return (self.stdout + self.stderr).decode(errors="replace").rstrip("\n")


SERVICE = Service(
    name="workload",
    summary="Run programs in sandboxes, with limits that hold",
    commands=(
        Command("workload.run", "Run a program", Run, WorkloadInfo, mutates=True),
        Command(
            "workload.list",
            "List the workloads",
            Listed,
            list[WorkloadLine],
            empty="No workload runs here.",
        ),
        Command("workload.status", "What a workload is doing", OfWorkload, WorkloadInfo),
        Command("workload.logs", "What a program said", WorkloadLogs, LogRow, streams=True),
        Command("workload.exec", "Run a command inside", Execute, Executed, mutates=True),
        Command(
            "workload.shell",
            "Open a terminal inside",
            Shell,
            Left,
            local="shell:run",
            reaches=True,
        ),
        Command("workload.stop", "Stop a program", Stop, WorkloadInfo, mutates=True),
        Command("workload.restart", "Run an ended program again", OfWorkload, WorkloadInfo, True),
        Command("workload.extend", "Change how long it may run", Extend, WorkloadInfo, True),
        Command(
            "workload.remove",
            "Remove a workload with its disk",
            OfWorkload,
            Done,
            mutates=True,
            confirm="The workload {name} is stopped, and its disk and log are removed.",
        ),
        Command("workload.classes", "The classes of isolation here", Nothing, list[ClassInfo]),
        Command("workload.image.list", "List the catalogue", Nothing, list[ImageLine]),
        Command("workload.image.add", "Put an image in the catalogue", ImageAdd, ImageLine, True),
        Command(
            "workload.image.remove",
            "Remove an image from the catalogue",
            ImageNamed,
            Done,
            mutates=True,
        ),
    ),
    handler="handler:Handler",
    mounts=(Mount("/workload/session", "shell_wire:make"),),
    pages=(
        Page(
            "/workloads",
            "Workloads",
            "pages:workloads",
            "workloads.html",
            live="_workloads.html",
            menu="Workloads",
        ),
        Page(
            "/workloads/{name}",
            "Workload",
            "pages:workload",
            "workload.html",
            live="_workload.html",
        ),
    ),
    checks="checks:checks",
)
