"""The Responses API, carried out as chat completions, which every provider has.

What a response says (items, instructions, tools, formats) is put into chat messages; the answer is
put back into items. A response that is stored can be followed by `previous_response_id`, by the
same key. Source: https://platform.openai.com/docs/api-reference/responses, openresponses.org.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kinds.models.gateway.ask import Answer, Ask
from skerry.kinds.models.gateway.failure import FailureError
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


class Responses:
    """Answers `/v1/responses`."""

    def __init__(self, gateway: Gateway, database: Database, clock: Clock) -> None:
        self._gateway = gateway
        self._database = database
        self._clock = clock

    async def ask(self, ask: Ask) -> Answer:
        """Answer a request for a response."""
        asked = ask.body
        check("responses", asked)
        history = await self._history(asked.get("previous_response_id"), ask.state)
        chat = to_chat(asked, history)
        response = new_response(f"resp_{uuid4().hex}", asked, self._clock.now() // NANOSECONDS)
        inner = Ask("chat", chat, ask.state, fresh=ask.fresh, keep=True)
        answer = await self._gateway.ask(inner)
        if answer.events is None:
            assert answer.body is not None
            self._complete(response, _decode(answer.body))
            await self._store(response, chat, ask)
            return Answer(answer.headers, _encode(response))
        events = self._narrate(answer, response, chat, ask)
        return Answer(answer.headers, first=await anext(events), events=events)

    async def get(self, name: str, state: KeyState) -> Any:
        """Return a response that was stored."""
        kept = await self._kept(name, state)
        return msgspec.Raw(kept.body)

    async def delete(self, name: str, state: KeyState) -> Any:
        """Forget a response."""
        number = state.key.number
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
        return _decode(kept.history, type=list[dict[str, Any]])

    def _complete(self, response: dict[str, Any], whole: dict[str, Any]) -> None:
        """Fill a response in from a whole chat completion."""
        choice = whole["choices"][0]
        response["output"] = output_items(choice["message"], summed=wants_summary(response))
        response["model"] = whole["model"]
        response["usage"] = usage_of(whole.get("usage") or {})
        _end(response, choice["finish_reason"], self._clock.now() // NANOSECONDS)

    async def _store(self, response: dict[str, Any], chat: dict[str, Any], ask: Ask) -> None:
        if not response["store"]:
            return
        # Instructions are those of one response only; a later one gives its own.
        messages = chat["messages"][1:] if response["instructions"] else chat["messages"]
        history = [*messages, *to_history(response["output"])]
        kept = answers.Kept(_encode(response), _encode(history))
        name, number, now = response["id"], ask.state.key.number, self._clock.now()
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
            await self._store(response, chat, ask)
            yield narrator.complete()


def _end(response: dict[str, Any], reason: str | None, now: int) -> None:
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason or "")
    response["status"] = "incomplete" if cut else "completed"
    response["incomplete_details"] = {"reason": cut} if cut else None
    response["completed_at"] = now
    for item in response["output"]:
        item["status"] = "completed"


def _unknown(name: str) -> FailureError:
    return FailureError(404, f"There is no response {name[:100]!r}.", code="not_found")
