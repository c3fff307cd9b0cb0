"""Programs beside the first one of a workload: a shell, or a command of the operator.

A session is one connection to the keeper. Its first frame asks (JSON), then frames go both ways:
a byte that says what it is, four bytes of length (big-endian), and the data.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import termios
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import ENGINE_FAILED, SkerryError, from_dict
from skerry.node.workload.spawn import Child

ASK, INPUT, INPUT_END, RESIZE, OUTPUT, ERRORS, ENDED, FAILED = range(8)
FRAME_BYTES_MAX = 1 << 20
CHUNK_BYTES = 32 * 1024
SESSIONS_MAX = 32


class Ask(msgspec.Struct, frozen=True):
    """What a session runs; `terminal` is its size in rows and columns, None for plain pipes."""

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    terminal: tuple[int, int] | None = None


Starter = Callable[[Ask, tuple[int, int, int]], Child]
"""Starts a program inside with these standard streams. Raises `SkerryError`."""


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
    """Return the next frame, None at the end. Raises ENGINE_FAILED for one that is too long."""
    try:
        head = await reader.readexactly(5)
        kind, length = struct.unpack(">BI", head)
        if length > FRAME_BYTES_MAX:
            raise ENGINE_FAILED(f"A frame of {length} bytes came.")
        return kind, await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return None


def write_frame(writer: asyncio.StreamWriter, kind: int, data: bytes = b"") -> None:
    """Write a frame."""
    writer.write(struct.pack(">BI", kind, len(data)) + data)


async def serve_session(
    start: Starter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one session; its program is killed when the other end goes away."""
    child: Child | None = None
    try:
        first = await read_frame(reader)
        if first is None or first[0] != ASK:
            return
        ask = msgspec.json.decode(first[1], type=Ask)
        child, ends = _open(start, ask)
        await _exchange(child, ends, reader, writer)
    except SkerryError as error:
        write_frame(writer, FAILED, msgspec.json.encode(error.as_dict()))
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        problem = ENGINE_FAILED("The session failed.", why=str(error))
        write_frame(writer, FAILED, msgspec.json.encode(problem.as_dict()))
    finally:
        if child is not None:
            child.kill()
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()


class _Ends:
    """The keeper's ends of a program's streams; a terminal is one for all."""

    def __init__(self, into: int, outputs: dict[int, int], terminal: bool) -> None:
        self.into: int | None = into
        self.outputs = outputs
        self.terminal = terminal

    def close_input(self) -> None:
        if self.into is not None and not self.terminal:
            os.close(self.into)
            self.into = None


def _open(start: Starter, ask: Ask) -> tuple[Child, _Ends]:
    if ask.terminal is not None:
        ours, theirs = pty.openpty()
        _resize(ours, *ask.terminal)
        try:
            child = start(ask, (theirs, theirs, theirs))
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return child, _Ends(ours, {OUTPUT: os.dup(ours)}, True)
    pipes = [os.pipe() for _ in range(3)]
    inside = (pipes[0][0], pipes[1][1], pipes[2][1])
    outside = (pipes[0][1], pipes[1][0], pipes[2][0])
    try:
        child = start(ask, inside)
    except BaseException:
        for each in outside:
            os.close(each)
        raise
    finally:
        for each in inside:
            os.close(each)
    return child, _Ends(outside[0], {OUTPUT: outside[1], ERRORS: outside[2]}, False)


async def _exchange(
    child: Child, ends: _Ends, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    taking = asyncio.ensure_future(_take_input(ends, reader))
    giving = [
        asyncio.ensure_future(_give_output(descriptor, kind, writer))
        for kind, descriptor in ends.outputs.items()
    ]
    try:
        both: set[asyncio.Future[Any]] = {child.ended, taking}
        done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if taking in done:
            # The other end is gone.
            taking.result()
            return
        await asyncio.wait(giving, timeout=1.0)
        code = child.ended.result()
        write_frame(writer, ENDED, str(code if code >= 0 else 128 - code).encode())
    finally:
        for task in (taking, *giving):
            task.cancel()
        await asyncio.gather(taking, *giving, return_exceptions=True)
        for descriptor in (ends.into, *ends.outputs.values()):
            if descriptor is not None:
                os.close(descriptor)


async def _take_input(ends: _Ends, reader: asyncio.StreamReader) -> None:
    """Pass on what the other end sends, until it goes away."""
    while (frame := await read_frame(reader)) is not None:
        kind, data = frame
        if kind == INPUT and ends.into is not None:
            await _write(ends.into, data)
        elif kind == INPUT_END:
            if ends.terminal and ends.into is not None:
                await _write(ends.into, b"\x04")
            ends.close_input()
        elif kind == RESIZE and ends.terminal and ends.into is not None:
            _resize(ends.into, *msgspec.json.decode(data, type=tuple[int, int]))


async def _write(descriptor: int, data: bytes) -> None:
    """Write to a pipe or terminal without blocking the loop."""
    os.set_blocking(descriptor, False)
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            await _ready(descriptor, "writer")
        except (BrokenPipeError, OSError):
            return


async def _give_output(descriptor: int, kind: int, writer: asyncio.StreamWriter) -> None:
    """Pass on what the program says, no faster than it is taken."""
    os.set_blocking(descriptor, False)
    while True:
        try:
            data = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            await _ready(descriptor, "reader")
            continue
        except OSError:
            # A terminal whose program has ended answers EIO.
            return
        if not data:
            return
        write_frame(writer, kind, data)
        await writer.drain()


async def _ready(descriptor: int, way: str) -> None:
    """Wait until a descriptor can be read or written."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    add, remove = getattr(loop, f"add_{way}"), getattr(loop, f"remove_{way}")
    add(descriptor, tell)
    try:
        await ready
    finally:
        remove(descriptor)


def _resize(terminal: int, rows: int, columns: int) -> None:
    size = struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


class Session:
    """The node's end of a session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.code: int | None = None

    @classmethod
    async def open(cls, path: Path, ask: Ask) -> Session:
        """Ask a keeper for a session. Raises ENGINE_FAILED if it does not answer."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=2 * CHUNK_BYTES)
        except OSError as error:
            raise ENGINE_FAILED("The workload's keeper does not answer.", why=str(error)) from error
        write_frame(writer, ASK, msgspec.json.encode(ask))
        return cls(reader, writer)

    async def write(self, data: bytes) -> None:
        """Send input."""
        for at in range(0, len(data), CHUNK_BYTES):
            write_frame(self._writer, INPUT, data[at : at + CHUNK_BYTES])
            await self._writer.drain()

    def end_input(self) -> None:
        """Send the end of input."""
        write_frame(self._writer, INPUT_END)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the new size of the terminal."""
        write_frame(self._writer, RESIZE, msgspec.json.encode((rows, columns)))

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield (`stdout` or `stderr`, bytes) until the program ends; then `code` is known.

        Raises what kept the program from starting, or ENGINE_FAILED if the keeper went away.
        """
        while self.code is None:
            frame = await read_frame(self._reader)
            if frame is None:
                raise ENGINE_FAILED("The session was cut: the workload has ended.")
            kind, data = frame
            if kind == FAILED:
                raise from_dict(msgspec.json.decode(data))
            if kind == ENDED:
                self.code = int(data)
            else:
                yield ("stderr" if kind == ERRORS else "stdout"), data

    async def close(self) -> None:
        """End the session, and wait until its connection is gone."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
