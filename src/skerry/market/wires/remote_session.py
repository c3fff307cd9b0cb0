"""A program beside a service of another node's lease, by the frames of Akash's shell."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from skerry.kernel.errors import ENGINE_FAILED, NODE_UNREACHABLE

STDOUT, STDERR, RESULT, FAILURE, STDIN, RESIZE = 100, 101, 102, 103, 104, 105
CHUNK_BYTES = 32 * 1024
_resize = struct.Struct(">HH")


class RemoteSession:
    """See `link.Session`. What is sent goes out in order; nobody waits for it but `write`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.code: int | None = None
        self._socket = socket
        self._sending: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        """See `Session.write`."""
        for at in range(0, len(data), CHUNK_BYTES):
            await self._send(bytes([STDIN]) + data[at : at + CHUNK_BYTES], self._sending)

    def end_input(self) -> None:
        """See `Session.end_input`: a frame of input without data is its end."""
        self._later(bytes([STDIN]))

    def resize(self, rows: int, columns: int) -> None:
        """See `Session.resize`; Akash tells columns first."""
        self._later(bytes([RESIZE]) + _resize.pack(columns & 0xFFFF, rows & 0xFFFF))

    def _later(self, frame: bytes) -> None:
        self._sending = asyncio.create_task(self._send(frame, self._sending))

    async def _send(self, frame: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        # A program that has ended takes no more; how it ended comes with its output.
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(frame)

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """See `Session.output`."""
        try:
            while True:
                frame = await self._socket.recv(decode=False)
                kind, data = frame[0] if frame else 0, frame[1:]
                if kind in (RESULT, FAILURE):
                    self.code = _end(kind, data)
                    return
                if kind in (STDOUT, STDERR):
                    yield ("stdout" if kind == STDOUT else "stderr"), data
        except ConnectionClosed as error:
            raise NODE_UNREACHABLE("The provider went away.", why=str(error)) from error

    async def close(self) -> None:
        """See `Session.close`."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self._socket.close()


def _end(kind: int, data: bytes) -> int:
    """Return the exit status that a shell's last frame tells; raise what it tells instead."""
    try:
        found: dict[str, Any] = msgspec.json.decode(data, type=dict) if data else {}
    except msgspec.DecodeError as error:
        raise ENGINE_FAILED(
            "The provider's last word is not well-formed.", why=str(error)
        ) from error
    if kind == FAILURE or found.get("message"):
        raise ENGINE_FAILED("The command did not run.", why=str(found.get("message", ""))[:300])
    status = found.get("exit_code", 0)
    return status if isinstance(status, int) else 0
