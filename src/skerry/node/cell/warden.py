"""The warden of a program apart: it keeps the program in its sandbox, and is all that it meets.

    forked by the zygote ─ leaves the network, and the sight of other processes
      └─ the warden, first of a process namespace: confined, and told where the resource's wire is
           └─ the program, confined once more: it sees its folder, and the warden's port

The warden listens where `WAY_IN` is, and passes the bytes of every connection on to the unix socket
of the one resource; it keeps what the program says, bounds its time and its disk, and when it ends,
ends with it whatever the program started: a process namespace lives as long as its first process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec

from skerry.kernel.apart import LOG, WAY_IN_PORT, WORK, Program
from skerry.kernel.clock import Clock, SystemClock
from skerry.node.cell.said import Said
from skerry.node.sandbox import Confinement, confine, linux
from skerry.node.sandbox.network import leave

END = "end"
"""The file, below the program's folder, that says how it ended."""

GRACE_SECONDS = 5.0
LOOK_SECONDS = 0.25
FILES_MAX = 100_000
CONNECTIONS_MAX = 64
_CHUNK = 64 * 1024
_DRAIN_SECONDS = 2.0


class WardenSpec(msgspec.Struct, frozen=True, tag="apart"):
    """What a warden is told: the program, its folder, the wire's socket, and both sandboxes."""

    program: Program
    folder: str
    wire: str
    outer: Confinement
    inner: Confinement


class End(msgspec.Struct, frozen=True):
    """How the program ended."""

    code: int
    reason: str


def main(spec: WardenSpec) -> None:
    """Run a program to its end; the zygote has just forked this process. Never returns."""
    # Listening comes after leaving: the port is one of the new network.
    leave(linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS)
    listener = socket.create_server(("127.0.0.1", WAY_IN_PORT), backlog=CONNECTIONS_MAX)
    warden = os.fork()
    if warden == 0:
        code = 1
        try:
            code = asyncio.run(_Warden(spec, listener, SystemClock()).run())
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        finally:
            os._exit(code)
    listener.close()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(warden, signal.SIGTERM))
    _, status = os.waitpid(warden, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


class _Warden:
    def __init__(self, spec: WardenSpec, listener: socket.socket, clock: Clock) -> None:
        self._spec = spec
        self._listener = listener
        self._clock = clock
        self._folder = Path(spec.folder)
        confine(spec.outer)
        self._said = Said(self._folder / LOG, spec.program.log_bytes, clock)
        output, inner = os.pipe()
        self._output = output
        self._program = os.fork()
        if self._program == 0:
            _become(spec, inner)
        os.close(inner)
        self._status: int | None = None
        self._reason = ""
        self._changed = asyncio.Event()
        self._passing: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """See that the program ends, and how; return its exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGTERM, self._give_reason, "stopped")
        self._reap()
        server = await asyncio.start_server(self._pass_on, sock=self._listener)
        reading = asyncio.create_task(self._read())
        watching = asyncio.create_task(self._watch())
        await self._until_over()
        watching.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # all of the namespace but its first process
        with contextlib.suppress(TimeoutError):
            # What held the other end of the pipe has gone.
            await asyncio.wait_for(reading, _DRAIN_SECONDS)
        server.close()
        code = os.waitstatus_to_exitcode(self._status or 0)
        code = code if code >= 0 else 128 - code
        self._said.close()
        data = msgspec.json.encode(End(code, self._reason or "exited"))
        await asyncio.to_thread((self._folder / END).write_bytes, data)
        return code

    def _reap(self) -> None:
        """Take the ends of all processes of the namespace: orphans are the warden's children."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._program:
                self._status = status
                self._changed.set()

    def _give_reason(self, reason: str) -> None:
        """Note why the program has to end now; the first reason counts."""
        self._reason = self._reason or reason
        self._changed.set()

    async def _until_over(self) -> None:
        await self._changed.wait()
        if self._status is not None:
            return
        # The program leads a session of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._program, signal.SIGTERM)
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        while self._status is None:
            self._changed.clear()
            await self._changed.wait()

    async def _watch(self) -> None:
        """End the program once its time is over, or its disk is full."""
        program = self._spec.program
        until = self._clock.monotonic() + program.seconds
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._clock.monotonic() >= until:
                self._give_reason("timed-out")
            used = await asyncio.to_thread(_tree_bytes, self._folder / WORK)
            if used > program.disk_bytes:
                self._give_reason("disk-full")

    async def _read(self) -> None:
        """Keep what the program says, to the end of its output."""
        reader = asyncio.StreamReader(limit=_CHUNK)
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(self._output, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while data := await reader.read(_CHUNK):
                self._said.take(data)
        finally:
            transport.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client of the program's with the wire of the resource."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._passing) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._passing.add(task)
        try:
            inner, outer = await asyncio.open_unix_connection(self._spec.wire)
            await asyncio.gather(_pump(reader, outer), _pump(inner, writer))
        except OSError as error:
            self._said.say(f"The node does not answer: {error}")
        finally:
            writer.close()
            self._passing.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        # One of the two hung up; there is nobody left to tell.
        writer.close()


def _become(spec: WardenSpec, output: int) -> None:
    """Become the program; never returns."""
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for each in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(each, signal.SIG_DFL)
        confine(spec.inner)
        os.chdir(Path(spec.folder) / WORK)
        argv = spec.program.argv
        os.execve(argv[0], list(argv), spec.program.environment)  # noqa: S606
    except BaseException as error:
        os.write(2, f"The program could not be started: {error}\n".encode())
    finally:
        os._exit(126)


def _tree_bytes(folder: Path) -> int:
    """Return what a tree occupies; more files than any program needs count as a full disk."""
    total = count = 0
    waiting = [str(folder)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            # It went while the program ran, or cannot be entered, and its bytes are counted later.
            continue
        with entries:
            for entry in entries:
                count += 1
                if count > FILES_MAX:
                    return sys.maxsize
                try:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                except FileNotFoundError:
                    continue
    return total
