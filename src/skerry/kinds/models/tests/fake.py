"""A provider that answers as its model's name says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import MutableMapping
from typing import Any

import msgspec

WORDS = ("Skerries", " are", " small", " rocks", ".")
THOUGHT = "Rocks in the sea."
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}

CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "get_weather",
        "arguments": '{"location":"Visby"}'}}  # fmt: skip


class FakeProvider:
    """An ASGI application in the OpenAI shape."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.calls: Counter[str] = Counter()
        self.gone = asyncio.Event()
        self.go_on = asyncio.Event()
        self.fail_times = 0
        self.retry_after = ""
        self.open = 0
        self.open_max = 0

    async def application(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = msgspec.json.decode(body)
        self.bodies.append(asked)
        self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        self.calls[asked["model"]] += 1
        self.open += 1
        self.open_max = max(self.open, self.open_max)
        try:
            await self._answer(scope["path"], asked, receive, send)
        finally:
            self.open -= 1

    async def _answer(self, path: str, asked: dict[str, Any], receive: Any, send: Any) -> None:
        model = asked["model"]
        if self.fail_times > 0:
            self.fail_times -= 1
            await reply(send, 503, {"message": "too busy"}, self.retry_after)
        elif model == "broken":
            await reply(send, 500, {"detail": [{"msg": "boom"}]})
        elif model == "limited":
            await reply(send, 429, {"error": "slow down"}, self.retry_after or "30")
        elif model == "refuser":
            error = {"message": "that is not possible", "code": "bad_thing", "param": "messages"}
            await reply(send, 400, {"error": {**error, "type": "invalid_request_error"}})
        elif model == "keyless":
            await reply(send, 401, {"errors": [{"code": 10000, "message": "Authentication error"}]})
        elif model == "garbled":
            await reply(send, 200, None)
        elif path.endswith("/embeddings"):
            await self._embed(asked, send)
        elif asked.get("stream"):
            await self._stream(path, asked, receive, send)
        elif model == "slow":
            await self._held(receive)
            await reply(send, 200, whole(path, asked))
        else:
            await reply(send, 200, whole(path, asked))

    async def _held(self, receive: Any) -> None:
        """Wait until a test lets it go on, or the caller has gone."""
        gone = asyncio.create_task(disconnected(receive, self.gone))
        go_on = asyncio.create_task(self.go_on.wait())
        await asyncio.wait((gone, go_on), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        go_on.cancel()

    async def _embed(self, asked: dict[str, Any], send: Any) -> None:
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [{"embedding": [3.0, 4.0, 0.0, float(len(text))]} for text in texts]
        await reply(send, 200, {"data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}})

    async def _stream(self, path: str, asked: dict[str, Any], receive: Any, send: Any) -> None:
        model = asked["model"]
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if model == "stillborn":
            await send({"type": "http.response.body", "body": b""})
            return
        listed = [{"choices": [None]}] if model == "strange" else parts(path, asked)
        for number, part in enumerate(listed):
            if model == "slow" and number == 2:
                await self._held(receive)
                if self.gone.is_set():
                    return
            if model == "cut" and number == 3:
                break
            data = b"data: " + msgspec.json.encode(part) + b"\n\n"
            # Cut in the middle, as networks do.
            for piece in (data[:9], data[9:]):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        else:
            done = b"data: [DONE]\n\n"
            await send({"type": "http.response.body", "body": done, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def whole(path: str, asked: dict[str, Any]) -> dict[str, Any]:
    model = asked["model"]
    text = "".join(WORDS)
    if mapping(asked.get("response_format")).get("type") == "json_schema":
        text = '{"rocks": 3}'
    if path.endswith("/chat/completions"):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if model == "thinker":
            message["reasoning_content"] = THOUGHT
        reason = "stop"
        if asked.get("tools"):
            call = {**CALL, "function": {**CALL["function"]}}
            if model == "odd":
                call = {"function": {"name": "get_weather", "arguments": {"location": "Visby"}}}
            message, reason = {"content": None, "tool_calls": [call]}, "tool_calls"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        if model == "odd":
            choice["finish_reason"] = "eos"
    else:
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
    if model == "strange":
        return {"choices": [{"message": "no object"}]}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
              "choices": [choice], "usage": usage_of(model)}  # fmt: skip
    if model == "odd":
        for name in ("id", "object", "created"):
            del answer[name]
    return answer


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def usage_of(model: str) -> Any:
    if model == "liar":
        return {"prompt_tokens": -5, "completion_tokens": 10**12, "total_tokens": "many"}
    if model == "thinker":
        return {**USAGE, "completion_tokens_details": {"reasoning_tokens": 3}}
    return None if model == "quiet" else dict(USAGE)


def parts(path: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    model = asked["model"]
    chat = path.endswith("/chat/completions")
    kind = "chat.completion.chunk" if chat else "text_completion"
    base = {"id": "chatcmpl-1", "object": kind, "created": 1, "model": model}
    found = []
    if chat and asked.get("tools"):
        first = {"index": 0, "id": "call_1", "type": "function",
                 "function": {"name": "get_weather", "arguments": ""}}  # fmt: skip
        if model == "odd":
            del first["index"]
            first["function"] = {"name": "get_weather", "arguments": {"location": "Visby"}}
        found.append(choice_of({"role": "assistant", "content": None, "tool_calls": [first]}))
        if model != "odd":
            for piece in ('{"location":', '"Visby"}'):
                more = {"index": 0, "function": {"arguments": piece}}
                found.append(choice_of({"tool_calls": [more]}))
        found.append(choice_of({}, "tool_calls"))
    elif chat:
        found.append(choice_of({"role": "assistant", "content": ""}))
        found += [choice_of({"reasoning_content": each}) for each in thoughts(model)]
        found += [choice_of({"content": word}) for word in WORDS]
        found.append(choice_of({}, "stop"))
    else:
        found += [{"index": 0, "text": word, "finish_reason": None} for word in WORDS]
        found.append({"index": 0, "text": "", "finish_reason": "stop"})
    if model == "odd":
        for choice in found:
            if choice["finish_reason"] is None:
                del choice["finish_reason"]
    listed = [{**base, "choices": [choice]} for choice in found]
    if mapping(asked.get("stream_options")).get("include_usage") and usage_of(model):
        listed.append({**base, "choices": [], "usage": usage_of(model)})
    return listed


def thoughts(model: str) -> tuple[str, ...]:
    return (THOUGHT[:5], THOUGHT[5:]) if model == "thinker" else ()


def choice_of(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


async def disconnected(receive: Any, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def reply(send: Any, status: int, shape: Any, retry_after: str = "") -> None:
    body = b"<html>oops" if shape is None else msgspec.json.encode(shape)
    headers = [(b"content-type", b"application/json")]
    headers += [(b"retry-after", retry_after.encode())] if retry_after else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
