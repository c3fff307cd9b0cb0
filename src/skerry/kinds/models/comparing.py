"""One prompt for several models at once: their answers, how fast they came, and what they cost."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from skerry.kernel.clock import Clock
from skerry.kernel.errors import INVALID
from skerry.kinds.models.claim import OWNER
from skerry.kinds.models.gateway.ask import Answer, Ask
from skerry.kinds.models.gateway.failure import FailureError
from skerry.kinds.models.gateway.upstream import RouteError
from skerry.kinds.models.manifest import AskParams, Compared, euro

if TYPE_CHECKING:
    from skerry.kinds.models.gateway.gateway import Gateway

MODELS_MAX = 20


async def compare(gateway: Gateway, clock: Clock, params: AskParams) -> list[Compared]:
    """Ask every model at once; what one fails with stands in its row."""
    names = [each.strip() for each in params.models.split(",") if each.strip()]
    if not 1 <= len(names) <= MODELS_MAX:
        raise INVALID(f"Name 1 to {MODELS_MAX} models, with commas.", hint="--models a,b")
    return list(await asyncio.gather(*(_ask(gateway, clock, name, params) for name in names)))


async def _ask(gateway: Gateway, clock: Clock, name: str, params: AskParams) -> Compared:
    started = clock.monotonic()
    state = gateway.keyring.find(OWNER)
    assert state is not None
    body: dict[str, Any] = {
        "model": name,
        "messages": [{"role": "user", "content": params.prompt}],
        "max_tokens": params.max_tokens,
        "stream": True,
    }
    try:
        answer = await gateway.ask(Ask("chat", body, state, fresh=True, keep=True))
        first = await _read(answer, clock.monotonic)
    except (FailureError, RouteError) as error:
        failure = error.failure if isinstance(error, RouteError) else error
        seconds = clock.monotonic() - started
        return Compared(name, "", "", "", None, None, seconds, 0, 0, "", failure.message)
    tally = answer.tally
    assert tally is not None
    ended = clock.monotonic()
    usage = tally.usage()
    cost = answer.cost() if answer.cost else None
    spread = ended - first
    speed = (usage.output - 1) / spread if usage.output > 1 and spread > 0 else None
    return Compared(
        model=name,
        answer=tally.text(),
        provider=answer.headers["x-skerry-provider"],
        country=answer.headers["x-skerry-country"],
        first=round(first - started, 3),
        tokens_per_second=None if speed is None else round(speed, 1),
        seconds=round(ended - started, 3),
        input_tokens=usage.input,
        output_tokens=usage.output,
        euro="" if cost is None else euro(cost),
    )


async def _read(answer: Answer, now: Any) -> float:
    """Read a stream to its end; return when its first piece of text had come."""
    assert answer.events is not None and answer.tally is not None
    first: float | None = None
    async with aclosing(answer.events):
        async for _ in answer.events:
            if first is None and answer.tally.pieces:
                first = now()
    return now() if first is None else first
