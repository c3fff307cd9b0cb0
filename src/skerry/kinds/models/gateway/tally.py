"""What came of a call: its text, its tokens, and whether the provider's count can be believed."""

from __future__ import annotations

from typing import Any

from skerry.kinds.models.gateway.money import Usage

KEPT_BYTES_MAX = 1 << 20
BYTES_PER_TOKEN = 4
UNKNOWN_TOKENS_MAX = 1 << 22
_OVERHEAD_TOKENS = 2000
_PER_MESSAGE_TOKENS = 64
_PER_IMAGE_TOKENS = 2000


def text_bytes(body: dict[str, Any]) -> tuple[int, int]:
    """Return the bytes of all text in a request, and how many images and files are in it.

    A token of a byte-level tokeniser has at least one byte, so bytes bound tokens from above.
    """
    total = pictures = 0
    stack: list[Any] = [
        body.get("messages"), body.get("prompt"), body.get("input"), body.get("tools"),
        body.get("response_format"),
    ]  # fmt: skip
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            if each.startswith("data:"):
                pictures += 1
            else:
                total += len(each.encode("utf-8", "surrogatepass"))
        elif isinstance(each, dict):
            stack.extend(each.values())
            total += sum(len(key) for key in each)
            pictures += "image_url" in each
        elif isinstance(each, list):
            stack.extend(each)
        elif each is not None:
            total += 2
    return total, pictures


def input_bound(body: dict[str, Any]) -> int:
    """Return more input tokens than a request can have."""
    total, pictures = text_bytes(body)
    messages = body.get("messages")
    count = len(messages) if isinstance(messages, list) else 1
    return total + count * _PER_MESSAGE_TOKENS + pictures * _PER_IMAGE_TOKENS + _OVERHEAD_TOKENS


class Tally:
    """Follows an answer as it comes. `keep`: its text is wanted afterwards."""

    def __init__(self, body: dict[str, Any], output_max: int | None, *, keep: bool) -> None:
        self._body = body
        self._output_max = output_max
        self._keep = keep
        self._told: dict[str, Any] | None = None
        self._envelope: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self.output_bytes = 0
        self.pieces = 0
        self.whole = True
        self.finished = False
        self.told_usage = False

    def part(self, part: dict[str, Any]) -> None:
        """Take a part of a stream in."""
        if part.get("usage"):
            self._told = part["usage"]
        if not self._envelope:
            self._envelope = {key: part.get(key) for key in ("id", "created", "model")}
        for choice in part.get("choices") or ():
            delta = choice.get("delta") or {}
            self.finished = self.finished or bool(choice.get("finish_reason"))
            text = delta.get("content") or choice.get("text") or ""
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            arguments = [
                (call.get("function") or {}).get("arguments") or ""
                for call in delta.get("tool_calls") or ()
            ]
            grown = sum(len(str(each).encode()) for each in (text, thought, *arguments))
            self.output_bytes += grown
            self.pieces += 1 if grown else 0
            if self._keep and self.output_bytes <= KEPT_BYTES_MAX:
                self._add(choice, delta)
            elif self._keep:
                self.whole = False

    def _add(self, choice: dict[str, Any], delta: dict[str, Any]) -> None:
        kept = self._choices.setdefault(
            choice.get("index", 0), {"content": None, "tool_calls": {}, "finish_reason": None}
        )
        text = delta.get("content") if "delta" in choice else choice.get("text")
        if text:
            kept["content"] = (kept["content"] or "") + text
        for call in delta.get("tool_calls") or ():
            known = kept["tool_calls"].setdefault(
                call.get("index", 0),
                {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
            )
            known["id"] = call.get("id") or known["id"]
            function = call.get("function") or {}
            known["function"]["name"] += function.get("name") or ""
            known["function"]["arguments"] += function.get("arguments") or ""
        kept["finish_reason"] = choice.get("finish_reason") or kept["finish_reason"]

    def answer(self, body: dict[str, Any]) -> None:
        """Take a whole answer in."""
        self._told = body.get("usage")
        for choice in body.get("choices") or ():
            message = choice.get("message") or {}
            text = message.get("content") or choice.get("text") or ""
            calls = message.get("tool_calls") or ()
            self.output_bytes += len(str(text).encode())
            self.output_bytes += sum(len(call["function"].get("arguments") or "") for call in calls)

    def usage(self) -> Usage:
        """Return the tokens: as the provider says if that can be, else estimated."""
        told = self._told or {}
        output_max = UNKNOWN_TOKENS_MAX if self._output_max is None else self._output_max
        input_, fine = _count(told.get("prompt_tokens"), 0, input_bound(self._body))
        least = 1 if self.output_bytes else 0
        output, believed = _count(told.get("completion_tokens"), least, output_max)
        if output_max == 0:
            output, believed = 0, True
        if not fine:
            input_ = -(-text_bytes(self._body)[0] // BYTES_PER_TOKEN)
        if not believed:
            output = min(-(-self.output_bytes // BYTES_PER_TOKEN), output_max)
        details = told.get("prompt_tokens_details") or {}
        cached, sane = _count(details.get("cached_tokens", 0), 0, input_)
        return Usage(input_, output, cached if sane else 0, estimated=not (fine and believed))

    def envelope(self) -> dict[str, Any]:
        """Return what all parts of the stream share."""
        return dict(self._envelope)

    def text(self) -> str:
        """Return the text of the first choice, as far as it was kept."""
        return (self._choices.get(0) or {}).get("content") or ""

    def chat(self, model: str) -> dict[str, Any]:
        """Return the whole chat completion that the parts make."""
        usage = self.usage()
        choices = []
        for index, kept in sorted(self._choices.items()):
            message = {"role": "assistant", "content": kept["content"], "refusal": None}
            if kept["tool_calls"]:
                message["tool_calls"] = [call for _, call in sorted(kept["tool_calls"].items())]
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "finish_reason": kept["finish_reason"] or "stop",
                    "logprobs": None,
                }
            )
        return {
            "id": self._envelope.get("id") or "chatcmpl-0",
            "object": "chat.completion",
            "created": self._envelope.get("created") or 0,
            "model": self._envelope.get("model") or model,
            "choices": choices,
            "usage": as_told(usage),
        }


def as_told(usage: Usage) -> dict[str, Any]:
    """Return usage in the shape of a chat completion."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def _count(value: Any, least: int, most: int) -> tuple[int, bool]:
    """Return a count and whether it can be: a provider may say nothing, or nonsense."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        return 0, False
    return value, True
