"""A seeded world of nodes: virtual time, drifting clocks, and a network that cuts and delays.

Everything runs in one asyncio loop whose time jumps to whatever is due next, so that an hour takes
as long as what happens in it, and one seed gives one history.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import STORE_UNREACHABLE

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: it moves the loop's time on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """See `selectors.BaseSelector.select`."""
        if timeout is None:
            raise RuntimeError("Every task of the simulation waits for another one.")
        self.seconds += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, without input or output."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """See `asyncio.AbstractEventLoop.time`."""
        return self._jump.seconds


def run_simulated(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work())


@dataclass
class DriftingClock:
    """A node's clock: it began at another moment, and runs too fast or too slow by `rate`."""

    start: float = 0.0
    rate: float = 1.0

    def now(self) -> int:
        """See `Clock.now`."""
        return int(self.monotonic() * NANOSECONDS)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self.start + asyncio.get_running_loop().time() * self.rate


@dataclass
class Network:
    """Messages between named places: late, lost, or held up for long; whole links may be cut."""

    chance: random.Random
    delay_seconds: float = 0.02
    lost: float = 0.02
    held_up: float = 0.02
    held_up_seconds: float = 8.0
    timeout_seconds: float = 1.0
    cut: set[frozenset[str]] = field(default_factory=set)

    def part(self, names: list[str], others: list[str]) -> None:
        """Cut every link between two sides."""
        self.cut |= {frozenset((a, b)) for a in names for b in others}

    def heal(self) -> None:
        """Mend every link."""
        self.cut.clear()

    async def ask(
        self, source: str, target: str, answer: Callable[[], Awaitable[T]], bound: bool = True
    ) -> T:
        """Ask `target` and return what it answers.

        Raises STORE_UNREACHABLE after a while if the question or the answer does not arrive: then
        nobody knows whether the answer was made, or will still be, for a message that is held up
        arrives later.
        """
        work = asyncio.ensure_future(self._exchange(source, target, answer))
        work.add_done_callback(_forget)
        done, _ = await asyncio.wait({work}, timeout=self.timeout_seconds if bound else None)
        if not done:
            raise STORE_UNREACHABLE(f"{target} does not answer {source}.")
        return work.result()

    async def _exchange(self, source: str, target: str, answer: Callable[[], Awaitable[T]]) -> T:
        await self._travel(source, target)
        found = await _outcome(answer)
        await self._travel(target, source)
        return found()

    async def _travel(self, source: str, target: str) -> None:
        seconds = self.chance.expovariate(1 / self.delay_seconds)
        if self.chance.random() < self.held_up:
            seconds += self.chance.uniform(0, self.held_up_seconds)
        await asyncio.sleep(seconds)
        if frozenset((source, target)) in self.cut or self.chance.random() < self.lost:
            await asyncio.sleep(self.timeout_seconds * 2)
            raise STORE_UNREACHABLE(f"A message from {source} to {target} was lost.")


async def _outcome(answer: Callable[[], Awaitable[T]]) -> Callable[[], T]:
    """Return what gives an answer again, or raises its error again, at the other end."""
    work = asyncio.ensure_future(answer())
    work.add_done_callback(_forget)
    await asyncio.wait({work})
    return work.result


def _forget(work: asyncio.Future[Any]) -> None:
    """Take the outcome of what nobody waits for any more."""
    if not work.cancelled():
        work.exception()
