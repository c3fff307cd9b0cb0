"""The stream of an app's changes to its standbys, and when a write may be acknowledged.

`required` are the standbys that must have a write before it is acknowledged. The lease lists only
standbys that are required, so each node that may take over has everything that was acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from skerry.federation.replicas.messages import Batch, Item, Position
from skerry.kernel.clock import Clock
from skerry.kernel.errors import CONFLICT, FENCED, NOT_FOUND, TIMED_OUT, SkerryError
from skerry.kernel.replica import Replica

BATCH_BYTES = 4 << 20
QUEUE_BYTES_MAX = 64 << 20
"""A standby that is farther behind gets a new snapshot when it answers again."""
QUEUE_MAX = 200_000
RETRY_SECONDS = 0.2
CONFIRM_SECONDS = 20.0
ALONE_SECONDS = 2.0
"""How long a write waits for a standby while none follows at all."""

_log = logging.getLogger("skerry.federation")

Send = Callable[[Batch], Awaitable[Position]]


class Follower:
    """A standby as the node that serves sees it.

    `directories` are the state that it has: by branch, the name of its directory here; `definition`
    is the digest of what it knows of the app. `trouble` is why it does not follow, if it does not.
    """

    def __init__(self, node: str, stream: Stream, send: Send, clock: Clock) -> None:
        self.node = node
        self.streaming = False
        self.definition = b""
        self.directories: dict[str, str] = {}
        self.trouble = "it has no copy yet"
        self.position = 0
        self._told = asyncio.Event()
        self._grown: dict[tuple[str, str], int] = {}
        self._stream = stream
        self._send = send
        self._clock = clock
        self._queue: deque[tuple[int, Item, float]] = deque()
        self._some = asyncio.Event()
        self.waiting_bytes = 0

    @property
    def behind_since(self) -> float | None:
        """When the first change that it does not have was made, in monotonic seconds."""
        return self._queue[0][2] if self._queue else None

    @property
    def acknowledged(self) -> int:
        """The sequence number up to which it has everything; -1 if it does not follow."""
        if not self.streaming:
            return -1
        return self._queue[0][0] - 1 if self._queue else self._stream.sequence

    def describe(self) -> str:
        """Say how far behind it is, or why it does not follow."""
        if not self.streaming:
            return f"does not follow: {self.trouble}"
        since = self.behind_since
        lag = 0.0 if since is None else self._clock.monotonic() - since
        return f"{lag:.1f} s behind" + (f": {self.trouble}" if self.trouble else "")

    def add(self, sequence: int, item: Item) -> None:
        """Queue a change, if it follows at all."""
        if not self.streaming:
            return
        self._queue.append((sequence, item, self._clock.monotonic()))
        key = (item.branch, item.resource)
        size = len(item.change.data) + item.change.size
        self._grown[key] = self._grown.get(key, 0) + size
        self.waiting_bytes += len(item.change.data)
        self._some.set()
        if self.waiting_bytes > QUEUE_BYTES_MAX or len(self._queue) > QUEUE_MAX:
            self.lose("it is too far behind")

    def lose(self, why: str) -> None:
        """Give it up until it has a new snapshot."""
        self.streaming = False
        self.trouble = why
        self.directories = {}
        self.pause()
        self._keep([])

    def resume(
        self, position: int, left: list[tuple[int, Item]], directories: dict[str, str]
    ) -> None:
        """Let it follow from where it stood when another node served, once it is told so."""
        now = self._clock.monotonic()
        self._keep([(sequence, item, now) for sequence, item in left])
        self.position = position
        self.directories = directories
        self.streaming = True

    def pause(self) -> None:
        """Send nothing until it is told of the app anew."""
        self.definition = b""
        self._told.clear()

    def begin(self, position: int, seeded: set[str]) -> None:
        """Let it follow; it has all of these branches as they are now, by a snapshot."""
        self._told.set()
        self._keep([each for each in self._queue if each[1].branch not in seeded])
        self._grown = {key: size for key, size in self._grown.items() if key[0] not in seeded}
        self.position = position
        self.streaming = True
        self.trouble = ""
        self._some.set()
        self._stream.wake()

    def outgrown(self) -> set[str]:
        """Return the branches of which it needs a new snapshot, because changes only pile up."""
        return {
            branch
            for (branch, resource), size in self._grown.items()
            if 0 < self._stream.renew_bytes(branch, resource) < size
        }

    def _keep(self, left: list[tuple[int, Item, float]]) -> None:
        self._queue = deque(left)
        self.waiting_bytes = sum(len(each[1].change.data) for each in left)

    async def run(self) -> None:
        """Send what is queued, for ever. Raises FENCED if the standby knows a newer epoch."""
        while True:
            await self._some.wait()
            await self._told.wait()
            if not self._queue:
                self._some.clear()
                continue
            batch = self._next()
            try:
                position = await self._send(await asyncio.to_thread(self._stream.load, batch))
            except SkerryError as error:
                if error.problem is FENCED:
                    raise
                self.trouble = error.what
                if error.problem in (CONFLICT, NOT_FOUND):
                    _log.warning("%s needs a new snapshot: %s", self.node, error)
                    self.lose(error.what)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not self.streaming or self.position != batch.after:
                continue
            self.trouble = ""
            self.position = position.sequence
            self._keep([each for each in self._queue if each[0] > batch.last])
            self._stream.wake()

    def _next(self) -> Batch:
        items: list[Item] = []
        size = 0
        last = self._queue[0][0]
        for sequence, item, _ in self._queue:
            if items and size + len(item.change.data) + item.change.size > BATCH_BYTES:
                break
            items.append(item)
            size += len(item.change.data) + item.change.size
            last = sequence
        stream = self._stream
        return Batch(stream.app, stream.epoch, self.position, last, tuple(items))


class Stream:
    """All changes of an app since this node serves it."""

    def __init__(
        self, app: str, epoch: int, survive: str, may_serve: Callable[[], bool], clock: Clock
    ) -> None:
        self.app = app
        self.epoch = epoch
        self.survive = survive
        self.sequence = 0
        self.confirmed = 0
        self.followers: dict[str, Follower] = {}
        self.replicas: dict[tuple[str, str], Replica] = {}
        self.required: set[str] = set()
        self._may_serve = may_serve
        self._clock = clock
        self._changed = asyncio.Event()

    def add(self, items: list[Item]) -> int:
        """Queue changes for every standby; return the sequence number of the last one."""
        for item in items:
            self.sequence += 1
            for follower in self.followers.values():
                follower.add(self.sequence, item)
        return self.sequence

    def renew_bytes(self, branch: str, resource: str) -> int:
        """Return after how many bytes of changes a resource needs a new snapshot; 0 is never."""
        replica = self.replicas.get((branch, resource))
        return replica.renew_bytes if replica is not None else 0

    def load(self, batch: Batch) -> Batch:
        """Return a batch with all its bytes; blocks."""
        items = []
        for item in batch.items:
            replica = self.replicas.get((item.branch, item.resource))
            change = replica.load(item.change) if replica is not None else item.change
            items.append(Item(item.branch, item.resource, change))
        return msgspec.structs.replace(batch, items=tuple(items))

    def wake(self) -> None:
        """Let writers look again whether they may be answered."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def confirm(self, sequence: int) -> None:
        """Return when a write may be acknowledged.

        Raises FENCED if this node does not hold the lease any more, TIMED_OUT if no standby has the
        write after a time.
        """
        began = self._clock.monotonic()
        deadline = began + CONFIRM_SECONDS
        while True:
            if not self._may_serve():
                raise FENCED(
                    f"This node does not hold the lease of {self.app} any more.",
                    why="What was just written here is not acknowledged.",
                    hint="skerry nodes",
                )
            if self.survive != "node" or self._is_safe(sequence):
                self.confirmed = max(self.confirmed, sequence)
                return
            if not any(each.streaming for each in self.followers.values()):
                deadline = min(deadline, began + ALONE_SECONDS)
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise TIMED_OUT(
                    "No standby has this write, and it is to survive this node.",
                    why=self._troubles(),
                    hint="skerry nodes",
                )
            try:
                await asyncio.wait_for(self._changed.wait(), min(left, 1.0))
            except TimeoutError:
                continue

    def _is_safe(self, sequence: int) -> bool:
        found = [self.followers.get(each) for each in self.required]
        return bool(found) and all(f is not None and f.acknowledged >= sequence for f in found)

    def _troubles(self) -> str:
        said = [f"{each.node}: {each.trouble}" for each in self.followers.values() if each.trouble]
        return "; ".join(said)
