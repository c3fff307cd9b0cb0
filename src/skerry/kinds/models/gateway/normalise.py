"""The differences between providers, evened out: what is sent to them, and what they answer."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import msgspec

from skerry.kinds.models.gateway.profiles import Quirks

_FINISH = {
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
}
_LIMITS = ("max_completion_tokens", "max_tokens")


def request(operation: str, body: dict[str, Any], model: str, quirks: Quirks) -> dict[str, Any]:
    """Return the body for a provider, from the one that the client sent."""
    sent = {key: value for key, value in body.items() if key not in quirks.drop}
    sent["model"] = model
    if operation == "embeddings":
        if not quirks.base64:
            sent.pop("encoding_format", None)
        if not quirks.dimensions:
            sent.pop("dimensions", None)
        sent.pop("stream", None)
        return sent
    found = [sent.pop(name) for name in _LIMITS if sent.get(name) is not None]
    for name in _LIMITS:
        sent.pop(name, None)
    if found:
        sent[quirks.limit if operation == "chat" else "max_tokens"] = found[0]
    if sent.get("stream"):
        if quirks.stream_usage:
            sent["stream_options"] = {"include_usage": True}
        else:
            sent.pop("stream_options", None)
    else:
        sent.pop("stream_options", None)
    if operation == "chat":
        sent["messages"] = [_message(each, quirks) for each in sent["messages"]]
    return sent


def _message(message: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
    if message.get("role") == "developer" and not quirks.developer:
        message = {**message, "role": "system"}
    if message.get("tool_calls"):
        calls = [_tool_call(dict(call)) for call in message["tool_calls"]]
        message = {**message, "tool_calls": calls}
    return message


def chat(answer: dict[str, Any], model: str, now: int) -> dict[str, Any]:
    """Give a chat completion the fields that clients rely on, in place, and return it.

    `now` is in seconds since 1970.
    """
    _envelope(answer, "chat.completion", "chatcmpl-", model)
    if not isinstance(answer.get("created"), int):
        answer["created"] = now
    for index, choice in enumerate(answer["choices"]):
        choice.setdefault("index", index)
        choice.setdefault("logprobs", None)
        message = choice.setdefault("message", {})
        message.setdefault("role", "assistant")
        message.setdefault("content", None)
        message.setdefault("refusal", None)
        message.setdefault("annotations", [])
        if message.get("tool_calls"):
            message["tool_calls"] = [_tool_call(call) for call in message["tool_calls"]]
        else:
            message.pop("tool_calls", None)
        reason = _FINISH.get(choice.get("finish_reason"), choice.get("finish_reason") or "stop")
        called = reason == "stop" and message.get("tool_calls")
        choice["finish_reason"] = "tool_calls" if called else reason
    return answer


def completion(answer: dict[str, Any], model: str, now: int) -> dict[str, Any]:
    """Do the same for a text completion."""
    _envelope(answer, "text_completion", "cmpl-", model)
    if not isinstance(answer.get("created"), int):
        answer["created"] = now
    for index, choice in enumerate(answer["choices"]):
        choice.setdefault("index", index)
        choice.setdefault("logprobs", None)
        choice.setdefault("text", "")
        reason = choice.get("finish_reason")
        choice["finish_reason"] = _FINISH.get(reason, reason or "stop")
    return answer


def chunk(part: dict[str, Any]) -> bool:
    """Give a part of a streamed chat completion its fields, in place; tell whether it changed."""
    changed = False
    for choice in part.get("choices") or ():
        if "finish_reason" not in choice:
            choice["finish_reason"] = None
            changed = True
        elif choice["finish_reason"] in _FINISH:
            choice["finish_reason"] = _FINISH[choice["finish_reason"]]
            changed = True
        calls = (choice.get("delta") or {}).get("tool_calls")
        for place, call in enumerate(calls or ()):
            if not isinstance(call.get("index"), int):
                call["index"] = place
                changed = True
            arguments = (call.get("function") or {}).get("arguments")
            if arguments is not None and not isinstance(arguments, str):
                call["function"]["arguments"] = _text(arguments)
                changed = True
    return changed


def embeddings(answer: dict[str, Any], asked: dict[str, Any], model: str) -> dict[str, Any]:
    """Give an answer with embeddings the length and the encoding that the client asked for."""
    from skerry.kinds.models.gateway.vectors import as_asked  # noqa: PLC0415 - only here

    answer.setdefault("object", "list")
    answer.setdefault("model", model)
    if not isinstance(answer.get("data"), list):
        raise TypeError("no embeddings")
    for index, item in enumerate(answer["data"]):
        item.setdefault("object", "embedding")
        item.setdefault("index", index)
        item["embedding"] = as_asked(
            item["embedding"], asked.get("dimensions"), asked.get("encoding_format") == "base64"
        )
    return answer


def _envelope(answer: dict[str, Any], kind: str, prefix: str, model: str) -> None:
    if not isinstance(answer.get("choices"), list) or not answer["choices"]:
        raise TypeError("no choices")
    if not answer.get("id"):
        answer["id"] = prefix + uuid4().hex
    answer["object"] = kind
    answer.setdefault("model", model)


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """Give a tool call its id and type, and its arguments as text."""
    call["id"] = call.get("id") or f"call_{uuid4().hex[:24]}"
    call["type"] = call.get("type") or "function"
    function = dict(call.get("function") or {})
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        function["arguments"] = "{}" if arguments is None else _text(arguments)
    call["function"] = function
    return call


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
