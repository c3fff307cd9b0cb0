"""What every class of the ladder is: how it is probed, refused and launched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from skerry.node.sandbox import Limits, Membership
from skerry.node.workload.images import Image
from skerry.node.workload.order import Order
from skerry.node.workload.spec import ClassInfo, WorkloadSpec

INSIDE_ID = 1000
"""The user and group of every program inside its sandbox, whatever it is outside."""

SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a workload runs: its image and disk as shown to it, and its cgroup.

    `bundle` is where a runtime's own files lie.
    """

    bundle: Path
    rootfs: Path
    disk: Path
    membership: Membership


@dataclass(slots=True)
class Launch:
    """How the first process is started: a program to execute, or work to do in a forked child.

    `keep` are the descriptors that it inherits. `find_first` returns the id, seen from here, of a
    process whose namespaces are the sandbox's, None as long as there is none; a sandbox that has
    none of its own (`wasm`) leaves it out. `own_network` asks for a network namespace made by the
    keeper. `close` is what the keeper closes after the end. `work` confines itself.
    `scoped` is false for a runtime's own program that looks after the sandbox from outside, and
    `network_of` is a process whose network that program needs.
    """

    argv: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    keep: list[int] = field(default_factory=list)
    close: list[int] = field(default_factory=list)
    work: Callable[[], None] | None = None
    find_first: Callable[[int], int | None] | None = None
    own_network: bool = False
    scoped: bool = True
    network_of: int | None = None
    uid: int | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run inside: `terminal` says that its standard input is one."""

    argv: list[str]
    env: dict[str, str]
    directory: str
    terminal: bool = False


class IsolationClass(Protocol):
    """One rung of the ladder."""

    name: str
    summary: str

    def probe(self, user: int | None) -> ClassInfo:
        """Try on this machine whether it works; slow, so ask once. `user` is who would run."""
        ...

    def reasons(self, spec: WorkloadSpec, image: Image) -> Iterator[str]:
        """Yield why it cannot run a workload that every class of its machine could."""
        ...

    def launch(self, order: Order, place: Place) -> Launch:
        """Prepare one start."""
        ...

    def owner(self, order: Order) -> int | None:
        """Return the machine's user that owns what the program writes (None: the node's own)."""
        ...

    def session_argv(self, order: Order, place: Place, program: Program) -> list[str] | None:
        """Return the program that runs another one inside.

        None if its namespaces are joined instead; nothing if no program can run inside.
        """
        ...

    def end(self, order: Order, place: Place) -> None:
        """Remove what a start left behind, after every process has ended."""
        ...


def find_program(name: str) -> str | None:
    """Return where a program of the machine lies."""
    return shutil.which(name, path=SEARCH)


def missing(cls: IsolationClass, why: str, hint: str) -> ClassInfo:
    """Return that a class is not to be had here, why, and what to run."""
    return ClassInfo(cls.name, False, cls.summary, why, hint)


def needs_filesystem(cls: IsolationClass, image: Image) -> Iterator[str]:
    """Refuse an image that is a single module."""
    if image.kind == "wasm":
        yield f"{image.name} is a WebAssembly module, and class {cls.name} runs programs of Linux"


def needs_no_gpu(cls: IsolationClass, spec: WorkloadSpec) -> Iterator[str]:
    """Refuse a workload with GPUs."""
    if spec.gpus:
        yield f"class {cls.name} passes no GPU on; bwrap does"


def disk_folder(name: str) -> str:
    """Return the folder on a workload's disk that a mount of that name shows."""
    return f"mount-{name}"
