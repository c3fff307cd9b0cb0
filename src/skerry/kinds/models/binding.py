"""What a function receives as `env.<name>`: models by name.

    answer = await env.ai.chat("Name three skerries.", model="chat")
    async for text in env.ai.stream("Tell a story.", model="chat"): ...
    vectors = await env.ai.embed(["one", "two"], model="minilm")

    from openai import AsyncOpenAI                      # or the official client
    client = AsyncOpenAI(base_url=env.ai.base_url, api_key=env.ai.api_key)

Calls go through the resource's own endpoint with its key `app`, which has the limits that
`skerry models key-limit` gave it, and cannot make keys.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.kernel.errors import (
    BUSY,
    DENIED,
    ENGINE_FAILED,
    EXTRA_MISSING,
    INVALID,
    NOT_FOUND,
    TIMED_OUT,
    SkerryError,
)
from skerry.kernel.kind import Context
from skerry.kinds.models.claim import APP, secret_key
from skerry.kinds.models.gateway.sse import DONE, Events

if TYPE_CHECKING:
    import aiohttp

_PROBLEMS = {400: INVALID, 403: DENIED, 404: NOT_FOUND, 429: BUSY, 503: BUSY, 504: TIMED_OUT}
ANSWER_BYTES_MAX = 64 << 20
_CONNECT_SECONDS = 10.0

Prompt = str | list[dict[str, Any]]


class Models:
    """Models as a function uses them."""

    def __init__(self, context: Context) -> None:
        self.base_url = f"{context.url}/v1"
        self.api_key = secret_key(context.id, APP, context.keys)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<models at {self.base_url}>"

    async def chat(self, prompt: Prompt, *, model: str, **options: Any) -> str:
        """Return the answer to a prompt, or to a list of messages.

        `options` are those of OpenAI's chat completions. Raises DENIED where policy forbids every
        route, BUSY beyond a limit, INVALID and NOT_FOUND for what the request says.
        """
        whole = await self.completion(prompt, model=model, **options)
        content = whole["choices"][0]["message"].get("content")
        return str(content or "")

    async def completion(self, prompt: Prompt, *, model: str, **options: Any) -> dict[str, Any]:
        """Return the whole chat completion, with tool calls and usage."""
        return await self._call("/chat/completions", _chat(prompt, model, options))

    async def stream(self, prompt: Prompt, *, model: str, **options: Any) -> AsyncIterator[str]:
        """Yield the answer's text as it comes."""
        body = {**_chat(prompt, model, options), "stream": True}
        async with self._post("/chat/completions", body) as response:
            if response.status != 200:
                raise _error(response.status, await response.content.read(ANSWER_BYTES_MAX))
            events = Events()
            async for data in response.content.iter_any():
                for found in events.feed(data):
                    if found == DONE:
                        return
                    part = msgspec.json.decode(found)
                    if part.get("error"):
                        raise _error(502, found)
                    for choice in part.get("choices") or ():
                        text = (choice.get("delta") or {}).get("content")
                        if text:
                            yield text

    async def embed(
        self, texts: str | list[str], *, model: str, dimensions: int | None = None
    ) -> list[list[float]]:
        """Return a vector for each text."""
        body: dict[str, Any] = {
            "model": model,
            "input": [texts] if isinstance(texts, str) else texts,
        }
        if dimensions is not None:
            body["dimensions"] = dimensions
        found = await self._call("/embeddings", body)
        return [item["embedding"] for item in found["data"]]

    async def close(self) -> None:
        """Close connections; they are opened again by the next call."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._post(path, body) as response:
            data = await response.read()
        if response.status != 200:
            raise _error(response.status, data)
        return msgspec.json.decode(data, type=dict[str, Any])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        if self._session is None:
            aiohttp = _client()
            self._session = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {self.api_key}"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        headers = {"Content-Type": "application/json"}
        data = msgspec.json.encode(body)
        return self._session.post(self.base_url + path, data=data, headers=headers)


def _client() -> Any:
    try:
        import aiohttp  # noqa: PLC0415 - what is missing is told in our words
    except ImportError as error:
        raise EXTRA_MISSING(
            "Models need the extra `models`.", why=str(error), hint='pip install "skerry[models]"'
        ) from error
    return aiohttp


def _chat(prompt: Prompt, model: str, options: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return {**options, "model": model, "messages": messages}


def _error(status: int, body: bytes) -> SkerryError:
    try:
        error = msgspec.json.decode(body, type=dict[str, Any]).get("error") or {}
    except msgspec.DecodeError:
        error = {}
    what = str(error.get("message") or f"The endpoint answered {status}.")
    return _PROBLEMS.get(status, ENGINE_FAILED)(what, why=str(error.get("code") or ""))


async def bind(context: Context) -> Models:
    """Return the binding."""
    return Models(context)
