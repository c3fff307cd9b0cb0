"""What is counted and noted of one call, whatever becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

from skerry.kernel.kind import Context
from skerry.kinds.models.config import Keep, ModelsConfig
from skerry.kinds.models.gateway.ask import Ask
from skerry.kinds.models.gateway.failure import FailureError
from skerry.kinds.models.gateway.keyring import Keyring, Most
from skerry.kinds.models.gateway.money import Usage
from skerry.kinds.models.gateway.permits import Permitted
from skerry.kinds.models.gateway.quota import Taken
from skerry.kinds.models.gateway.routes import Route
from skerry.kinds.models.gateway.tally import Tally
from skerry.kinds.models.state import calls
from skerry.kinds.models.state.answers import Hit
from skerry.kinds.models.state.database import Database
from skerry.kinds.models.state.redact import redact

TEXT_LENGTH_MAX = 20_000
WAITING_ROWS_MAX = 2_000


class Record:
    """Takes from the limits, and at the end settles, meters and logs, once."""

    def __init__(
        self,
        context: Context,
        database: Database,
        config: ModelsConfig,
        keyring: Keyring,
        ask: Ask,
        name: str,
    ) -> None:
        self._context = context
        self._database = database
        self._config = config
        self._keyring = keyring
        self._ask = ask
        self._name = name
        self._started = context.clock.monotonic()
        self._first: float | None = None
        self._taken: dict[str, Taken] = {}
        self._route: Route | None = None
        self._permitted: Permitted | None = None
        self._tally: Tally | None = None
        self._origin: dict[str, str] = {}
        self._over = False
        self.attempts: list[str] = []
        self.micro_eur = 0

    def cost(self) -> int | None:
        """Return what the call cost in micro-euro; None where no price is known."""
        return None if self._route is None or self._route.rates is None else self.micro_eur

    async def admit(self, most: Most) -> None:
        """Take the most that the call can use; raise FailureError 429 if that is too much."""
        if self._database.waiting > WAITING_ROWS_MAX:
            raise FailureError(
                503, "The log waits for the disk.", kind="server_error", retry_seconds=1.0
            )
        now = self._context.clock.now()
        self._taken = await self._keyring.admit(self._ask.state, most, now)

    def begin(self, route: Route, permitted: Permitted, tally: Tally) -> None:
        """Note who answers."""
        self._route, self._permitted, self._tally = route, permitted, tally

    def first(self) -> None:
        """Note that the first part of an answer has come."""
        self._first = self._context.clock.monotonic() - self._started

    def from_cache(self, hit: Hit) -> None:
        """Settle an answer that cost nothing."""
        self._origin = hit.origin
        self._settle(Usage(), 0)
        self._context.meter.add("cache_hits")
        self._log(Usage(), 200, "", "", cut=False)

    async def done(self, answer: str) -> Usage:
        """Settle a call that was answered whole; return what it used."""
        return await self._end(200, answer, "", cut=False)

    async def cut(self, error: BaseException) -> None:
        """Settle a stream that ended early: what has come is counted."""
        reason = _reason(error) if not isinstance(error, GeneratorExit) else "the client went away"
        await self._end(200, self._tally.text() if self._tally else "", reason, cut=True)

    async def failed(self, error: BaseException) -> None:
        """Settle a call that nobody answered: it counts as a request and costs nothing."""
        if self._over:
            return
        self._settle(Usage(), 0, answered=False)
        status = error.status if isinstance(error, FailureError) else 499
        self._log(Usage(), status, "", _reason(error), cut=False)

    async def _end(self, status: int, answer: str, error: str, *, cut: bool) -> Usage:
        assert self._route is not None and self._tally is not None
        usage = self._tally.usage()
        rates = self._route.rates
        cost = rates.cost(usage) if rates is not None else 0
        if not self._over:
            self._settle(usage, cost)
            self._log(usage, status, answer, error, cut=cut)
            await self._durable()
        return usage

    def _settle(self, usage: Usage, cost: int, *, answered: bool = True) -> None:
        if self._over:
            return
        self._over = True
        self.micro_eur = cost
        self._keyring.settle(self._taken, usage.input + usage.output, cost)
        meter = self._context.meter
        if answered:
            meter.add("calls")
        for unit, amount in (
            ("input_tokens", usage.input),
            ("output_tokens", usage.output),
            ("micro_eur", cost),
        ):
            if amount:
                meter.add(unit, amount)

    async def _durable(self) -> None:
        """Make durable what was used beyond the leases: rare, as the most was taken before."""
        if any(each.quota.used > each.quota.leased for each in self._taken.values()):
            await asyncio.shield(asyncio.ensure_future(self._keyring.secure(self._taken)))

    def _log(self, usage: Usage, status: int, answer: str, error: str, *, cut: bool) -> None:
        rows = self._config.log_rows
        if rows == 0:
            return
        seconds = self._context.clock.monotonic() - self._started
        row = calls.Call(
            time=self._context.clock.now(),
            key=self._ask.state.key.number,
            asked=self._name[:200],
            model=self._route.model if self._route else self._origin.get("x-skerry-model", ""),
            provider=self._where("provider"),
            country=self._where("country"),
            evidence=self._where("evidence"),
            rule=self._where("policy"),
            operation=self._ask.operation,
            status=status,
            micro_eur=self.micro_eur,
            stream=self._ask.streams,
            cached=bool(self._origin),
            input_tokens=usage.input,
            output_tokens=usage.output,
            estimated=usage.estimated,
            first_seconds=None if self._first is None else round(self._first, 4),
            seconds=round(seconds, 4),
            cut=cut,
            error=error[:500],
            attempts=tuple(each[:300] for each in self.attempts[:20]),
            prompt=self._kept(self._asked_text()),
            answer=self._kept(answer),
        )
        self._database.later(lambda db: calls.write(db, row, rows))

    def _asked_text(self) -> str:
        if self._config.log is Keep.METADATA:
            return ""
        return _prompt(self._ask.operation, self._ask.body)

    def _where(self, what: str) -> str:
        headers = self._permitted.headers() if self._permitted else self._origin
        return headers.get(f"x-skerry-{what}", "")

    def _kept(self, text: str) -> str:
        if self._config.log is Keep.METADATA:
            return ""
        text = text[:TEXT_LENGTH_MAX]
        return redact(text) if self._config.log is Keep.REDACTED else text


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "the client went away"
    return str(error) or type(error).__name__


def _prompt(operation: str, body: dict[str, Any]) -> str:
    """Return the texts of a request, one after the other, without pictures."""
    if operation != "chat":
        asked = body.get("prompt" if operation == "completions" else "input", "")
        return asked if isinstance(asked, str) else "\n".join(str(each) for each in asked)
    lines = []
    for message in body["messages"]:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content or ""}]
        texts = [str(part.get("text") or "") for part in parts if isinstance(part, dict)]
        lines.append(f"{message.get('role')}: {' '.join(texts)}")
    return "\n".join(lines)
