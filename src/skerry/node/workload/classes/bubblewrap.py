"""Class `bwrap`: namespaces by bubblewrap, our filter of system calls, a cgroup, Landlock's scopes.

Bubblewrap (LGPL) runs as a program of its own, as the user of the workload and never as root: what
it binds is opened with that user's rights. Its options reach it through a descriptor, because the
program's environment holds passwords and argument lists are public.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from skerry.node.sandbox import seccomp
from skerry.node.workload.classes.base import (
    INSIDE_ID,
    Launch,
    Place,
    Program,
    find_program,
    missing,
    needs_filesystem,
)
from skerry.node.workload.classes.view import MASKED, impossible_mounts, view
from skerry.node.workload.images import Image
from skerry.node.workload.order import Order
from skerry.node.workload.spec import ClassInfo, WorkloadSpec

PROBE_SECONDS = 10.0
_NAMESPACES = ("--unshare-all", "--unshare-user", "--die-with-parent", "--new-session")
_HINT = "apt-get install -y bubblewrap"


class Bubblewrap:
    """See the module."""

    name = "bwrap"
    summary = "Linux namespaces, a filter of system calls, and a cgroup; it shares the kernel."

    def probe(self, user: int | None) -> ClassInfo:
        """See `IsolationClass.probe`."""
        program = find_program("bwrap")
        if program is None:
            return missing(self, "bubblewrap is not installed.", _HINT)
        command = [program, *_NAMESPACES, "--ro-bind", "/", "/", "--", "/bin/true"]
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=PROBE_SECONDS,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return missing(self, f"bubblewrap cannot be run: {error}", _HINT)
        if done.returncode:
            return missing(
                self,
                f"This machine lets no ordinary user make namespaces: {done.stderr.strip()}",
                "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000",
            )
        return ClassInfo(self.name, True, self.summary)

    def reasons(self, spec: WorkloadSpec, image: Image) -> Iterator[str]:
        """See `IsolationClass.reasons`."""
        yield from needs_filesystem(self, image)
        yield from impossible_mounts(spec, image)

    def launch(self, order: Order, place: Place) -> Launch:
        """See `IsolationClass.launch`."""
        program = find_program("bwrap")
        assert program is not None, "the class was probed"
        status_read, status_write = os.pipe()
        options = [*_options(order, place), "--json-status-fd", str(status_write)]
        descriptors = [status_write]
        if seccomp.supported():
            filter_file = in_memory(seccomp.program(os.uname().machine, False))
            options += ["--seccomp", str(filter_file)]
            descriptors.append(filter_file)
        arguments = in_memory("\0".join(options).encode() + b"\0")
        descriptors.append(arguments)
        os.set_blocking(status_read, False)
        status = Status(status_read)
        return Launch(
            argv=[program, "--args", str(arguments), "--", *order.argv],
            keep=descriptors,
            close=[status_read],
            find_first=status.find_first,
            uid=order.uid,
            limits=order.limits,
        )

    def owner(self, order: Order) -> int | None:
        """See `IsolationClass.owner`."""
        return order.uid

    def session_argv(self, order: Order, place: Place, program: Program) -> list[str] | None:
        """See `IsolationClass.session_argv`."""
        return None

    def end(self, order: Order, place: Place) -> None:
        """See `IsolationClass.end`."""


class Status:
    """What bubblewrap reports about the sandbox that it made."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._text = ""
        self._pid: int | None = None

    def find_first(self, _pid: int) -> int | None:
        """Return the first process inside, as soon as the sandbox around it is complete.

        Bubblewrap tells its id when nothing is hidden from it yet; its last step is to start the
        program.
        """
        if self._pid is None:
            self._pid = self._read()
        if self._pid is None:
            return None
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children")
        try:
            return self._pid if children.read_text() else None
        except (FileNotFoundError, ProcessLookupError):
            return None

    def _read(self) -> int | None:
        try:
            self._text += os.read(self._descriptor, 4096).decode()
        except BlockingIOError:
            return None
        for line in self._text.splitlines(keepends=True):
            if line.endswith("\n") and "child-pid" in line:
                return int(json.loads(line)["child-pid"])
        return None


def in_memory(data: bytes) -> int:
    """Return a descriptor of a file in memory, to be read from its start by a child."""
    descriptor = os.memfd_create("skerry", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _options(order: Order, place: Place) -> list[str]:
    seen = view(order.spec, order.image, place)
    size = str(seen.scratch_bytes)
    words = [*_NAMESPACES, "--disable-userns", "--cap-drop", "ALL"]
    words += ["--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", order.name]
    for target, link in seen.links:
        words += ["--symlink", target, link]
    for bind in seen.binds:
        words += ["--ro-bind" if bind.read_only else "--bind", bind.there, bind.inside]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm"]  # noqa: S108
    for inside, there in sorted(order.devices.items()):
        words += ["--dev-bind", there, inside]
    for masked in map(Path, MASKED):
        if not masked.is_relative_to("/proc"):
            continue
        if masked.is_dir():
            words += ["--size", "4096", "--tmpfs", str(masked), "--remount-ro", str(masked)]
        elif masked.exists():
            words += ["--ro-bind", os.devnull, str(masked)]
    for folder in seen.scratch:
        words += ["--perms", "1777", "--size", size, "--tmpfs", folder]
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    words += ["--chdir", order.image.directory, "--clearenv"]
    for name, value in order.env.items():
        words += ["--setenv", name, value]
    return words
