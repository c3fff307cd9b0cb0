"""The watchdog: it ends a process that no longer serves, so that a fresh one takes its place.

Two things cannot be mended from inside: an event loop that some call blocks, and a pool of threads
that are all stuck. A thread looks for both. It counts its own waits instead of seconds, so that a
process that was stopped and goes on is not taken for a blocked one. A call that holds Python's
global lock (a runaway regular expression) stops that thread too; for this there is a second timer
below the interpreter, `faulthandler`'s.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO

EXIT_STATUS = 70
WAIT_SECONDS_MAX = 1.0
_LOG_SECONDS = 2.0
_FRAMES = 20
"""How many of the innermost calls are logged; a line of the log is bounded."""


class Watchdog:
    """Watches the running loop from a thread; `end` is what ends the process."""

    def __init__(
        self,
        seconds: float,
        log: logging.Logger,
        stuck: Callable[[], bool],
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._wait = min(seconds / 4, WAIT_SECONDS_MAX)
        self._waits_max = max(round(seconds / self._wait), 1)
        self._backstop_seconds = seconds * 2 + 1
        self._log = log
        self._stuck = stuck
        self._end = end
        self._over = threading.Event()
        self._answered = threading.Event()
        self._loop_thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._backstop = _error_output()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._answer()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        if self._backstop is not None:
            faulthandler.cancel_dump_traceback_later()

    def _answer(self) -> None:
        """Show, in the loop, that the loop runs."""
        self._answered.set()
        if self._backstop is None or self._over.is_set():
            return
        try:
            faulthandler.dump_traceback_later(
                self._backstop_seconds, file=self._backstop, exit=True
            )
        except RuntimeError:
            self._backstop = None
            self._log.warning("No more threads can be started: `processes` of them run.")

    def _watch(self) -> None:
        missed = 0
        while not self._over.wait(self._wait):
            if self._answered.is_set():
                missed = 0
                self._answered.clear()
                try:
                    self._loop.call_soon_threadsafe(self._answer)
                except RuntimeError:
                    return
            else:
                missed += 1
            if missed >= self._waits_max:
                self._bark("The event loop is blocked; ending the process.\n" + self._stack())
                return
            if self._stuck():
                self._bark("Every thread is stuck in a handler; ending the process.")
                return

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame, _FRAMES)) if frame is not None else ""

    def _bark(self, text: str) -> None:
        """Log and end the process; the log's own lock may be what blocks, so wait briefly."""
        writer = threading.Thread(target=self._log.critical, args=(text,), daemon=True)
        try:
            writer.start()
            writer.join(_LOG_SECONDS)
        except RuntimeError:
            # What a handler forked fills the process's limit: no thread starts any more.
            if output := _error_output():
                output.write(f"{text}\n")
        self._end(EXIT_STATUS)


def _error_output() -> IO[str] | None:
    """Return where the backstop can write, if the process has such a place."""
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return sys.stderr
