"""The keys in memory, with the quotas that bound each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import apsw

from skerry.kinds.models.gateway.failure import FailureError
from skerry.kinds.models.gateway.quota import (
    ExceededError,
    Quota,
    Taken,
    day,
    ever,
    minute,
    month,
)
from skerry.kinds.models.state.database import Database
from skerry.kinds.models.state.keys import Key, everything
from skerry.kinds.models.state.limits import Period

_WINDOWS = {Period.DAY: day, Period.MONTH: month, Period.EVER: ever}
REQUESTS, TOKENS, BUDGET = "requests", "tokens", "budget"


@dataclass(slots=True)
class KeyState:
    """A key and its quotas by what they bound."""

    key: Key
    quotas: dict[str, Quota]


@dataclass(frozen=True, slots=True)
class Most:
    """The most that a call can use."""

    tokens: int
    micro_eur: int


class Keyring:
    """Finds keys and admits calls."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[int, KeyState] = {}
        self._used: dict[tuple[int, str], tuple[int, int]] = {}

    async def load(self) -> None:
        """Read every key and what was used of its limits."""

        def read(connection: apsw.Connection) -> tuple[list[Key], list[tuple[int, str, int, int]]]:
            rows = connection.execute("SELECT key, quota, window, amount FROM used")
            return everything(connection), list(rows)

        keys, rows = await self._database.do(read)
        self._used = {(key, quota): (window, amount) for key, quota, window, amount in rows}
        self._keys = {}
        for key in keys:
            self.put(key)

    def put(self, key: Key) -> None:
        """Take a new or changed key in; what it used so far stays used."""
        old = self._keys.get(key.number)
        for quota in old.quotas.values() if old else ():
            self._used[key.number, quota.name] = (quota.number, max(quota.used, quota.leased))
        limits = key.limits
        wanted = {
            REQUESTS: (limits.requests_per_minute, minute, REQUESTS),
            TOKENS: (limits.tokens_per_minute, minute, TOKENS),
            BUDGET: (limits.budget, _WINDOWS[limits.period], f"{BUDGET}/{limits.period}"),
        }
        quotas = {}
        for what, (limit, window, name) in wanted.items():
            if limit is None:
                continue
            known = self._used.get((key.number, name), (0, 0))
            before = old.quotas.get(what) if old else None
            if before is not None and before.name == name:
                before.limit = limit
                quotas[what] = before
            else:
                quotas[what] = Quota(key.number, name, limit, window, self._save, known)
        self._keys[key.number] = KeyState(key, quotas)

    def find(self, number: int) -> KeyState | None:
        """Return a key that is in force."""
        state = self._keys.get(number)
        return None if state is None or state.key.revoked is not None else state

    def everything(self) -> Iterable[KeyState]:
        """Return all keys."""
        return self._keys.values()

    async def admit(self, state: KeyState, most: Most, now: int) -> dict[str, Taken]:
        """Take what a call can use from every quota; raise a 429 and take nothing if one has less.

        What was taken is durable when this returns.
        """
        wanted = {REQUESTS: 1, TOKENS: most.tokens, BUDGET: most.micro_eur}
        taken: dict[str, Taken] = {}
        try:
            for what, quota in state.quotas.items():
                taken[what] = quota.take(wanted[what], now)
        except ExceededError as error:
            self.settle(taken, 0, 0, requests=0)
            raise _exceeded(error, state) from error
        try:
            await self._secure(taken)
        except BaseException:
            self.settle(taken, 0, 0, requests=0)
            raise
        return taken

    def settle(
        self, taken: dict[str, Taken], tokens: int, micro_eur: int, *, requests: int = 1
    ) -> None:
        """Count what was used instead of the most that it could have been."""
        actual = {REQUESTS: requests, TOKENS: tokens, BUDGET: micro_eur}
        for what, each in taken.items():
            each.quota.settle(each, actual[what])

    async def secure(self, taken: dict[str, Taken]) -> None:
        """Make durable what was used beyond what had been taken."""
        await self._secure(taken)

    async def _secure(self, taken: dict[str, Taken]) -> None:
        open_ = [each.quota for each in taken.values() if each.quota.used > each.quota.leased]
        if open_:
            await asyncio.gather(*(quota.secure() for quota in open_))

    async def settle_leases(self) -> None:
        """Write what was really used, at a clean stop."""
        quotas = [quota for state in self._keys.values() for quota in state.quotas.values()]
        open_ = [quota for quota in quotas if quota.leased != quota.used]
        if open_:
            await asyncio.gather(*(self._save(each, each.number, each.used) for each in open_))

    async def _save(self, quota: Quota, window: int, amount: int) -> None:
        row = (quota.key, quota.name, window, amount)

        def write(connection: apsw.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO used (key, quota, window, amount) VALUES (?, ?, ?, ?)", row
            )

        await self._database.do(write)


def _exceeded(error: ExceededError, state: KeyState) -> FailureError:
    quota = error.quota
    if quota.name.startswith(BUDGET):
        message = (
            f"The budget of key {state.key.name!r} does not cover this call: "
            f"{max(quota.limit - quota.used, 0)} of {quota.limit} micro-euro are left or not in "
            "use by calls that run."
        )
        return FailureError(
            429,
            message,
            kind="insufficient_quota",
            code="insufficient_quota",
            headers={"x-should-retry": "false"},
        )
    if error.amount > quota.limit:
        message = (
            f"This call can use up to {error.amount} {quota.name}, and key {state.key.name!r} may "
            f"use {quota.limit} a minute. Ask for less, or give a smaller max_tokens."
        )
        return FailureError(
            429,
            message,
            kind=quota.name,
            code="rate_limit_exceeded",
            headers={"x-should-retry": "false"},
        )
    return FailureError(
        429,
        f"Key {state.key.name!r} may use {quota.limit} {quota.name} a minute.",
        kind=quota.name,
        code="rate_limit_exceeded",
        retry_seconds=error.retry_seconds,
    )
