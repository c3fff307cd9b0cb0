"""Hrana over WebSocket: many streams on one connection, each answering in order.

    connect ── hello ── request* ── close
                 └─ hello_error, close

Source: HRANA_1_SPEC, HRANA_2_SPEC and HRANA_3_SPEC of tursodatabase/libsql.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.failure import HranaError
from skerry.kinds.sqlite.hrana import Answer, Message, Request, from_any
from skerry.kinds.sqlite.stream import Steps, Stream, store, with_texts
from skerry.kinds.sqlite.wire_http import CHUNK_BYTES

SUBPROTOCOLS = ("hrana3", "hrana2", "hrana1")
STREAMS_MAX = 128
OUTSTANDING_MAX = 128
HELLO_SECONDS = 10.0
IDLE_SECONDS = 60.0
CURSOR_ENTRIES_MAX = 1000
PROTOCOL_ERROR, POLICY_VIOLATION, GOING_AWAY = 1002, 1008, 1001

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_decoder = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


class ProtocolError(Exception):
    """The peer broke the protocol; the connection is closed."""


@dataclass(slots=True)
class Cursor:
    """A cursor that is open on a stream, and what it has read ahead."""

    steps: Steps
    entries: list[Answer] = field(default_factory=list)
    done: bool = False


@dataclass(slots=True)
class Lane:
    """The requests of one stream, answered one after the other."""

    queue: asyncio.Queue[tuple[int, Request]]
    task: asyncio.Task[None] | None = None
    stream: Stream | None = None
    cursors: dict[int, Cursor] = field(default_factory=dict)


async def serve(
    engine: SqliteEngine, scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> None:
    """Serve one WebSocket until it closes, breaks the protocol, or falls idle."""
    await receive()
    offered = scope.get("subprotocols") or []
    chosen = next((each for each in SUBPROTOCOLS if each in offered), None)
    if offered and chosen is None:
        await send({"type": "websocket.close", "code": PROTOCOL_ERROR})
        return
    await send({"type": "websocket.accept", "subprotocol": chosen})
    await _Connection(engine, send).serve(receive)


class _Connection:
    """One WebSocket: its lanes, its stored texts and its cursors."""

    def __init__(self, engine: SqliteEngine, send: Send) -> None:
        self._engine = engine
        self._send = send
        self._lanes: dict[int, Lane] = {}
        self._cursors: dict[int, int] = {}
        self._stored: dict[int, str] = {}
        self._slots = asyncio.Semaphore(OUTSTANDING_MAX)
        self._outstanding = 0
        self._welcome = False

    async def serve(self, receive: Receive) -> None:
        code = 1000
        try:
            while True:
                message = await self._next(receive)
                if message is None:
                    code = GOING_AWAY
                    break
                if message["type"] == "websocket.disconnect":
                    return
                if not await self._message(message.get("text")):
                    code = POLICY_VIOLATION
                    break
        except (ProtocolError, msgspec.DecodeError):
            code = PROTOCOL_ERROR
        finally:
            await self._end()
        await self._send({"type": "websocket.close", "code": code})

    async def _next(self, receive: Receive) -> MutableMapping[str, Any] | None:
        """Return the next message, or None once nothing happened for a while."""
        waiting = asyncio.ensure_future(receive())
        try:
            while True:
                limit = IDLE_SECONDS if self._welcome else HELLO_SECONDS
                done, _ = await asyncio.wait([waiting], timeout=limit)
                if done:
                    return waiting.result()
                if not self._outstanding and not self._in_transaction():
                    return None
        finally:
            waiting.cancel()

    def _in_transaction(self) -> bool:
        streams = [lane.stream for lane in self._lanes.values()]
        return any(stream is not None and not stream.autocommit for stream in streams)

    async def _message(self, text: str | None) -> bool:
        """Take one message; return whether the connection may go on."""
        if text is None:
            raise ProtocolError("binary frames are not spoken here")
        message = _decoder.decode(text)
        if message.type == "hello":
            self._welcome = self._engine.lock.opens(message.jwt)
            if self._welcome:
                await self._reply({"type": "hello_ok"})
            else:
                error = HranaError("The token is missing or wrong.", "AUTH_INVALID")
                await self._reply({"type": "hello_error", "error": error.answer()})
            return self._welcome
        if message.type != "request" or message.request is None or message.request_id is None:
            raise ProtocolError("not a message")
        if not self._welcome:
            return False
        await self._slots.acquire()
        self._outstanding += 1
        await self._dispatch(message.request_id, message.request)
        return True

    async def _dispatch(self, request_id: int, request: Request) -> None:
        """Answer what concerns the connection; hand the rest to the stream's lane."""
        try:
            if request.type == "store_sql" and request.sql_id is not None and request.sql:
                store(self._stored, request.sql_id, request.sql)
            elif request.type == "close_sql" and request.sql_id is not None:
                self._stored.pop(request.sql_id, None)
            else:
                # Texts are looked up now: the next message may already take them away.
                request = with_texts(request, self._stored)
                self._lane(request).queue.put_nowait((request_id, request))
                return
        except HranaError as error:
            await self._answer(request_id, error=error)
        else:
            await self._answer(request_id, {"type": request.type})

    def _lane(self, request: Request) -> Lane:
        """Return the lane that a request belongs to, making it for `open_stream`."""
        stream_id = request.stream_id
        if request.type in ("fetch_cursor", "close_cursor"):
            stream_id = self._cursors.get(-1 if request.cursor_id is None else request.cursor_id)
            if stream_id is None:
                raise HranaError("No such cursor is open.", "CURSOR_NOT_FOUND")
        if stream_id is None:
            raise HranaError("The request names no stream.", "PROTOCOL_ERROR")
        if request.type == "open_stream":
            if stream_id in self._lanes:
                raise HranaError("The stream is open already.", "STREAM_EXISTS")
            if len(self._lanes) >= STREAMS_MAX:
                raise HranaError("Too many streams are open.", "BUSY")
            lane = self._lanes[stream_id] = Lane(asyncio.Queue(OUTSTANDING_MAX))
            lane.task = asyncio.create_task(self._work(stream_id, lane))
        elif stream_id not in self._lanes:
            raise HranaError("No such stream is open.", "STREAM_NOT_FOUND")
        if request.type == "open_cursor" and request.cursor_id is not None:
            if request.cursor_id in self._cursors:
                raise HranaError("The cursor is open already.", "CURSOR_EXISTS")
            self._cursors[request.cursor_id] = stream_id
        return self._lanes[stream_id]

    async def _work(self, stream_id: int, lane: Lane) -> None:
        """Answer the requests of one stream in order, until it is closed."""
        while True:
            request_id, request = await lane.queue.get()
            try:
                answer = await self._request(lane, request)
            except Exception as error:
                await self._answer(request_id, error=from_any(error))
            else:
                await self._answer(request_id, answer)
            if request.type == "close_stream" and lane.queue.empty():
                self._lanes.pop(stream_id, None)
                return

    async def _request(self, lane: Lane, request: Request) -> Answer:
        streams = self._engine.streams
        if request.type == "open_stream":
            lane.stream = await streams.open()
            return {"type": "open_stream"}
        if request.type == "close_stream":
            await self._close(lane)
            return {"type": "close_stream"}
        if request.type in ("open_cursor", "fetch_cursor", "close_cursor"):
            return await self._cursor(lane, request)
        if lane.stream is None:
            raise HranaError("The stream is not open.", "STREAM_NOT_FOUND")
        if lane.cursors:
            raise HranaError("A cursor is open on the stream.", "CURSOR_OPEN")
        answer: Answer = await streams.run(lane.stream, lane.stream.answer(request))
        return answer

    async def _cursor(self, lane: Lane, request: Request) -> Answer:
        cursor_id = request.cursor_id
        if cursor_id is None:
            raise HranaError("The request names no cursor.", "PROTOCOL_ERROR")
        if request.type == "close_cursor":
            cursor = lane.cursors.pop(cursor_id, None)
            self._cursors.pop(cursor_id, None)
            if cursor is not None:
                await self._engine.streams.thread(cursor.steps.close)
        elif lane.stream is None:
            raise HranaError("The stream is not open.", "STREAM_NOT_FOUND")
        elif request.type == "open_cursor":
            if request.batch is None or lane.cursors:
                raise HranaError("A stream runs one batch by one cursor.", "CURSOR_OPEN")
            lane.cursors[cursor_id] = Cursor(lane.stream.cursor(request.batch, CHUNK_BYTES))
        else:
            return await self._fetch(lane.stream, lane.cursors.get(cursor_id), request.max_count)
        return {"type": request.type}

    async def _fetch(self, stream: Stream, cursor: Cursor | None, wanted: int | None) -> Answer:
        """Return the next entries of a cursor, reading on when none are left."""
        if cursor is None:
            raise HranaError("The cursor is not open.", "CURSOR_NOT_FOUND")
        if not cursor.entries and not cursor.done:
            part = await self._engine.streams.part(stream, cursor.steps)
            cursor.entries = part or []
            cursor.done = part is None
        count = min(CURSOR_ENTRIES_MAX if wanted is None else max(wanted, 0), CURSOR_ENTRIES_MAX)
        entries, cursor.entries = cursor.entries[:count], cursor.entries[count:]
        done = cursor.done and not cursor.entries
        return {"type": "fetch_cursor", "entries": entries, "done": done}

    async def _close(self, lane: Lane) -> None:
        for cursor_id, cursor in lane.cursors.items():
            self._cursors.pop(cursor_id, None)
            await self._engine.streams.thread(cursor.steps.close)
        lane.cursors.clear()
        stream, lane.stream = lane.stream, None
        if stream is not None:
            await self._engine.streams.close(stream)

    async def _answer(
        self, request_id: int, response: Answer | None = None, error: HranaError | None = None
    ) -> None:
        shape: Answer = {"type": "response_ok", "request_id": request_id, "response": response}
        if error is not None:
            shape = {"type": "response_error", "request_id": request_id, "error": error.answer()}
        self._outstanding -= 1
        self._slots.release()
        await self._reply(shape)

    async def _reply(self, shape: Answer) -> None:
        await self._send({"type": "websocket.send", "text": _encoder.encode(shape).decode()})

    async def _end(self) -> None:
        """Stop every lane and close its stream."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, (OSError, SkerryError)):
                self._engine.context.log.error("a stream failed", exc_info=result)
        for lane in self._lanes.values():
            await self._close(lane)
