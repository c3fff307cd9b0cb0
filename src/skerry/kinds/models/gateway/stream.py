"""A streamed answer: its first event tells whether the route works, the rest passes at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import msgspec

from skerry.kinds.models.gateway import normalise
from skerry.kinds.models.gateway.failure import FailureError
from skerry.kinds.models.gateway.refusals import refusal
from skerry.kinds.models.gateway.sse import DONE, Events, TooLongError, event
from skerry.kinds.models.gateway.tally import Tally, as_told
from skerry.kinds.models.gateway.upstream import Reply, RouteError

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.encode

Item = tuple[bytes, dict[str, Any] | None]
"""The data of an event, and what it says; None for the mark of the end."""


@dataclass(slots=True)
class Opened:
    """A stream whose first event has come."""

    reply: Reply
    source: AsyncGenerator[Item, None]
    first: Item
    provider: str


async def open_stream(reply: Reply, tally: Tally, provider: str) -> Opened:
    """Wait for the first event; raise RouteError if it is none or tells a failure."""
    if not reply.streams:
        raise await _no_stream(reply, provider)
    source = _events(reply, provider)
    try:
        first = await anext(source)
    except StopAsyncIteration as error:
        reply.close()
        raise RouteError(_ended(provider), again=True, other=True) from error
    data, part = first
    if part is not None and part.get("error"):
        reply.close()
        raise RouteError(refusal(502, data, provider), again=True, other=True)
    return Opened(reply, source, first, provider)


async def _no_stream(reply: Reply, provider: str) -> RouteError:
    """Tell what a provider answered that was asked for a stream and sent none."""
    body = await reply.read()
    reply.done()
    return RouteError(refusal(502, body, provider), again=False, other=True)


async def pass_on(
    opened: Opened, tally: Tally, *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Yield events for the client; a failure in the middle becomes an event of its own.

    Closing this breaks off: the provider sees its connection close.
    """
    finished = False
    try:
        for_client = _one(opened.first, tally, wants_usage)
        if for_client:
            yield for_client
        finished = opened.first[0] == DONE
        async for item in opened.source:
            if item[0] == DONE:
                finished = True
                break
            for_client = _one(item, tally, wants_usage)
            if for_client:
                yield for_client
        if not finished and not tally.finished:
            raise RouteError(_ended(opened.provider), again=False, other=False)
        if wants_usage and not tally.told_usage:
            yield event(_encode(_usage_part(tally)))
        yield event(DONE)
        if finished:
            opened.reply.done()
    finally:
        if not finished:
            opened.reply.close()
        await opened.source.aclose()


def _one(item: Item, tally: Tally, wants_usage: bool) -> bytes | None:
    data, part = item
    if part is None:
        return None
    if part.get("error"):
        raise RouteError(refusal(502, data, "the provider"), again=False, other=False)
    changed = normalise.chunk(part)
    tally.part(part)
    if part.get("usage"):
        if not part.get("choices"):
            if not wants_usage:
                return None
            part["usage"] = {**part["usage"], **as_told(tally.usage())}
            part["choices"] = []
            changed = True
        elif not wants_usage:
            del part["usage"]
            changed = True
        tally.told_usage = wants_usage
    return event(_encode(part) if changed else data)


async def _events(reply: Reply, provider: str) -> AsyncGenerator[Item, None]:
    events = Events()
    try:
        async for data in reply.parts():
            for found in events.feed(data):
                yield found, None if found == DONE else _decode(found)
        for found in events.end():
            yield found, None if found == DONE else _decode(found)
    except (msgspec.DecodeError, TooLongError) as error:
        reply.close()
        failure = FailureError(
            502, f"{provider}: its stream is malformed.", kind="server_error", code="bad_answer"
        )
        raise RouteError(failure, again=False, other=True) from error


def _usage_part(tally: Tally) -> dict[str, Any]:
    return {
        **tally.envelope(),
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": as_told(tally.usage()),
    }


def _ended(provider: str) -> FailureError:
    message = f"{provider}: its stream ended before it was complete."
    return FailureError(502, message, kind="server_error", code="stream_cut")
