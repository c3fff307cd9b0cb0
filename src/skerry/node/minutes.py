"""The minutes of the clock as they begin, for what is due at times of day."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from skerry.kernel.clock import NANOSECONDS, Clock

_MINUTE_SECONDS = 60.0
_LATE_SECONDS = 0.01
"""So much after a minute began it is surely the next one, however the timer is rounded."""

_BACK_MAX = timedelta(hours=1)
"""A clock that goes back further was wrong before: its minutes count again."""


class Minutes:
    """Tells of each minute once, even if the clock goes back.

    Minutes that passed while the machine slept or the clock jumped ahead are left out, so that
    nothing runs many times at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last = self._now()

    async def wait(self) -> None:
        """Wait until the next minute begins."""
        into = self._clock.now() / NANOSECONDS % _MINUTE_SECONDS
        await asyncio.sleep(_MINUTE_SECONDS - into + _LATE_SECONDS)

    def begun(self) -> datetime | None:
        """Return the minute that it is, in UTC, unless it has been told of."""
        minute = self._now()
        if self.last - _BACK_MAX < minute <= self.last:
            return None
        self.last = minute
        return minute

    def _now(self) -> datetime:
        moment = datetime.fromtimestamp(self._clock.now() / NANOSECONDS, UTC)
        return moment.replace(second=0, microsecond=0)
