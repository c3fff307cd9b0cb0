"""Class `gvisor`: the program's system calls are answered by gVisor's kernel, not by the machine's.

runsc (Apache-2.0) needs root to build its sandbox. It is put into a network namespace of its own
that holds nothing but a loopback, and uses that network directly (`--network=host` means this one).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skerry.node.sandbox import Limits
from skerry.node.workload.classes.base import (
    INSIDE_ID,
    Launch,
    Place,
    Program,
    find_program,
    missing,
    needs_filesystem,
    needs_no_gpu,
)
from skerry.node.workload.classes.bundle import process_of, write_bundle
from skerry.node.workload.classes.view import impossible_mounts
from skerry.node.workload.images import Image
from skerry.node.workload.order import Order
from skerry.node.workload.spec import MIB, ClassInfo, WorkloadSpec

OVERHEAD_BYTES = 64 * MIB
"""What gVisor's own processes may use beside the program."""

OVERHEAD_PIDS = 96
_HINT = "apt-get install -y runsc"
_NAMESPACES = ("pid", "ipc", "uts", "mount")
_OPTIONS = ("--ignore-cgroups", "--network=host", "--platform=ptrace", "--overlay=false")
_PROBE_OPTIONS = ("--ignore-cgroups", "--network=none", "--platform=ptrace")
_PROBE_SECONDS = 20.0


class Gvisor:
    """See the module."""

    name = "gvisor"
    summary = "gVisor answers the program's system calls in a kernel of its own, outside Linux."

    def probe(self, user: int | None) -> ClassInfo:
        """See `IsolationClass.probe`."""
        program = find_program("runsc")
        if program is None:
            return missing(self, "runsc is not installed.", _HINT)
        if os.geteuid() != 0:
            return missing(
                self,
                "runsc needs root to build its sandbox.",
                "run the node as root: sudo skerry up",
            )
        with tempfile.TemporaryDirectory() as state:
            command = [program, "--root", state, *_PROBE_OPTIONS, "do", "/bin/true"]
            try:
                done = subprocess.run(
                    command, check=False, capture_output=True, text=True, timeout=_PROBE_SECONDS
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return missing(self, f"runsc cannot run here: {error}", "skerry doctor")
        if done.returncode:
            said = done.stderr.strip()[-300:] or f"it ended with {done.returncode}"
            return missing(self, f"runsc cannot run here: {said}", "skerry doctor")
        return ClassInfo(self.name, True, self.summary)

    def reasons(self, spec: WorkloadSpec, image: Image) -> Iterator[str]:
        """See `IsolationClass.reasons`."""
        yield from needs_filesystem(self, image)
        yield from impossible_mounts(spec, image)
        yield from needs_no_gpu(self, spec)

    def launch(self, order: Order, place: Place) -> Launch:
        """See `IsolationClass.launch`."""
        program = find_program("runsc")
        assert program is not None, "the class was probed"
        bundle = write_bundle(order, place, _NAMESPACES)
        return Launch(
            argv=[program, *_root(bundle), *_OPTIONS, "run", "-bundle", str(bundle), order.id],
            find_first=lambda pid: pid if _runs(bundle) else None,
            own_network=True,
            limits=_limits(order),
        )

    def owner(self, order: Order) -> int | None:
        """See `IsolationClass.owner`: a user inside is one of the machine, seen by gVisor alone."""
        return INSIDE_ID

    def session_argv(self, order: Order, place: Place, program: Program) -> list[str] | None:
        """See `IsolationClass.session_argv`; the environment goes by a file, not by arguments."""
        runsc = find_program("runsc")
        assert runsc is not None, "the class was probed"
        process = process_of(program)
        descriptor, path = tempfile.mkstemp(prefix="session-", dir=place.bundle)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(process))
        return [
            runsc,
            *_root(place.bundle),
            *_OPTIONS,
            "exec",
            "-process",
            path,
            order.id,
        ]

    def end(self, order: Order, place: Place) -> None:
        """See `IsolationClass.end`."""
        shutil.rmtree(_root(place.bundle)[1], ignore_errors=True)


def _limits(order: Order) -> Limits:
    """Return the workload's bounds with what gVisor's own kernel and file server need beside it.

    runsc keeps the program's memory in a file that is larger than any the program writes.
    """
    spec = order.spec
    return Limits(
        memory_bytes=spec.memory_bytes + OVERHEAD_BYTES,
        processes=spec.pids + OVERHEAD_PIDS,
        cpu_cores=spec.cpu_millicores / 1000,
        open_files=order.limits.open_files,
    )


def _runs(bundle: Path) -> bool:
    """Tell whether runsc says of its sandbox that the program runs."""
    for path in Path(_root(bundle)[1]).glob("*.state"):
        try:
            return bool(msgspec.json.decode(path.read_bytes())["status"] == "running")
        except (OSError, msgspec.DecodeError, KeyError):
            # It is written just now.
            return False
    return False


def _root(bundle: Path) -> list[str]:
    return ["--root", str(bundle.with_name("runsc"))]
