"""A process's side of the journal: it tells the node of writes, over a socket, and waits.

Frames are a 4-byte length (big-endian) and msgpack: a list of (what, path) from here, and from the
node nothing (`None`) or an error.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skerry.kernel.errors import BUSY, TIMED_OUT, from_dict
from skerry.node.channel import read_exactly

SOCKET = "journal.sock"
"""The name of the node's socket in a resource's directory of sockets."""

WROTE, ANNOUNCED, REPLACED, REMOVED = "wrote", "announced", "replaced", "removed"
ANSWER_BYTES_MAX = 1 << 16
ANSWER_SECONDS = 60.0
"""Longer than the node itself waits for a standby."""
CONNECT_SECONDS = 10.0
FREE_MAX = 16


class SocketJournal:
    """See `kernel.journal.Journal`; safe to use from many threads, one connection for each."""

    replicated = True

    def __init__(self, directory: Path, path: str) -> None:
        self._directory = directory
        self._path = path
        self._free: list[socket.socket] = []
        self._lock = threading.Lock()

    def wrote(self, *paths: Path) -> None:
        """See `Journal.wrote`."""
        self._tell([(WROTE, self._inside(path)) for path in paths])

    def announce(self, *paths: Path) -> None:
        """See `Journal.announce`."""
        self._tell([(ANNOUNCED, self._inside(path)) for path in paths])

    def replaced(self, path: Path) -> None:
        """See `Journal.replaced`."""
        self._tell([(REPLACED, self._inside(path))])

    def removed(self, path: Path) -> None:
        """See `Journal.removed`."""
        self._tell([(REMOVED, self._inside(path))])

    def _inside(self, path: Path) -> str:
        return path.relative_to(self._directory).as_posix()

    def _tell(self, notes: list[tuple[str, str]]) -> None:
        """Tell, and wait for the answer. Raises what the node answers, BUSY and TIMED_OUT."""
        data = msgspec.msgpack.encode(notes)
        try:
            with self._connection() as connection:
                connection.sendall(len(data).to_bytes(4) + data)
                size = int.from_bytes(read_exactly(connection, 4))
                if size > ANSWER_BYTES_MAX:
                    raise OSError("the answer is too long")
                answer = msgspec.msgpack.decode(read_exactly(connection, size))
        except TimeoutError as error:
            raise TIMED_OUT(
                "It was written here, but no standby has said that it has it.",
                why="It may or may not survive this node.",
                hint="skerry nodes",
            ) from error
        except OSError as error:
            raise BUSY(
                "It was written here, but the node did not take it to its standbys.", why=f"{error}"
            ) from error
        if answer is not None:
            raise from_dict(answer)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        """Lend a connection; one that failed is closed."""
        with self._lock:
            connection = self._free.pop() if self._free else None
        if connection is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(ANSWER_SECONDS)
        try:
            if not _connected(connection):
                _connect(connection, self._path)
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if len(self._free) < FREE_MAX:
                self._free.append(connection)
                return
        connection.close()


def _connect(connection: socket.socket, path: str) -> None:
    """Connect; wait a moment for a node that is about to listen. Raises OSError."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            connection.connect(path)
            return
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
