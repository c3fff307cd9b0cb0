"""Programs apart: what an engine has the node run for a user, in a sandbox tighter than the cell's.

Such a program has a file system of what is granted to it, processes of its own, bounds of its own,
and no network but one address, `WAY_IN`, behind which answers the HTTP wire of the resource that
asked for it, and nothing else. It ends with the process of the cell at the latest.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from skerry.kernel.errors import UNSUPPORTED

WAY_IN_PORT = 8080
WAY_IN = f"http://127.0.0.1:{WAY_IN_PORT}"
"""Where the resource's own HTTP wire answers, seen from a program apart."""

WORK = "work"
"""The folder, below that of the program, in which it starts: all that it can write to."""

LOG = "log"
"""The file, below the folder of the program, of what it said: lines of milliseconds and text."""


class Program(msgspec.Struct, frozen=True):
    """A program and all that it may use.

    `folder` is below `Context.run` and holds `WORK`. Amounts bound all of its processes together:
    memory, disk and log in bytes, `processes` with threads, `cpu_cores` and `seconds` by the clock.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    seconds: float
    memory_bytes: int
    disk_bytes: int
    log_bytes: int
    processes: int = 64
    cpu_cores: float = 1.0

    def __repr__(self) -> str:
        # The environment holds credentials.
        return f"Program({self.folder!r})"


class Ending(msgspec.Struct, frozen=True):
    """How a program ended: with which exit code, for which reason, and what it used."""

    code: int
    reason: Literal["exited", "timed-out", "stopped", "disk-full", "out-of-memory", "lost"]
    cpu_ms: int = 0
    memory_bytes: int = 0


class Apart(Protocol):
    """A program that was started."""

    async def wait(self) -> Ending:
        """Return how it ended, once it and all that it started have; raise ENGINE_FAILED."""
        ...

    async def stop(self) -> None:
        """End it: SIGTERM first, SIGKILL to what is left a little later. Harmless if it ended."""
        ...


class Launch(Protocol):
    """Starts programs apart."""

    async def __call__(self, program: Program) -> Apart:
        """Start one; raise UNSUPPORTED if this machine cannot keep it apart, ENGINE_FAILED."""
        ...


async def nowhere(program: Program) -> Apart:
    """Refuse, as whoever has no node does."""
    raise UNSUPPORTED(f"{program.folder} cannot be started.", why="There is no node to start it.")
