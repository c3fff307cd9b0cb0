"""Threads for handlers without `async`: bounded, with the caller's context variables."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from skerry.kernel.clock import Clock


class Pool:
    """Runs blocking calls. A thread cannot be ended, so the pool knows which are overdue."""

    def __init__(self, threads: int, clock: Clock) -> None:
        self._threads = threads
        self._clock = clock
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="handler")
        self._deadlines: dict[int, float] = {}

    async def run(self, seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function` in a thread, which should not take longer than `seconds`."""
        context = contextvars.copy_context()
        call = functools.partial(context.run, self._call, seconds, function, arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _call(self, seconds: float, function: Callable[..., Any], arguments: Any) -> Any:
        thread = threading.get_ident()
        self._deadlines[thread] = self._clock.monotonic() + seconds
        try:
            return function(*arguments)
        except StopIteration as error:
            # A future cannot carry it: whoever awaits it would wait forever.
            raise RuntimeError("the handler raised StopIteration") from error
        finally:
            del self._deadlines[thread]

    def relax(self) -> None:
        """Note, in a call, that its answer has begun: it may now take as long as its client."""
        self._deadlines[threading.get_ident()] = float("inf")

    def all_overdue(self) -> bool:
        """Tell whether every thread is held by a call that should have ended."""
        now = self._clock.monotonic()
        overdue = sum(deadline < now for deadline in list(self._deadlines.values()))
        return overdue >= self._threads

    def close(self) -> None:
        """Take no more calls; a call that runs is left to itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)
