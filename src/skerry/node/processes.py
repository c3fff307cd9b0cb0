"""The node's side of the zygote: it starts processes and hears how they end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.kernel.errors import ENGINE_FAILED
from skerry.node.zygote import (
    LENGTH_BYTES,
    Ended,
    Fork,
    Forked,
    Setup,
    expose_paths,
    framed,
)

START_SECONDS = 30.0
STOP_SECONDS = 10.0
READ_BYTES = 64 * 1024
_READY = framed(b"ready")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Child:
    """A process that was forked: its id, the node's end of its channel, and its output."""

    pid: int
    channel: socket.socket
    output: int
    ended: asyncio.Future[Ended]


def how_it_ended(status: int) -> str:
    """Return in words how a process ended, from its wait status."""
    if not os.WIFSIGNALED(status):
        return f"exit status {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    likely = ", most often because it used more memory than it may"
    return signal.Signals(number).name + (likely if number == signal.SIGKILL else "")


class Processes:
    """Starts processes of cells through a zygote; starts another zygote if one dies.

    `folders` are those of the node in which cells work, wherever its operator had it put them.
    """

    def __init__(self, kinds: Sequence[str], folders: Sequence[Path]) -> None:
        expose = (*expose_paths(), *map(str, folders)) if os.geteuid() == 0 else ()
        self._setup = msgspec.msgpack.encode(Setup(tuple(kinds), expose))
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._children: dict[int, asyncio.Future[Ended]] = {}
        self._connection: socket.socket | None = None
        self._received = b""
        self._zygote: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Start the zygote; harmless if it runs."""
        async with self._starting:
            if self._connection is None:
                await self._start()

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "skerry.node.zygote", str(theirs.fileno())]
        # The kernel ends the zygote with the thread that started it, so it must be this one.
        self._zygote = subprocess.Popen(  # noqa: ASYNC220
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(ours, framed(self._setup))
            greeting = b""
            async with asyncio.timeout(START_SECONDS):
                while len(greeting) < len(_READY):
                    data = await loop.sock_recv(ours, len(_READY) - len(greeting))
                    if not data:
                        break
                    greeting += data
            if greeting != _READY:
                raise ENGINE_FAILED(
                    "The process that starts cells did not come up.",
                    why="Its message is above.",
                    hint="skerry doctor",
                )
        except BaseException:
            ours.close()
            self._zygote.kill()
            self._zygote.wait()
            self._zygote = None
            raise
        self._connection = ours
        self._received = b""
        loop.add_reader(ours.fileno(), self._read, ours)

    async def fork(self, like: int = 0) -> Child:
        """Fork a process; it waits for its first frame on the channel.

        Meanwhile it copies the memory that the process `like` has written to since its own fork.
        """
        await self.start()
        connection = self._connection
        assert connection is not None
        ours, theirs = socket.socketpair()
        output, their_output = os.pipe()
        request = next(self._ids)
        forked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[request] = forked
        try:
            data = msgspec.msgpack.encode(Fork(request, like))
            _send(connection, framed(data), [theirs.fileno(), their_output])
            async with asyncio.timeout(START_SECONDS):
                pid = await forked
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            self._waiting.pop(request, None)
            theirs.close()
            os.close(their_output)
        return Child(pid, ours, output, self._children[pid])

    def _read(self, connection: socket.socket) -> None:
        """Take what the zygote reports; several messages may have come, or a part of one."""
        try:
            data = connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._zygote_died(connection)
            return
        self._received += data
        while len(self._received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._received[:LENGTH_BYTES])
            if len(self._received) < end:
                return
            message, self._received = self._received[LENGTH_BYTES:end], self._received[end:]
            self._take(msgspec.msgpack.decode(message, type=Forked | Ended))

    def _take(self, message: Forked | Ended) -> None:
        if isinstance(message, Forked):
            self._children[message.pid] = asyncio.get_running_loop().create_future()
            waiting = self._waiting.get(message.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(message.pid)
            return
        ended = self._children.pop(message.pid, None)
        if ended is not None and not ended.done():
            ended.set_result(message)

    def _zygote_died(self, connection: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(connection.fileno())
        connection.close()
        self._connection = None
        self._reap()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ENGINE_FAILED("The process that starts cells died."))
        for pid, ended in self._children.items():
            if not ended.done():
                ended.set_result(Ended(pid, 9, 0, 0))
        self._children.clear()

    def _reap(self) -> None:
        if self._zygote is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._zygote.wait(timeout=1)
            _log.warning("the zygote ended with status %s", self._zygote.returncode)
            self._zygote = None

    def pids(self) -> list[int]:
        """Return the zygote, if it runs."""
        return [self._zygote.pid] if self._zygote is not None else []

    async def stop(self) -> None:
        """End the zygote, which ends all that runs still."""
        if self._connection is None or self._zygote is None:
            return
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
        self._connection.close()
        self._connection = None
        zygote, self._zygote = self._zygote, None
        await asyncio.to_thread(_end, zygote)


def _send(connection: socket.socket, data: bytes, descriptors: list[int]) -> None:
    """Send a message with its descriptors; raise ENGINE_FAILED if the zygote does not read.

    It is a few bytes: where not all of them fit, nobody has read for long.
    """
    try:
        sent = socket.send_fds(connection, [data], descriptors)
    except BlockingIOError:
        sent = 0
    if sent < len(data):
        # What comes after a part of a message could not be read: it counts as dead.
        connection.shutdown(socket.SHUT_RDWR)
        raise ENGINE_FAILED("The process that starts cells does not listen.")


def _end(zygote: subprocess.Popen[bytes]) -> None:
    """Wait until the zygote has ended by itself, or make it."""
    try:
        zygote.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _log.warning("the zygote does not end by itself")
        zygote.kill()
        zygote.wait()


def environment() -> dict[str, str]:
    """Return what user code may see of the node's environment: where programs and packages are."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}


OutputSink = Callable[[str], None]


async def read_lines(descriptor: int, sink: OutputSink, line_bytes_max: int) -> None:
    """Give each line of a pipe to `sink`; cut lines that are over the limit."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=line_bytes_max)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    sink(error.partial.decode(errors="replace"))
                return
            except asyncio.LimitOverrunError:
                line = await reader.read(line_bytes_max)
            sink(line.rstrip(b"\n").decode(errors="replace"))
    finally:
        transport.close()
