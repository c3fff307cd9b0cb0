"""A whole chat completion as the events of a stream, for answers from the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.kinds.models.gateway.sse import DONE, event


def events(body: bytes, *, wants_usage: bool) -> Iterator[bytes]:
    """Yield a role, the content, the reason for the end, the usage if wanted, and the end."""
    whole: dict[str, Any] = msgspec.json.decode(body)
    chat = whole["object"] == "chat.completion"
    kind = "chat.completion.chunk" if chat else "text_completion"
    base = {"id": whole["id"], "object": kind, "created": whole["created"], "model": whole["model"]}
    for choice in whole["choices"]:
        index = choice["index"]
        if chat:
            message = choice["message"]
            delta: dict[str, Any] = {"role": "assistant", "content": message.get("content") or ""}
            if message.get("tool_calls"):
                delta["tool_calls"] = [
                    {"index": place, **call} for place, call in enumerate(message["tool_calls"])
                ]
            yield _part(base, {"index": index, "delta": delta, "finish_reason": None})
            end = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
        else:
            end = {"index": index, "text": choice["text"], "finish_reason": choice["finish_reason"]}
        yield _part(base, end)
    if wants_usage:
        part = {**base, "choices": [], "usage": whole.get("usage")}
        yield event(msgspec.json.encode(part))
    yield event(DONE)


def _part(base: dict[str, Any], choice: dict[str, Any]) -> bytes:
    return event(msgspec.json.encode({**base, "choices": [choice]}))
