"""The cells of a node: which processes of which branches run, since when, and who holds them.

A branch whose cell has no process is asleep and costs nothing: there is no object for it here. A
process is *listening* once its sockets are bound, and *leaving* from the moment it is told to stop;
its successor over the same state starts only when it has gone.

    (none) ── wake ──▶ starting ──▶ listening ── idle, deploy, stop ──▶ leaving ──▶ (none)
                          └──────────────── crash, kill ───────────────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from skerry.node.channel import Channel
from skerry.node.processes import Child
from skerry.node.sandbox.cgroup import Group

SHARED = ""
"""The key of the process that serves every resource without a process of its own."""


@dataclass(slots=True, eq=False)
class Running:
    """A process of a cell, seen from the node; `posted`: its use is posted for good.

    `sealed` are the secrets that it was given, as the catalogue had them then. What programs apart
    used that it asked for is counted with it, beside its own. `accounts` tells the machine's list
    of users at its start from later ones; `ended_over_request`: it closed over one that it read.
    """

    key: str
    instance: str
    version: int
    child: Child
    channel: Channel
    group: Group
    started: int
    resources: dict[str, str]
    bound: dict[str, str]
    sealed: Mapping[str, bytes] = field(default_factory=dict)
    holds: int = 0
    leaving: bool = False
    ended_over_request: bool = False
    accounts: tuple[int, int] = (0, 0)
    cpu_ms: int = 0
    memory_bytes: int = 0
    memory_mib_s: float = 0.0
    apart_cpu_ms: int = 0
    apart_memory_mib_s: float = 0.0
    posted: bool = False
    sampled: float = 0.0
    sessions: dict[str, set[PortSession]] = field(default_factory=dict)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has ended and what it used is posted."""

    @property
    def usable(self) -> bool:
        """Whether new work may be given to it."""
        return not self.leaving and not self.channel.closed.done()


@dataclass(slots=True, eq=False)
class PortSession:
    """A client of a port wire: whether it needs the engine now, and whom to tell of its sleep."""

    is_active: bool
    callbacks: list[Callable[[], None]] = field(default_factory=list)


class Cell:
    """The processes of one branch. The lock is held while one starts, and while state is copied."""

    def __init__(self, app: str, branch: str) -> None:
        self.app = app
        self.branch = branch
        self.lock = asyncio.Lock()
        self.processes: dict[str, Running] = {}
        self.leaving: set[Running] = set()
        self.failures: dict[str, Failures] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing runs and nobody is about to start anything."""
        return not (self.processes or self.leaving or self.lock.locked() or self.failures)

    def running(self) -> Iterator[Running]:
        """Yield what runs, leaving processes included."""
        yield from self.processes.values()
        yield from self.leaving


@dataclass(slots=True)
class Failures:
    """How often a process ended at once, in a row; the next start waits for longer each time."""

    count: int = 0
    retry_at: float = 0.0

    FIRST_SECONDS = 0.2
    LONGEST_SECONDS = 10.0

    def note(self, now: float) -> None:
        """Note one more failure."""
        self.count += 1
        self.retry_at = now + min(self.FIRST_SECONDS * 2 ** (self.count - 1), self.LONGEST_SECONDS)
