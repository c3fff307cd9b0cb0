"""Limits that hold exactly, also under concurrency and after `kill -9`, without a wait per call.

A quota counts what was used of a limit in a window of time. An amount is *taken* before a call (the
most that it can use) and *settled* after it. Both happen in memory in one step, so that no two
calls can share the last piece. What survives a crash is a *lease*: an amount that was written, in
advance and durably, as used. Calls wait for the disk only when a lease is used up. After a crash
the whole lease counts as used, so a limit is never exceeded; at most one lease of it is lost.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from skerry.kernel.clock import NANOSECONDS

LEASES = 20
"""Into how many leases a limit is cut."""

Save = Callable[["Quota", int, int], Awaitable[None]]
"""Writes durably that `amount` of a quota counts as used in `window`."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time: its number, and the nanoseconds since 1970 at which it ends."""

    number: int
    ends: int


def minute(now: int) -> Window:
    """Return the minute of the clock."""
    number = now // (60 * NANOSECONDS)
    return Window(number, (number + 1) * 60 * NANOSECONDS)


def day(now: int) -> Window:
    """Return the day, in UTC."""
    number = now // (86_400 * NANOSECONDS)
    return Window(number, (number + 1) * 86_400 * NANOSECONDS)


def month(now: int) -> Window:
    """Return the month of the calendar, in UTC."""
    date = datetime.datetime.fromtimestamp(now // NANOSECONDS, datetime.UTC)
    after = datetime.datetime(
        date.year + date.month // 12, date.month % 12 + 1, 1, tzinfo=datetime.UTC
    )
    return Window(date.year * 12 + date.month, int(after.timestamp()) * NANOSECONDS)


def ever(_: int) -> Window:
    """Return the only window of a limit that never starts over."""
    return Window(0, 1 << 62)


@dataclass(frozen=True, slots=True)
class Taken:
    """An amount that was taken from a quota, to be settled."""

    quota: Quota
    amount: int
    window: int


class ExceededError(Exception):
    """A quota does not have that much left; `retry_seconds` until its window ends."""

    def __init__(self, quota: Quota, amount: int, retry_seconds: float) -> None:
        super().__init__(quota.name)
        self.quota = quota
        self.amount = amount
        self.retry_seconds = retry_seconds


class Quota:
    """One limit of one key."""

    def __init__(
        self,
        key: int,
        name: str,
        limit: int,
        window: Callable[[int], Window],
        save: Save,
        known: tuple[int, int] = (0, 0),
    ) -> None:
        self.key = key
        self.name = name
        self.limit = limit
        self._window = window
        self._save = save
        self.number, self.used = known
        self.leased = self.used
        self._leasing: asyncio.Task[None] | None = None

    def left(self, now: int) -> int:
        """Return how much is left in the present window."""
        self._turn(now)
        return max(self.limit - self.used, 0)

    def resets_in(self, now: int) -> int:
        """Return the nanoseconds until all of the limit can be used again."""
        return max(self._turn(now).ends - now, 0) if self.used else 0

    def take(self, amount: int, now: int) -> Taken:
        """Take an amount, or raise ExceededError and take nothing."""
        window = self._turn(now)
        if self.used + amount > self.limit:
            raise ExceededError(self, amount, max((window.ends - now) / NANOSECONDS, 0.0))
        self.used += amount
        return Taken(self, amount, self.number)

    async def secure(self) -> None:
        """Wait until whatever is taken is covered by a lease."""
        while self.used > self.leased:
            if self._leasing is None or self._leasing.done():
                self._leasing = asyncio.ensure_future(self._lease())
            await asyncio.shield(self._leasing)

    def settle(self, taken: Taken, actual: int) -> None:
        """Replace what was taken by what was used; it may be more, and then counts in full."""
        if taken.window == self.number:
            self.used += actual - taken.amount

    def _turn(self, now: int) -> Window:
        """Start over if a new window has begun; a clock that goes back changes nothing."""
        window = self._window(now)
        if window.number > self.number:
            self.number, self.used, self.leased = window.number, 0, 0
        return window

    async def _lease(self) -> None:
        number = self.number
        step = max(self.limit // LEASES, 1)
        amount = max(min(self.used + step, self.limit), self.used)
        await self._save(self, number, amount)
        if number == self.number:
            self.leased = max(self.leased, amount)
