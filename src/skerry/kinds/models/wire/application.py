"""The endpoint: paths of the OpenAI API, and a small API of its own for keys.

    GET  /v1/models, /v1/models/{name}
    POST /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses
    GET, DELETE /v1/responses/{id}, POST /v1/responses/{id}/cancel
    GET, POST /v1/keys, DELETE /v1/keys/{name}     with the owner's key

Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import ASGIApplication
from skerry.kinds.models.claim import presented
from skerry.kinds.models.engine import ModelsEngine
from skerry.kinds.models.gateway.ask import Answer, Ask
from skerry.kinds.models.gateway.failure import FailureError, from_problem, invalid
from skerry.kinds.models.gateway.keyring import KeyState
from skerry.kinds.models.gateway.rates import rate_headers
from skerry.kinds.models.gateway.sse import event
from skerry.kinds.models.gateway.upstream import RouteError
from skerry.kinds.models.manifest import KeyCreate
from skerry.kinds.models.wire import exchange
from skerry.kinds.models.wire.exchange import Bodies, GoneError, Receive, Send
from skerry.kinds.models.wire.responses import Responses

_ASKS = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
}
KNOWN_MAX = 10_000
"""Of how many keys it is remembered that they are genuine; whether they still hold is looked up."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_key_decoder = msgspec.json.Decoder(KeyCreate)


def make(engine: ModelsEngine) -> ASGIApplication:
    """Return the ASGI application of a gateway."""
    wire = Wire(engine)

    async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await wire.serve(scope, receive, send)

    return application


class Wire:
    """Serves requests of one gateway."""

    def __init__(self, engine: ModelsEngine) -> None:
        self._engine = engine
        self._bodies = Bodies()
        self._known: dict[bytes, int] = {}
        self._responses = Responses(
            engine.gateway, engine.database, engine.background, engine.context.clock
        )

    async def serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {"x-request-id": f"req_{uuid4().hex}"}
        self._engine.context.meter.add("requests")
        try:
            await self._serve(scope, receive, send, headers)
        except GoneError:
            return
        except FailureError as failure:
            await exchange.fail(send, failure, headers)
        except SkerryError as error:
            await exchange.fail(send, from_problem(error), headers)

    async def _serve(
        self,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
        headers: dict[str, str],
    ) -> None:
        given = dict(scope["headers"])
        state = self._authenticated(given.get(b"authorization", b""))
        method, path = scope["method"], str(scope["path"]).rstrip("/")
        path = path.removeprefix("/v1")
        if path in _ASKS or path == "/responses":
            if method != "POST":
                raise FailureError(
                    405, f"{method} is not possible here.", code="method_not_allowed"
                )
            body = await exchange.read_body(receive, self._bodies)
            try:
                ask = _ask(_ASKS.get(path, "responses"), body, state, given)
                await self._answer(ask, receive, send, headers)
            finally:
                self._bodies.give(len(body))
            return
        shape, status = await self._look(method, path, state, receive)
        await exchange.answer(send, status, headers, msgspec.json.encode(shape))

    def _authenticated(self, header: bytes) -> KeyState:
        context = self._engine.context
        number = self._known.get(header)
        if number is None:
            number = presented(header, context.id, context.keys)
            if number is not None:
                if len(self._known) >= KNOWN_MAX:
                    self._known.clear()
                self._known[header] = number
        state = None if number is None else self._engine.keyring.find(number)
        if state is None:
            raise FailureError(
                401,
                "Incorrect API key provided. Run: skerry connect " + context.ref.name,
                kind="authentication_error",
                code="invalid_api_key",
            )
        return state

    async def _answer(
        self, ask: Ask, receive: Receive, send: Send, headers: dict[str, str]
    ) -> None:
        work = self._responses.ask(ask) if ask.operation == "responses" else None
        try:
            answer = await exchange.unless_gone(receive, work or self._engine.gateway.ask(ask))
        finally:
            # Of a refusal too: it tells the client what is left, and until when.
            headers |= rate_headers(ask.state, self._engine.context.clock.now())
        if answer.events is None:
            assert answer.body is not None
            await exchange.answer(send, 200, {**headers, **answer.headers}, answer.body)
            return
        await self._stream(answer, answer.events, receive, send, headers)

    async def _stream(
        self,
        answer: Answer,
        events: AsyncGenerator[bytes, None],
        receive: Receive,
        send: Send,
        headers: dict[str, str],
    ) -> None:
        async def pump() -> None:
            await exchange.begin_events(send, {**headers, **answer.headers})
            await send({"type": "http.response.body", "body": answer.first, "more_body": True})
            try:
                async for data in events:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            except RouteError as error:
                data = event(error.failure.body())
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        async with aclosing(events):
            await exchange.unless_gone(receive, pump())

    async def _look(
        self, method: str, path: str, state: KeyState, receive: Receive
    ) -> tuple[Any, int]:
        """Answer what is not asked of a model."""
        part, _, rest = path.removeprefix("/").partition("/")
        name = unquote(rest)
        found: Callable[[str, KeyState, Receive], Awaitable[tuple[Any, int]]] | None = {
            ("GET", "models"): self._models,
            ("GET", "responses"): self._get_response,
            ("DELETE", "responses"): self._delete_response,
            ("POST", "responses"): self._cancel_response,
            ("GET", "keys"): self._keys,
            ("POST", "keys"): self._make_key,
            ("DELETE", "keys"): self._revoke_key,
        }.get((method, part))
        if found is None:
            raise FailureError(404, f"There is no {method} {path[:200]} here.", code="unknown_url")
        return await found(name, state, receive)

    async def _models(self, name: str, state: KeyState, _: Receive) -> tuple[Any, int]:
        routes, secrets = self._engine.routes, self._engine.context.secrets
        allowed = state.key.limits.models
        if name:
            routes.find(name)
            return _model(name, "skerry"), 200
        names = [each for each in routes.names(secrets) if not allowed or each[0] in allowed]
        return {"object": "list", "data": [_model(*each) for each in names]}, 200

    async def _get_response(self, name: str, state: KeyState, _: Receive) -> tuple[Any, int]:
        return await self._responses.get(name, state), 200

    async def _delete_response(self, name: str, state: KeyState, _: Receive) -> tuple[Any, int]:
        return await self._responses.delete(name, state), 200

    async def _cancel_response(self, name: str, state: KeyState, _: Receive) -> tuple[Any, int]:
        name, _slash, verb = name.rpartition("/")
        if verb != "cancel" or not name:
            raise FailureError(
                404,
                f"A response can be made, fetched, cancelled and deleted, not {verb[:50]!r}.",
                code="unknown_url",
            )
        return await self._responses.cancel(name, state), 200

    async def _keys(self, _: str, state: KeyState, __: Receive) -> tuple[Any, int]:
        _administer(state)
        return {"object": "list", "data": self._engine.list_keys()}, 200

    async def _make_key(self, _: str, state: KeyState, receive: Receive) -> tuple[Any, int]:
        _administer(state)
        body = await exchange.read_body(receive, self._bodies)
        self._bodies.give(len(body))
        try:
            params = _key_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise invalid(f"The request is malformed: {error}") from error
        return await self._engine.make_key(params), 201

    async def _revoke_key(self, name: str, state: KeyState, _: Receive) -> tuple[Any, int]:
        _administer(state)
        await self._engine.revoke_key(name)
        return {"key": name, "revoked": True}, 200


def _administer(state: KeyState) -> None:
    if not state.key.admin:
        raise FailureError(403, "Only the owner's key may do this.", kind="permission_error")


def _ask(operation: str, body: bytes, state: KeyState, headers: dict[bytes, bytes]) -> Ask:
    try:
        shape = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"The body is not a JSON object: {error}") from error
    control = headers.get(b"cache-control", b"")
    return Ask(operation, shape, state, fresh=b"no-cache" in control or b"no-store" in control)


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
