"""The events of a streamed response, told from the parts of a chat completion as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.kinds.models.gateway.failure import FailureError
from skerry.kinds.models.gateway.sse import DONE, named_event
from skerry.kinds.models.wire.response_items import (
    call_item,
    message_item,
    reasoning_item,
    thought_of,
    wants_summary,
)


class Narrator:
    """Turns parts into events, and fills the response's output in."""

    def __init__(self, response: dict[str, Any]) -> None:
        self._response = response
        self._number = 0
        self._thought: tuple[int, dict[str, Any]] | None = None
        self._message: dict[str, Any] | None = None
        self._message_place = 0
        self._calls: dict[int, tuple[int, dict[str, Any]]] = {}
        self.usage: dict[str, Any] = {}
        self.reason: str | None = None

    def begin(self) -> bytes:
        """Return the first two events."""
        return self._told("response.created", response=self._response) + self._told(
            "response.in_progress", response=self._response
        )

    def part(self, data: bytes) -> Iterator[bytes]:
        """Yield the events of one part."""
        if data == DONE:
            return
        part = msgspec.json.decode(data, type=dict[str, Any])
        self.usage = part.get("usage") or self.usage
        self._response["model"] = part.get("model") or self._response["model"]
        for choice in part.get("choices") or ():
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {}
            if thought := thought_of(delta):
                yield from self._think(thought)
            if delta.get("content"):
                yield from self._text(delta["content"])
            for call in delta.get("tool_calls") or ():
                yield from self._call(call)
            self.reason = choice.get("finish_reason") or self.reason

    def end_items(self) -> Iterator[bytes]:
        """Yield the events that end every item."""
        if self._message is None and not self._calls:
            yield from self._text("")
        if self._thought is not None:
            yield from self._end_thought(*self._thought)
        if self._message is not None:
            yield from self._end_message(self._message)
        for place, item in self._calls.values():
            item["status"] = "completed"
            yield self._told(
                "response.function_call_arguments.done",
                item_id=item["id"],
                output_index=place,
                name=item["name"],
                arguments=item["arguments"],
            )
            yield self._told("response.output_item.done", output_index=place, item=item)

    def complete(self) -> bytes:
        """Return the last event."""
        return self._told(f"response.{self._response['status']}", response=self._response)

    def failed(self, failure: FailureError) -> Iterator[bytes]:
        """Yield the event that tells a failure."""
        self._response["status"] = "failed"
        self._response["error"] = {
            "code": failure.code or "server_error",
            "message": failure.message,
        }
        yield self._told("response.failed", response=self._response)

    def _think(self, text: str) -> Iterator[bytes]:
        """Tell a piece of thought at once where a summary is wanted, else with the whole item."""
        summed = wants_summary(self._response)
        if self._thought is None:
            item = reasoning_item("", summed=summed, status="in_progress")
            place = len(self._response["output"])
            self._thought = place, item
            bare = {**item, "summary": [], "content": []}
            yield self._told("response.output_item.added", output_index=place, item=bare)
            self._response["output"].append(item)
            if summed:
                part = dict(item["summary"][0])
                yield self._of_summary("part.added", part=part)
        (part,) = self._thought[1]["summary" if summed else "content"]
        part["text"] += text
        if summed:
            yield self._of_summary("text.delta", delta=text)

    def _end_thought(self, place: int, item: dict[str, Any]) -> Iterator[bytes]:
        item["status"] = "completed"
        for part in item["summary"]:
            yield self._of_summary("text.done", text=part["text"])
            yield self._of_summary("part.done", part=part)
        yield self._told("response.output_item.done", output_index=place, item=item)

    def _of_summary(self, what: str, **content: Any) -> bytes:
        assert self._thought is not None
        place, item = self._thought
        kind = f"response.reasoning_summary_{what}"
        return self._told(kind, item_id=item["id"], output_index=place, summary_index=0, **content)

    def _text(self, text: str) -> Iterator[bytes]:
        if self._message is None:
            item = self._message = message_item("", "in_progress")
            self._message_place = len(self._response["output"])
            bare = {**item, "content": []}
            yield self._told(
                "response.output_item.added", output_index=self._message_place, item=bare
            )
            self._response["output"].append(item)
            yield self._told("response.content_part.added", **self._at(), part=item["content"][0])
        if text:
            self._message["content"][0]["text"] += text
            yield self._told("response.output_text.delta", **self._at(), delta=text, logprobs=[])

    def _end_message(self, item: dict[str, Any]) -> Iterator[bytes]:
        part = item["content"][0]
        item["status"] = "completed"
        yield self._told("response.output_text.done", **self._at(), text=part["text"], logprobs=[])
        yield self._told("response.content_part.done", **self._at(), part=part)
        yield self._told("response.output_item.done", output_index=self._message_place, item=item)

    def _at(self) -> dict[str, Any]:
        assert self._message is not None
        return {
            "item_id": self._message["id"],
            "output_index": self._message_place,
            "content_index": 0,
        }

    def _call(self, call: dict[str, Any]) -> Iterator[bytes]:
        index = call.get("index", 0)
        function = call.get("function") or {}
        if index not in self._calls:
            item = call_item({"id": call.get("id"), "function": {"name": function.get("name")}})
            item["status"] = "in_progress"
            place = len(self._response["output"])
            yield self._told("response.output_item.added", output_index=place, item=item)
            self._response["output"].append(item)
            self._calls[index] = place, item
        place, item = self._calls[index]
        if function.get("arguments"):
            item["arguments"] += function["arguments"]
            yield self._told(
                "response.function_call_arguments.delta",
                item_id=item["id"],
                output_index=place,
                delta=function["arguments"],
            )

    def _told(self, kind: str, **content: Any) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **content})
        self._number += 1
        return named_event(kind, data)
