"""A slot: one resource in a process of a cell, its engine started by need and stopped when idle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import BUSY, INVALID, UNSUPPORTED, SkerryError, disk_full
from skerry.kernel.kind import ASGIApplication, Context, Engine
from skerry.kernel.manifest import Manifest
from skerry.node.cell.spec import AS_OF


class Slot:
    """Holds the engine of a resource while it is awake.

    The lock guards starting, stopping and freezing; requests do not take it once the engine runs.
    `leader` is the node that writes the state, if this is a copy that is only read; answers say so.
    """

    def __init__(
        self,
        manifest: Manifest,
        context: Context,
        idle_seconds: float,
        clock: Clock,
        leader: str = "",
    ) -> None:
        self.manifest = manifest
        self.context = context
        self.idle_seconds = idle_seconds
        self._clock = clock
        self._leader = leader
        self._lock = asyncio.Lock()
        self._engine: Engine | None = None
        self._application: ASGIApplication | None = None
        self._frozen = False
        self._closed = False
        self.in_flight = 0
        self.last_used = clock.monotonic()

    @property
    def awake(self) -> bool:
        """Whether the engine runs."""
        return self._engine is not None

    async def ready(self) -> Engine:
        """Return the engine, started."""
        self.touch()
        if self._engine is None:
            async with self._lock:
                await self._start()
                self.touch()
        assert self._engine is not None
        return self._engine

    async def _start(self) -> None:
        if self._engine is not None:
            return
        if self._closed:
            raise BUSY(f"The process of {self.context.ref.name} is about to end.")
        engine: Engine = self.manifest.load(self.manifest.engine)(self.context)
        try:
            await engine.start()
        except BaseException:
            try:
                await engine.stop()
            except Exception:
                # Why it did not start is what its callers need to know.
                self.context.log.exception("what did not start could not be stopped either")
            raise
        self._application = None
        self._engine = engine

    def touch(self) -> None:
        """Note that somebody uses the resource now."""
        self.last_used = self._clock.monotonic()

    async def rest(self, may_sleep: Callable[[str], Awaitable[bool]]) -> bool:
        """Stop the engine if nobody uses it; return whether it is stopped."""
        if self._lock.locked():
            return False
        if self._engine is None:
            return True
        if not self._idle() or await self._engine.busy():
            return False
        if not await may_sleep(self.context.ref.name):
            return False
        async with self._lock:
            if self._engine is not None and self._idle():
                await self._stop()
        return self._engine is None

    def _idle(self) -> bool:
        unused = self._clock.monotonic() - self.last_used
        return self.idle_seconds > 0 and self.in_flight == 0 and unused >= self.idle_seconds

    async def close(self) -> None:
        """Stop the engine for good, whoever uses it: the process is about to end."""
        async with self._lock:
            self._closed = True
            await self._stop()

    async def _stop(self) -> None:
        engine, self._engine, self._application = self._engine, None, None
        if engine is not None:
            await engine.stop()

    async def prepare(self, *, wake: bool) -> None:
        """Take the lock until `thaw`, and make the coming freeze short.

        `wake`: functions that are awake may write to the state beside the engine, so it must run to
        hold them.
        """
        await self._lock.acquire()
        try:
            if wake:
                await self._start()
            if self._engine is not None:
                await self._engine.prepare()
        except BaseException:
            self._lock.release()
            raise

    async def freeze(self, atomic: bool) -> None:
        """Hold all writers of the state; only after `prepare`."""
        assert self._lock.locked(), "prepare comes first"
        if self._engine is not None:
            await self._engine.freeze(atomic)
            self._frozen = True

    async def thaw(self) -> None:
        """Let writers go on; harmless where nothing is frozen."""
        if not self._lock.locked():
            return
        try:
            if self._frozen and self._engine is not None:
                await self._engine.thaw()
        finally:
            self._frozen = False
            self._lock.release()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Engine]:
        """Hold the engine awake for the length of a request or a word."""
        self.in_flight += 1
        try:
            yield await self.ready()
        finally:
            self.in_flight -= 1
            self.touch()

    async def serve(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request or WebSocket: the ASGI application of the slot's socket."""
        async with self.used() as engine:
            if self._application is None:
                self._application = self._make_application(engine)
            if self._leader:
                send = self._dated(send)
            await self._application(scope, receive, send)

    def _dated(self, send: Any) -> Any:
        """Return a way to answer that says who writes, and as of when this copy is."""
        headers = [(b"skerry-leader", self._leader.encode())]
        headers.append((b"skerry-as-of", _as_of(self.context.run)))

        async def dated(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        return dated

    async def answer(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve, or tell the client why the engine does not start."""
        try:
            await self.ready()
        except Exception as failure:
            error = failure if isinstance(failure, SkerryError) else disk_full(failure)
            if error is None:
                raise
            self.context.log.warning("it does not start: %s %s", error.what, error.why)
            await _refuse(scope, send, error)
            return
        await self.serve(scope, receive, send)

    def _make_application(self, engine: Engine) -> ASGIApplication:
        wire = next((wire for wire in self.manifest.wires if wire.application), None)
        if wire is None:
            raise UNSUPPORTED(f"Kind {self.manifest.name} has no HTTP wire.")
        application: ASGIApplication = self.manifest.load(wire.application)(engine)
        return application

    async def word(self, name: str, params: dict[str, Any]) -> Any:
        """Carry out a word of the kind."""
        word = next((each for each in self.manifest.words if each.name == name), None)
        if word is None:
            raise UNSUPPORTED(f"Kind {self.manifest.name} has no word {name}.")
        try:
            arguments = msgspec.convert(params, word.params)
        except msgspec.ValidationError as error:
            raise INVALID(str(error)) from error
        async with self.used() as engine:
            result = await getattr(engine, f"word_{name.replace('-', '_')}")(arguments)
            return msgspec.to_builtins(result)


def _as_of(run: Path) -> bytes:
    """Return what the node has written down of the copy's age."""
    try:
        return (run / AS_OF).read_bytes()
    except FileNotFoundError:
        return b"unknown"


async def _refuse(scope: MutableMapping[str, Any], send: Any, error: SkerryError) -> None:
    """Answer with an HTTP problem (RFC 9457), or refuse the WebSocket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1011, "reason": error.what[:100]})
        return
    body = msgspec.json.encode(
        {"title": error.what, "status": error.problem.http, **error.as_dict()}
    )
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": error.problem.http, "headers": headers})
    await send({"type": "http.response.body", "body": body})
