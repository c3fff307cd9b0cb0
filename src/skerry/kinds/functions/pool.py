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
        self._is_refused = False
        self._is_closed = False

    async def run(self, seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function` in a thread, which should not take longer than `seconds`.

        Raises RuntimeError where the process may not start the thread that it needs.
        """
        context = contextvars.copy_context()
        given_up: list[bool] = []
        call = functools.partial(context.run, self._call, given_up, seconds, function, arguments)
        try:
            future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        except RuntimeError:
            # The executor has queued it all the same; whoever called is told that it failed.
            given_up.append(True)
            self._is_refused = not self._is_closed
            raise
        self._is_refused = False
        return await future

    def _call(
        self, given_up: list[bool], seconds: float, function: Callable[..., Any], arguments: Any
    ) -> Any:
        if given_up:
            return None
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

    def is_stuck(self) -> bool:
        """Tell whether no call can run any more.

        So it is if calls that should have ended hold every thread, or hold some while no other can
        be started: a handler that forked until nothing more may run is such a call.
        """
        now = self._clock.monotonic()
        overdue = sum(deadline < now for deadline in list(self._deadlines.values()))
        return overdue >= (1 if self._is_refused else self._threads)

    def close(self) -> None:
        """Take no more calls; a call that runs is left to itself."""
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
