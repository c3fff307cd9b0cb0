"""The Responses API, carried out as chat completions, which every provider has.

What a response says (items, instructions, tools, formats) is put into chat messages; the answer is
put back into items. A response that is stored can be followed by `previous_response_id`, by the
same key; one that is made in the background is kept as it stands, and is fetched when it is done.
Source: https://platform.openai.com/docs/api-reference/responses, openresponses.org.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import SkerryError
from skerry.kinds.models.gateway.ask import Answer, Ask
from skerry.kinds.models.gateway.background import Background
from skerry.kinds.models.gateway.failure import FailureError, from_problem, invalid
from skerry.kinds.models.gateway.gateway import Gateway
from skerry.kinds.models.gateway.keyring import KeyState
from skerry.kinds.models.gateway.shapes import check
from skerry.kinds.models.gateway.sse import Events
from skerry.kinds.models.gateway.upstream import RouteError
from skerry.kinds.models.state import answers
from skerry.kinds.models.state.database import Database
from skerry.kinds.models.wire.response_events import Narrator
from skerry.kinds.models.wire.response_items import (
    new_response,
    output_items,
    to_chat,
    to_history,
    usage_of,
    wants_summary,
)

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_UNFINISHED = ("queued", "in_progress")
_WITH_OUTPUT = ("completed", "incomplete")


class Responses:
    """Answers `/v1/responses`."""

    def __init__(
        self, gateway: Gateway, database: Database, background: Background, clock: Clock
    ) -> None:
        self._gateway = gateway
        self._database = database
        self._background = background
        self._clock = clock

    async def ask(self, ask: Ask) -> Answer:
        """Answer a request for a response."""
        asked = ask.body
        check("responses", asked)
        history = await self._history(asked.get("previous_response_id"), ask.state)
        chat = to_chat(asked, history)
        response = new_response(f"resp_{uuid4().hex}", asked, self._clock.now() // NANOSECONDS)
        inner = Ask("chat", chat, ask.state, fresh=ask.fresh, keep=True)
        if response["background"]:
            return await self._later(response, chat, inner)
        answer = await self._gateway.ask(inner)
        if answer.events is None:
            assert answer.body is not None
            self._complete(response, _decode(answer.body))
            await self._store(response, chat, ask.state)
            return Answer(answer.headers, _encode(response))
        events = self._narrate(answer, response, chat, ask)
        return Answer(answer.headers, first=await anext(events), events=events)

    async def get(self, name: str, state: KeyState) -> Any:
        """Return a response that was stored, finished or not."""
        kept = await self._kept(name, state)
        response = _decode(kept.body)
        if response["status"] not in _UNFINISHED:
            return msgspec.Raw(kept.body)
        if name in self._background:
            return {**response, "status": "in_progress"}
        # Whatever process made it has ended; what it had asked a provider is lost.
        _fail(response, "server_error", "The node was stopped while this response was made.")
        await self._put(response, _encode([]), state)
        return response

    async def cancel(self, name: str, state: KeyState) -> Any:
        """Break off a response that is made in the background; a finished one stays as it is."""
        response = _decode((await self._kept(name, state)).body)
        if not response["background"]:
            raise invalid("Only responses in the background can be cancelled.", "response_id")
        if await self._background.cancel(name):
            response["status"] = "cancelled"
            await self._put(response, _encode([]), state)
            return response
        return await self.get(name, state)

    async def delete(self, name: str, state: KeyState) -> Any:
        """Forget a response."""
        number = state.key.number
        await self._kept(name, state)
        await self._background.cancel(name)
        if not await self._database.do(lambda db: answers.forget_response(db, name, number)):
            raise _unknown(name)
        return {"id": name, "object": "response", "deleted": True}

    async def _kept(self, name: str, state: KeyState) -> answers.Kept:
        number = state.key.number
        kept = await self._database.do(lambda db: answers.response(db, name, number))
        if kept is None:
            raise _unknown(name)
        return kept

    async def _history(self, name: str | None, state: KeyState) -> list[dict[str, Any]]:
        if not name:
            return []
        kept = await self._kept(name, state)
        status = _decode(kept.body)["status"]
        if status not in _WITH_OUTPUT:
            raise invalid(f"The response before is {status}.", "previous_response_id")
        return _decode(kept.history, type=list[dict[str, Any]])

    async def _later(self, response: dict[str, Any], chat: dict[str, Any], inner: Ask) -> Answer:
        """Keep a response as queued, and make it after the request was answered."""
        if not response["store"]:
            raise invalid("A response in the background is stored.", "store")
        if inner.streams:
            raise invalid(
                "A response in the background is fetched, not streamed, here.", "background"
            )
        self._gateway.routes.find(chat["model"])
        size = len(_encode(chat))
        self._background.check_room(size)
        queued = _encode(response)
        await self._put(response, _encode([]), inner.state)
        self._background.start(response["id"], size, self._finish(response, chat, inner))
        return Answer({}, queued)

    async def _finish(self, response: dict[str, Any], chat: dict[str, Any], inner: Ask) -> None:
        """Make a response that nobody waits for, and keep what became of it."""
        try:
            answer = await self._gateway.ask(inner)
            assert answer.body is not None
            self._complete(response, _decode(answer.body))
        except FailureError as failure:
            _fail(response, failure.code or "server_error", failure.message)
        except SkerryError as error:
            _fail(response, error.code.lower(), from_problem(error).message)
        await self._store(response, chat, inner.state)

    def _complete(self, response: dict[str, Any], whole: dict[str, Any]) -> None:
        """Fill a response in from a whole chat completion."""
        choice = whole["choices"][0]
        response["output"] = output_items(choice["message"], summed=wants_summary(response))
        response["model"] = whole["model"]
        response["usage"] = usage_of(whole.get("usage") or {})
        _end(response, choice["finish_reason"], self._clock.now() // NANOSECONDS)

    async def _store(self, response: dict[str, Any], chat: dict[str, Any], state: KeyState) -> None:
        if not response["store"]:
            return
        # Instructions are those of one response only; a later one gives its own.
        messages = chat["messages"][1:] if response["instructions"] else chat["messages"]
        history = [*messages, *to_history(response["output"])]
        await self._put(response, _encode(history), state)

    async def _put(self, response: dict[str, Any], history: bytes, state: KeyState) -> None:
        kept = answers.Kept(_encode(response), history)
        name, number, now = response["id"], state.key.number, self._clock.now()
        await self._database.do(lambda db: answers.keep_response(db, name, number, kept, now))

    async def _narrate(
        self, answer: Answer, response: dict[str, Any], chat: dict[str, Any], ask: Ask
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of a response as the parts of a chat completion come."""
        assert answer.events is not None
        narrator = Narrator(response)
        parser = Events()
        async with aclosing(answer.events):
            yield narrator.begin()
            try:
                for data in parser.feed(answer.first):
                    for told in narrator.part(data):
                        yield told
                async for event in answer.events:
                    for data in parser.feed(event):
                        for told in narrator.part(data):
                            yield told
            except RouteError as error:
                for told in narrator.failed(error.failure):
                    yield told
                return
            for told in narrator.end_items():
                yield told
            response["usage"] = usage_of(narrator.usage)
            _end(response, narrator.reason, self._clock.now() // NANOSECONDS)
            await self._store(response, chat, ask.state)
            yield narrator.complete()


def _end(response: dict[str, Any], reason: str | None, now: int) -> None:
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason or "")
    response["status"] = "incomplete" if cut else "completed"
    response["incomplete_details"] = {"reason": cut} if cut else None
    response["completed_at"] = now
    for item in response["output"]:
        item["status"] = "completed"


def _fail(response: dict[str, Any], code: str, message: str) -> None:
    response["status"] = "failed"
    response["error"] = {"code": code, "message": message}


def _unknown(name: str) -> FailureError:
    return FailureError(404, f"There is no response {name[:100]!r}.", code="not_found")
