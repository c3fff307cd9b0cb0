"""The zygote: a small process that has everything imported and forks the processes of cells.

It has one thread and no event loop, so that forking is safe, and it stays alive when the node's own
process is busy. The node sends a request with two descriptors (the new process's channel and its
output); the zygote answers with the process id, and reports each process that ends with what it
used. When the node dies, the kernel tells the zygote, which ends every process that it forked; when
the zygote dies, the kernel ends them.

What such a process starts and leaves behind becomes the zygote's child. It ends with the process
if it is of its group still, else with the node. Where there are control groups, they end all of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
import os
import select
import signal
import socket
import sys
from pathlib import Path

import msgspec

from skerry.kernel.manifest import Manifest, read_manifests
from skerry.node.sandbox import expose, prepare
from skerry.node.written_pages import Span, copy_ahead, written_by

LENGTH_BYTES = 4
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROCESSES_MAX = 1 << 20


class Fork(msgspec.Struct, frozen=True):
    """A request to fork a process, which prepares to do what the process `like` has done."""

    id: int
    like: int = 0


class Forked(msgspec.Struct, tag=True, frozen=True):
    """A process was forked for the request `id`."""

    id: int
    pid: int


class Ended(msgspec.Struct, tag=True, frozen=True):
    """A process ended: its wait status, CPU time, and largest memory."""

    pid: int
    status: int
    cpu_ms: int
    memory_bytes: int


class Setup(msgspec.Struct, frozen=True):
    """What a zygote is told at its start; `expose` are paths that cells must be able to read."""

    kinds: tuple[str, ...]
    expose: tuple[str, ...] = ()


def main() -> None:
    """Serve the node at the other end of the descriptor named by the first argument."""
    _die_with_parent()
    connection = socket.socket(fileno=int(sys.argv[1]))
    setup = msgspec.msgpack.decode(_receive(connection)[0], type=Setup)
    gc.disable()  # what is imported stays
    manifests = read_manifests(setup.kinds)
    preload(manifests)
    if setup.expose:
        expose(setup.expose)
    prepare()
    gc.collect()
    gc.freeze()
    gc.enable()
    connection.sendall(framed(b"ready"))
    _Zygote(connection, manifests).serve()


def _die_with_parent() -> None:
    parent = os.getppid()
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("The node went away.")


def preload(manifests: dict[str, Manifest]) -> None:
    """Import what processes of cells will need, so that each of them need not.

    A kind whose optional dependency is missing is left out here; its engine says so when started.
    """
    importlib.import_module("skerry.node.cell.process")
    importlib.import_module("uvicorn.protocols.websockets.websockets_sansio_impl")
    for manifest in manifests.values():
        # What is to be known of a type is found out with its first decoder, and kept in it.
        msgspec.msgpack.Decoder(manifest.config)
        wires = (wire.application for wire in manifest.wires if wire.application)
        for dotted in (manifest.engine, manifest.binding, *wires):
            if dotted:
                with contextlib.suppress(ImportError):
                    importlib.import_module(f"{manifest.package}.{dotted.partition(':')[0]}")
        if manifest.engine:
            with contextlib.suppress(ImportError):
                manifest.load(manifest.engine).preload()


class _Zygote:
    def __init__(self, connection: socket.socket, manifests: dict[str, Manifest]) -> None:
        self._connection = connection
        self._manifests = manifests
        self._forked: set[int] = set()
        self._ahead: list[Span] = []
        self._wake, self._wakeup = os.pipe()
        for end in (self._wake, self._wakeup):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)  # the connection says whether to end
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> None:
        """Carry out requests until the node closes the connection, or is gone."""
        try:
            self._serve()
        finally:
            self._end_all()

    def _serve(self) -> None:
        while True:
            readable, _, _ = select.select([self._connection.fileno(), self._wake], [], [])
            if self._wake in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                self._report_ended()
            if self._connection.fileno() in readable and not self._take_request():
                return

    def _take_request(self) -> bool:
        data, descriptors = _receive(self._connection)
        if not data:
            return False
        channel, output = descriptors
        request = msgspec.msgpack.decode(data, type=Fork)
        if request.like in self._forked:
            # A process that slept again at once is gone; an earlier one tells the same.
            self._ahead = written_by(request.like) or self._ahead
        pid = os.fork()
        if pid == 0:
            self._become(channel, output, self._ahead if request.like else [])
        self._forked.add(pid)
        os.close(channel)
        os.close(output)
        self._send(Forked(request.id, pid))
        return True

    def _become(self, channel: int, output: int, ahead: list[Span]) -> None:
        """Become the forked process; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._connection.close()
            os.close(self._wake)
            os.close(self._wakeup)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            copy_ahead(ahead)
            process = importlib.import_module("skerry.node.cell.process")
            process.main(socket.socket(fileno=channel), self._manifests)
            status = 0
        except SystemExit as error:
            sys.stderr.write(f"{error}\n")
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(status)

    def _report_ended(self) -> None:
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid not in self._forked:
                continue
            self._forked.discard(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            cpu_ms = int((used.ru_utime + used.ru_stime) * 1000)
            unit = 1 if sys.platform == "darwin" else 1024
            self._send(Ended(pid, status, cpu_ms, used.ru_maxrss * unit))

    def _end_all(self) -> None:
        """End every child; those that become ours as their parents die, too."""
        for _ in range(_PROCESSES_MAX):
            for pid in self._children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            try:
                self._forked.discard(os.wait4(-1, 0)[0])
            except ChildProcessError:
                return

    def _children(self) -> set[int]:
        try:
            listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        except FileNotFoundError:
            return self._forked
        return self._forked | {int(each) for each in listed.split()}

    def _send(self, message: Forked | Ended) -> None:
        self._connection.sendall(framed(msgspec.msgpack.encode(message)))


def framed(message: bytes) -> bytes:
    """Return a message as it goes over the connection, which is a stream: macOS has no better."""
    return len(message).to_bytes(LENGTH_BYTES) + message


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a message with its descriptors; it is empty when the node has closed the connection.

    Descriptors come with the first byte of their message, and only that one's head is asked for.
    """
    head, descriptors, _, _ = socket.recv_fds(connection, LENGTH_BYTES, 2)
    while head and len(head) < LENGTH_BYTES:
        head += _more(connection, LENGTH_BYTES - len(head))
    length, body = int.from_bytes(head), b""
    while len(body) < length:
        body += _more(connection, length - len(body))
    return body, descriptors


def _more(connection: socket.socket, count: int) -> bytes:
    data = connection.recv(count)
    if not data:
        raise SystemExit("The node went away.")
    return data


@functools.cache
def expose_paths() -> tuple[str, ...]:
    """Return what processes of cells must be able to read: Python, its packages, this source.

    The documentation is part of the package; in a clone it lies beside the source.
    """
    source = Path(__file__).resolve().parents[2]
    paths = {sys.prefix, sys.base_prefix, str(source), str(Path(sys.executable).resolve())}
    documentation = source.parent / "docs"
    if source.name == "src" and documentation.is_dir():
        paths.add(str(documentation))
    return tuple(sorted(paths))


if __name__ == "__main__":
    main()
