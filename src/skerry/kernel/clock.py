"""The seams for time and randomness, so that tests can be seeded."""

from __future__ import annotations

import os
import time
from typing import Protocol

NANOSECONDS = 1_000_000_000
_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> int:
        """Return the wall time in nanoseconds since 1970 (UTC); it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some moment; it never goes back."""
        ...


class Entropy(Protocol):
    """Where randomness comes from."""

    def bytes(self, count: int) -> bytes:
        """Return `count` bytes that nobody can guess."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        """See `Clock.now`."""
        return time.time_ns()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()


class BootClock(SystemClock):
    """The machine's clock, which also counts while the machine is suspended (Linux).

    A lease runs out while its holder sleeps, so its holder counts by this one.
    """

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.clock_gettime(_BOOT) if _BOOT is not None else time.monotonic()


class SystemEntropy:
    """The operating system's random numbers."""

    def bytes(self, count: int) -> bytes:
        """See `Entropy.bytes`."""
        return os.urandom(count)
