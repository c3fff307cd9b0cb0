"""A call from its arrival to its last byte: limits, cache, policy, routes, retries, settlement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.kernel.app import parse_duration
from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import CONFIG_INVALID, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds.models.config import Keep, ModelsConfig
from skerry.kinds.models.gateway import normalise
from skerry.kinds.models.gateway.ask import Answer, Ask
from skerry.kinds.models.gateway.failure import FailureError, from_problem
from skerry.kinds.models.gateway.keyring import Keyring, Most
from skerry.kinds.models.gateway.money import Usage
from skerry.kinds.models.gateway.permits import Permits, Permitted
from skerry.kinds.models.gateway.record import Record
from skerry.kinds.models.gateway.routes import Resting, Route, Routes
from skerry.kinds.models.gateway.shapes import check
from skerry.kinds.models.gateway.stream import Opened, open_stream, pass_on
from skerry.kinds.models.gateway.tally import Tally, as_told, input_bound
from skerry.kinds.models.gateway.upstream import Reply, RouteError, Upstream
from skerry.kinds.models.state import answers
from skerry.kinds.models.state.database import Database

WAIT_SECONDS_MAX = 10.0
WAIT_BEFORE_OTHER_SECONDS = 1.0
_decode = msgspec.json.decode
_encode = msgspec.json.encode

LocalSocket = Callable[[Route], Awaitable[str]]
"""Starts a model of this machine if need be, and returns the socket where it is served."""


@dataclass(slots=True)
class Plan:
    """The routes that may be tried, and why others may not."""

    routes: list[tuple[Route, Permitted]] = field(default_factory=list)
    refused: list[SkerryError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Gateway:
    """Answers calls from providers and local models."""

    def __init__(
        self,
        context: Context,
        database: Database,
        keyring: Keyring,
        routes: Routes,
        local: LocalSocket,
    ) -> None:
        self._config: ModelsConfig = context.config
        self._context = context
        self._database = database
        self.keyring = keyring
        self.routes = routes
        self._local = local
        self.upstream = Upstream(context.config, context.secrets, context.clock)
        self._permits = Permits(context)
        self._resting = Resting()
        self._cache_seconds = _seconds(self._config.cache)

    async def close(self) -> None:
        """Let go of every connection."""
        await self.upstream.close()

    async def ask(self, ask: Ask) -> Answer:
        """Answer a call; raise FailureError in OpenAI's terms."""
        check(ask.operation, ask.body)
        name: str = ask.body["model"]
        allowed = ask.state.key.limits.models
        if allowed and name not in allowed:
            raise FailureError(
                403, f"This key may not ask for {name!r}.", kind="permission_error", param="model"
            )
        routes = self.routes.find(name)
        record = Record(self._context, self._database, self._config, self.keyring, ask, name)
        digest = self._digest(ask)
        if digest is not None and not ask.fresh:
            hit = await self._database.do(
                lambda db: answers.look_up(db, digest, self._context.clock.now())
            )
            if hit is not None:
                return await self._from_cache(ask, record, hit)
        try:
            plan = await self._plan(ask, routes)
            record.attempts += plan.notes
            output_max = self._output_max(ask)
            await record.admit(self._most(ask, plan, output_max))
            return await self._first_that_answers(ask, plan, record, digest, output_max)
        except BaseException as error:
            await record.failed(error)
            raise

    def _digest(self, ask: Ask) -> bytes | None:
        if self._cache_seconds <= 0:
            return None
        return answers.digest(ask.operation, ask.body)

    async def _from_cache(self, ask: Ask, record: Record, hit: answers.Hit) -> Answer:
        await record.admit(Most(0, 0))
        headers = {**hit.origin, "x-skerry-cache": "hit"}
        record.from_cache(hit)
        if not ask.streams:
            return Answer(headers, hit.body)
        events = _replay(hit.body, ask)
        return Answer(headers, first=await anext(events), events=events)

    async def _plan(self, ask: Ask, routes: list[Route]) -> Plan:
        """Ask the policy of every route, before a byte of the prompt goes anywhere."""
        plan = Plan()
        budget = ask.state.key.limits.budget is not None
        for route in routes:
            if budget and route.rates is None:
                plan.notes.append(f"{route.name}: no price is known, and the key has a budget")
                continue
            try:
                plan.routes.append((route, await self._permits.ask(route.provider)))
            except SkerryError as error:
                plan.refused.append(error)
                plan.notes.append(f"{route.name}: {error.what} {error.why}")
        if plan.routes:
            return plan
        if plan.refused:
            denied = plan.refused[0]
            rule = denied.why.partition(":")[0].removeprefix("Rule ")
            raise from_problem(denied, {"x-skerry-policy": rule or "none"})
        raise FailureError(
            400,
            f"None of the models can be used with this key: {'; '.join(plan.notes)}.",
            code="price_unknown",
            param="model",
        )

    def _output_max(self, ask: Ask) -> int | None:
        """Return the limit on output tokens; set one where the key's limits need it."""
        if ask.operation == "embeddings":
            return 0
        body = ask.body
        told = body.get("max_completion_tokens") or body.get("max_tokens")
        if told is None:
            limits = ask.state.key.limits
            if limits.budget is None and limits.tokens_per_minute is None:
                return None
            told = body["max_tokens"] = self._config.max_output_tokens
        return int(told)

    def _most(self, ask: Ask, plan: Plan, output_max: int | None) -> Most:
        if not ask.state.quotas:
            return Most(0, 0)
        usage = Usage(input_bound(ask.body), (output_max or 0) * _choices(ask))
        costs = [route.rates.cost(usage) for route, _ in plan.routes if route.rates is not None]
        return Most(usage.input + usage.output, max(costs, default=0))

    async def _first_that_answers(
        self, ask: Ask, plan: Plan, record: Record, digest: bytes | None, output_max: int | None
    ) -> Answer:
        last: RouteError | None = None
        rested = sorted(plan.routes, key=lambda each: self._rests(each[0]) > 0)
        for place, (route, permitted) in enumerate(rested):
            more = place + 1 < len(rested)
            if more and self._rests(route) > 0:
                record.attempts.append(f"{route.name}: rests after failures")
                continue
            try:
                return await self._try(ask, route, permitted, record, digest, output_max, more)
            except RouteError as error:
                last = error
                record.attempts.append(f"{route.name}: {error.failure.message}")
                if error.other:
                    self._resting.failed(route, self._now(), error.wait)
                if not error.other:
                    break
        assert last is not None
        last.failure.retry_seconds = last.wait
        raise last.failure

    def _rests(self, route: Route) -> float:
        return self._resting.left(route, self._now())

    def _now(self) -> float:
        return self._context.clock.monotonic()

    async def _try(
        self,
        ask: Ask,
        route: Route,
        permitted: Permitted,
        record: Record,
        digest: bytes | None,
        output_max: int | None,
        more: bool,
    ) -> Answer:
        """Try one route, again if it may help; raise RouteError if it does not answer."""
        body = _encode(
            normalise.request(ask.operation, ask.body, route.model, route.provider.quirks)
        )
        tries = 0
        while True:
            try:
                socket = await self._local(route) if route.local else ""
                reply = await self.upstream.open(route, ask.operation, body, socket)
                try:
                    return await self._take(
                        ask, route, permitted, record, digest, output_max, reply
                    )
                except BaseException:
                    reply.close()
                    raise
            except RouteError as error:
                wait = error.wait if error.wait is not None else 0.1 * 2**tries
                longest = WAIT_BEFORE_OTHER_SECONDS if more else WAIT_SECONDS_MAX
                if not error.again or tries >= self._config.retries or wait > longest:
                    raise
                record.attempts.append(f"{route.name}: {error.failure.message}; tried again")
                tries += 1
                spread = 1 + self._context.clock.now() % 1000 / 10_000
                await asyncio.sleep(wait * spread)

    async def _take(
        self,
        ask: Ask,
        route: Route,
        permitted: Permitted,
        record: Record,
        digest: bytes | None,
        output_max: int | None,
        reply: Reply,
    ) -> Answer:
        keep = digest is not None or ask.keep or self._config.log is not Keep.METADATA
        most = None if output_max is None else output_max * _choices(ask)
        tally = Tally(ask.body, most, keep=keep)
        headers = {
            **permitted.headers(),
            "x-skerry-model": _header(route.name),
            "x-skerry-attempts": str(len(record.attempts) + 1),
        }
        record.begin(route, permitted, tally)
        if ask.streams:
            opened = await open_stream(reply, route.provider.name)
            self._resting.answered(route)
            record.first()
            events = self._streamed(ask, record, digest, headers, opened, tally)
            return Answer(
                headers,
                first=await anext(events),
                events=events,
                tally=tally,
                cost=record.cost,
            )
        parsed = await self._whole(reply, ask, route)
        self._resting.answered(route)
        tally.answer(parsed)
        usage = await record.done(_said(parsed))
        if ask.operation != "embeddings" or "usage" not in parsed:
            parsed["usage"] = {**(parsed.get("usage") or {}), **_told(ask.operation, usage, parsed)}
        data = _encode(parsed)
        if digest is not None:
            self._keep(digest, data, headers)
        if (cost := record.cost()) is not None:
            headers = {**headers, "x-skerry-cost-micro-eur": str(cost)}
        return Answer(headers, data, tally=tally)

    async def _streamed(
        self,
        ask: Ask,
        record: Record,
        digest: bytes | None,
        headers: dict[str, str],
        opened: Opened,
        tally: Tally,
    ) -> AsyncGenerator[bytes, None]:
        """Yield events as they come; whatever ends the stream, what was used is counted."""
        options = ask.body.get("stream_options") or {}
        wants_usage = bool(options.get("include_usage"))
        try:
            async with aclosing(pass_on(opened, tally, wants_usage=wants_usage)) as events:
                async for event in events:
                    yield event
        except BaseException as error:
            await record.cut(error)
            raise
        await record.done(tally.text())
        if digest is not None and tally.whole and ask.operation == "chat":
            self._keep(digest, _encode(tally.chat(ask.body["model"])), headers)

    async def _whole(self, reply: Reply, ask: Ask, route: Route) -> dict[str, Any]:
        data = await reply.read()
        reply.done()
        return _parsed(data, ask, route, self._context.clock.now() // NANOSECONDS)

    def _keep(self, digest: bytes, body: bytes, headers: dict[str, str]) -> None:
        if len(body) > answers.ENTRY_BYTES_MAX:
            return
        hit = answers.Hit(body, headers)
        now, seconds = self._context.clock.now(), self._cache_seconds
        self._database.later(lambda db: answers.keep(db, digest, hit, now, seconds))


def _choices(ask: Ask) -> int:
    """Return how many answers are asked for at once."""
    return 1 if ask.operation == "embeddings" else ask.body.get("n") or 1


def _parsed(data: bytes, ask: Ask, route: Route, now: int) -> dict[str, Any]:
    """Even out an answer that came in one piece; raise RouteError if it is none."""
    provider = route.provider.name
    try:
        parsed = _decode(data, type=dict[str, Any])
        if parsed.get("error"):
            raise ValueError("an error with status 200")
        if ask.operation == "chat":
            return normalise.chat(parsed, route.model, now)
        if ask.operation == "completions":
            return normalise.completion(parsed, route.model, now)
        return normalise.embeddings(parsed, ask.body, route.model)
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        failure = FailureError(
            502, f"{provider}: its answer is malformed.", kind="server_error", code="bad_answer"
        )
        raise RouteError(failure, again=False, other=True) from error


def _said(parsed: dict[str, Any]) -> str:
    choice = (parsed.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    text = message.get("content") or choice.get("text") or ""
    return text if isinstance(text, str) else _encode(text).decode()


def _told(operation: str, usage: Usage, parsed: dict[str, Any]) -> dict[str, Any]:
    if operation == "embeddings":
        return {"prompt_tokens": usage.input, "total_tokens": usage.input}
    told = as_told(usage)
    details = (parsed.get("usage") or {}).get("prompt_tokens_details")
    if isinstance(details, dict):
        told["prompt_tokens_details"] = {**details, **told["prompt_tokens_details"]}
    return told


async def _replay(body: bytes, ask: Ask) -> AsyncGenerator[bytes, None]:
    """Yield a whole answer as a stream would have brought it."""
    from skerry.kinds.models.gateway.replay import events  # noqa: PLC0415 - rarely needed

    options = ask.body.get("stream_options") or {}
    for each in events(body, wants_usage=bool(options.get("include_usage"))):
        yield each


def _header(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:200]


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CONFIG_INVALID(f"models: cache: {error}.", hint="skerry docs app") from error
