"""The HTTP wire: the app behind its limits. One request is one exchange."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import MutableMapping
from typing import Any

from skerry.kernel.errors import BUSY, ENGINE_FAILED, TIMED_OUT, SkerryError
from skerry.kernel.kind import ASGIApplication
from skerry.kinds._shared.http.forwarded import apply_forwarded
from skerry.kinds.functions.engine import FunctionsEngine
from skerry.kinds.functions.failure import CLOSED_ON_ERROR, app_part, refuse

_BEGINNINGS = frozenset(
    (
        "http.response.start",
        "websocket.accept",
        "websocket.close",
        "websocket.http.response.start",
    )
)


def make(engine: FunctionsEngine) -> ASGIApplication:
    """Return the ASGI application of an engine that runs."""
    return Wire(engine)


class Wire:
    """Bounds how many exchanges there are at once."""

    def __init__(self, engine: FunctionsEngine) -> None:
        self._engine = engine
        self._in_flight = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request or WebSocket."""
        engine = self._engine
        engine.context.meter.add("requests")
        limit = engine.config.concurrency
        if self._in_flight >= limit:
            engine.context.meter.add("errors")
            error = BUSY(
                f"The function {engine.context.ref.name} answers {limit} requests already.",
                hint="Try again, or raise `concurrency` in skerry.toml.",
            )
            await refuse(scope, send, error, 503)
            return
        apply_forwarded(scope)
        scope["state"] = dict(engine.state)
        self._in_flight += 1
        try:
            await Exchange(engine, scope, receive, send).run()
        finally:
            self._in_flight -= 1


class Exchange:
    """One request and its answer.

    The answer must begin within the timeout, which runs anew with each part of the body that
    arrives. When it is over the client is answered at once, even if the app does not listen to its
    cancellation; what the app sends later is refused.
    """

    def __init__(
        self, engine: FunctionsEngine, scope: MutableMapping[str, Any], receive: Any, send: Any
    ) -> None:
        self._engine = engine
        self._scope = scope
        self._client_receive = receive
        self._client_send = send
        self._began = False
        self._expired = False
        self._refusal: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Let the app answer; see that somebody does."""
        self._task = asyncio.current_task()
        self._set_timer()
        try:
            await self._engine.application(self._scope, self._receive, self._send)
            if not self._began and not self._expired:
                raise RuntimeError("the app returned without an answer")
        except asyncio.CancelledError:
            if not self._expired or self._task is None or self._task.uncancel() > 0:
                raise
        except (Exception, SystemExit) as error:
            if not self._expired:
                await self._fail(error)
        finally:
            self._stop_timer()
        if self._refusal is not None:
            await self._refusal

    async def _receive(self) -> MutableMapping[str, Any]:
        message: MutableMapping[str, Any] = await self._client_receive()
        if self._timer is not None and message["type"] == "http.request":
            self._set_timer()
        return message

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self._expired:
            raise OSError("the request ran out of time; nobody waits for its answer")
        if not self._began and message["type"] in _BEGINNINGS:
            self._began = True
            self._stop_timer()
        await self._client_send(message)

    def _set_timer(self) -> None:
        self._stop_timer()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._engine.config.timeout_seconds, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._expired = True
        name = self._engine.context.ref.name
        limit = self._engine.config.timeout
        error = TIMED_OUT(f"The function {name} did not begin its answer within {limit}.")
        self._note(logging.ERROR, error.what)
        work = refuse(self._scope, self._client_send, error, 504)
        self._refusal = asyncio.get_running_loop().create_task(work)
        if self._task is not None:
            self._task.cancel()

    async def _fail(self, error: BaseException) -> None:
        """Log what the app raised, and answer in its place if it has not begun."""
        self._note(logging.ERROR, "The function failed.", error)
        if self._began:
            if self._scope["type"] == "websocket":
                await self._close_socket()
            return
        self._began = True
        await refuse(self._scope, self._client_send, self._describe(error), 500)

    async def _close_socket(self) -> None:
        try:
            await self._client_send({"type": "websocket.close", "code": CLOSED_ON_ERROR})
        except RuntimeError:
            self._engine.context.log.debug("the WebSocket was closed already")

    def _describe(self, error: BaseException) -> SkerryError:
        name = self._engine.context.ref.name
        if self._engine.config.debug:
            why = "".join(traceback.format_exception(*app_part(error)))
        else:
            why = "Its log has the traceback."
        return ENGINE_FAILED(f"The function {name} failed.", why=why)

    def _note(self, level: int, text: str, error: BaseException | None = None) -> None:
        self._engine.context.meter.add("errors")
        scope = self._scope
        line = f"{scope.get('method', 'WEBSOCKET')} {scope['path']}"
        raised = None if error is None else app_part(error)
        self._engine.context.log.log(level, "%s: %s", line, text, exc_info=raised)
