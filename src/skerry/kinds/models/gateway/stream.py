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
    """A stream whose first events have come."""

    reply: Reply
    source: AsyncGenerator[list[Item], None]
    first: list[Item]
    provider: str


async def open_stream(reply: Reply, provider: str) -> Opened:
    """Wait for the first event; raise RouteError if it is none or tells a failure."""
    if not reply.streams:
        raise await _no_stream(reply, provider)
    source = _events(reply, provider)
    try:
        first = await anext(source)
    except StopAsyncIteration as error:
        reply.close()
        raise RouteError(_ended(provider), again=True, other=True) from error
    data, part = first[0]
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
    """Yield events for the client: those that came together in one piece, and at once.

    A failure in the middle raises RouteError. Closing this breaks off: the provider sees its
    connection close.
    """
    finished = False
    try:
        for_client, finished = _several(opened.first, tally, wants_usage)
        if for_client:
            yield for_client
        while not finished:
            items = await anext(opened.source, None)
            if items is None:
                break
            for_client, finished = _several(items, tally, wants_usage)
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


def _several(items: list[Item], tally: Tally, wants_usage: bool) -> tuple[bytes, bool]:
    """Return what the client gets of some events, and whether the last of them is the end."""
    found: list[bytes] = []
    for item in items:
        if item[0] == DONE:
            return b"".join(found), True
        try:
            for_client = _one(item, tally, wants_usage)
        except (AttributeError, KeyError, TypeError) as error:
            raise RouteError(_malformed("the provider"), again=False, other=False) from error
        if for_client:
            found.append(for_client)
    return b"".join(found), False


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


async def _events(reply: Reply, provider: str) -> AsyncGenerator[list[Item], None]:
    """Yield the events that come together, never an empty list."""
    events = Events()
    try:
        async for data in reply.parts():
            found = [_item(each) for each in events.feed(data)]
            if found:
                yield found
        found = [_item(each) for each in events.end()]
        if found:
            yield found
    except (msgspec.DecodeError, TooLongError) as error:
        reply.close()
        raise RouteError(_malformed(provider), again=False, other=True) from error


def _item(data: bytes) -> Item:
    return data, None if data == DONE else _decode(data)


def _usage_part(tally: Tally) -> dict[str, Any]:
    return {
        **tally.envelope(),
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": as_told(tally.usage()),
    }


def _malformed(provider: str) -> FailureError:
    message = f"{provider}: its stream is malformed."
    return FailureError(502, message, kind="server_error", code="bad_answer")


def _ended(provider: str) -> FailureError:
    message = f"{provider}: its stream ended before it was complete."
    return FailureError(502, message, kind="server_error", code="stream_cut")
