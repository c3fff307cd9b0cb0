"""Whether an event loop is held up, told by CPU time, which other programs do not add to.

What blocks a loop by waiting is not seen; what computes on it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

_PAUSE_SECONDS = 0.001


@dataclass
class Turns:
    """The CPU seconds of the loop's thread in the longest stretch without a turn for others."""

    longest: float = 0.0


@contextlib.asynccontextmanager
async def turns() -> AsyncIterator[Turns]:
    """Measure the running loop for the length of a block."""
    found = Turns()

    async def watch() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            now = time.thread_time()
            found.longest = max(found.longest, now - last)
            last = now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        yield found
        await asyncio.sleep(2 * _PAUSE_SECONDS)
    finally:
        watching.cancel()
