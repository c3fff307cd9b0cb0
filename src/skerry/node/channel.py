"""Calls between the node and the processes of its cells, over a socket that both inherit.

Frames are a 4-byte length (big-endian) and a msgpack array: `[CALL, id, method, params]`,
`[RESULT, id, value]`, `[ERROR, id, error]`, `[PROGRESS, id, value]` or `[NOTE, method, params]`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec

from skerry.kernel.errors import (
    ENGINE_FAILED,
    INTERNAL,
    TIMED_OUT,
    SkerryError,
    disk_full,
    from_dict,
)

FRAME_BYTES_MAX = 32 * 1024 * 1024
CALLS_MAX = 1000
UNREAD_BYTES_MAX = 2 * FRAME_BYTES_MAX
CALL, RESULT, ERROR, PROGRESS, NOTE = range(5)

Handler = Callable[["Call"], Awaitable[Any]]

_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Call:
    """A call that came in: its parameters, and a way to report progress."""

    __slots__ = ("_channel", "_id", "params")

    def __init__(self, channel: Channel, call_id: int, params: Any) -> None:
        self._channel = channel
        self._id = call_id
        self.params = params

    def progress(self, value: Any) -> None:
        """Tell the caller how far it is."""
        self._channel.send([PROGRESS, self._id, value])


class Channel(asyncio.Protocol):
    """One end. Make it with `Channel.open`."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._buffer = bytearray()
        self._ids = itertools.count()
        self._calls: dict[int, tuple[asyncio.Future[Any], Callable[[Any], None] | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, connection: socket.socket, handlers: Mapping[str, Handler]) -> Channel:
        """Serve and make calls over a connected stream socket."""
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(handlers), sock=connection)
        return channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Cut frames out of what arrived."""
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4])
            if length > FRAME_BYTES_MAX:
                _log.error("a frame of %d bytes is over the limit; closing", length)
                self.close()
                return
            if len(self._buffer) < 4 + length:
                return
            frame = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            self._receive(frame)

    def _receive(self, frame: bytes) -> None:
        try:
            kind, *rest = _decode(frame)
            self._dispatch(kind, rest)
        except Exception:
            _log.exception("a malformed frame arrived; closing")
            self.close()

    def _dispatch(self, kind: int, rest: list[Any]) -> None:
        if kind == CALL:
            call_id, method, params = rest
            self._start(self._answer(call_id, method, params))
        elif kind == NOTE:
            method, params = rest
            self._start(self._take_note(method, params))
        else:
            call_id, value = rest
            if kind == PROGRESS:
                _, on_progress = self._calls.get(call_id, (None, None))
                if on_progress:
                    on_progress(value)
                return
            future, _ = self._calls.get(call_id, (None, None))
            if future is None or future.done():
                return
            if kind == ERROR:
                future.set_exception(from_dict(value))
            else:
                future.set_result(value)

    def _start(self, work: Any) -> None:
        if len(self._tasks) >= CALLS_MAX:
            work.close()
            _log.error("more than %d calls at once; closing", CALLS_MAX)
            self.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, call_id: int, method: str, params: Any) -> None:
        try:
            handler = self._handlers[method]
            self.send([RESULT, call_id, await handler(Call(self, call_id, params))])
        except SkerryError as error:
            self.send([ERROR, call_id, error.as_dict()])
        except Exception as error:
            _log.exception("%s failed", method)
            problem = disk_full(error) or INTERNAL(
                f"{method} failed.", why=f"{type(error).__name__}: {error}"
            )
            self.send([ERROR, call_id, problem.as_dict()])

    async def _take_note(self, method: str, params: Any) -> None:
        try:
            await self._handlers[method](Call(self, -1, params))
        except Exception:
            _log.exception("%s failed", method)

    def send(self, message: list[Any]) -> None:
        """Write one frame; silently nothing once the other end is gone."""
        if self._transport is None or self._transport.is_closing():
            return
        data = _encode(message)
        self._transport.write(len(data).to_bytes(4) + data)
        if self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            _log.error("the other end does not read; closing")
            self._transport.abort()

    async def call(
        self,
        method: str,
        params: Any = None,
        *,
        seconds: float = 30.0,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """Call the other end. Raises what it raised, TIMED_OUT, or ENGINE_FAILED if it is gone."""
        if self.closed.done():
            raise ENGINE_FAILED("The process is gone.")
        call_id = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = (future, on_progress)
        self.send([CALL, call_id, method, params])
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError as error:
            raise TIMED_OUT(f"{method} took longer than {seconds:g} s.") from error
        finally:
            self._calls.pop(call_id, None)

    def note(self, method: str, params: Any = None) -> None:
        """Tell the other end something that needs no answer."""
        self.send([NOTE, method, params])

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was waiting for the other end."""
        for future, _ in self._calls.values():
            if not future.done():
                future.set_exception(ENGINE_FAILED("The process ended.", why=str(exc or "")))
        self._calls.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Close this end."""
        if self._transport is not None:
            self._transport.close()


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes from a blocking socket; raise ConnectionResetError if it ends before."""
    data = bytearray()
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ConnectionResetError("the node went away")
        data += chunk
    return bytes(data)
