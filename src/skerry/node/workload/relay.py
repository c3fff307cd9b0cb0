"""Ports of a workload: what comes in at the keeper is passed into the workload's own network.

A socket belongs to the network in which it was made, wherever it is used. A helper process enters
the workload's network and makes sockets there; the keeper gets them and does the rest. The helper
has no other duty, so that neither the keeper nor the node ever leaves its own network.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.node.workload.datagrams import LOOPBACK, Datagrams
from skerry.node.workload.spawn import Child, enter, fork, open_namespaces
from skerry.node.workload.spec import Port

CONNECTIONS_MAX = 1024
CHUNK_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 5.0
_KINDS = {
    b"4": (socket.AF_INET, socket.SOCK_STREAM),
    b"6": (socket.AF_INET6, socket.SOCK_STREAM),
    b"u": (socket.AF_INET, socket.SOCK_DGRAM),
}
_LOOPBACKS = ((b"4", "127.0.0.1"), (b"6", "::1"))


class Network:
    """Makes sockets in the network of a sandbox."""

    def __init__(self, first: int) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(ANSWER_SECONDS)
        null = os.open(os.devnull, os.O_RDWR)
        end = theirs.detach()
        try:
            work = partial(_make_sockets, end, first)
            self._child: Child = fork(work, (null, null, 2), keep=[end])
        finally:
            os.close(null)
            os.close(end)

    def make(self, family: bytes) -> socket.socket:
        """Return a new socket of the sandbox, by a letter of `_KINDS`. Raises `OSError`."""
        self._ours.send(family)
        data, descriptors, _, _ = socket.recv_fds(self._ours, 16, 1)
        if not descriptors:
            raise ConnectionRefusedError(data.decode() or "the sandbox has ended")
        made = socket.socket(fileno=descriptors[0])
        made.setblocking(False)
        return made

    async def connect(self, port: int) -> socket.socket:
        """Connect to a port of the sandbox's loopback. Raises `OSError`."""
        last: OSError = ConnectionRefusedError()
        for family, address in _LOOPBACKS:
            try:
                made = self.make(family)
            except OSError as error:
                last = error
                continue
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await asyncio.get_running_loop().sock_connect(made, (address, port))
            except OSError as error:
                made.close()
                last = error
                continue
            return made
        raise last

    def close(self) -> None:
        """End the helper."""
        self._ours.close()
        self._child.kill()


def _make_sockets(descriptor: int, first: int) -> None:
    """Make sockets on request, in the network of a process; ends with the connection."""
    joined = ("net",) if os.geteuid() == 0 else ("net", "user")
    enter(open_namespaces(first, joined))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as connection:
        while family := connection.recv(16):
            try:
                with socket.socket(*_KINDS[family]) as made:
                    socket.send_fds(connection, [b"ok"], [made.fileno()])
            except OSError as error:
                connection.send(str(error).encode()[:200] or b"refused")
    os._exit(0)


class Relay:
    """Listens for a workload, as long as its keeper lives, and passes connections in.

    While the program does not run, connections are closed at once.
    """

    def __init__(self, network: Callable[[], Network | None]) -> None:
        self._network = network
        self._servers: list[asyncio.Server] = []
        self._datagrams: list[Datagrams] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, port: Port, path: Path, outside: int) -> int:
        """Listen for a port at a unix socket and at loopback; return the port of loopback.

        `outside` is the one to take, 0 for any. Raises CONFLICT if it is taken.
        """
        number = port.number
        if port.protocol == "udp":
            return await self._listen_udp(number, outside)
        serve = self._serve_port(number)
        self._servers.append(await asyncio.start_unix_server(serve, str(path)))
        try:
            server = await asyncio.start_server(serve, LOOPBACK, outside)
        except OSError as error:
            raise _taken(outside, number, error) from error
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _listen_udp(self, number: int, outside: int) -> int:
        loop = asyncio.get_running_loop()
        try:
            transport, datagrams = await loop.create_datagram_endpoint(
                lambda: Datagrams(number, self._network), (LOOPBACK, outside)
            )
        except OSError as error:
            raise _taken(outside, number, error) from error
        self._datagrams.append(datagrams)
        return int(transport.get_extra_info("sockname")[1])

    def _serve_port(
        self, number: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._connections) >= CONNECTIONS_MAX:
                writer.transport.abort()
                return
            task = asyncio.ensure_future(self._pass(number, reader, writer))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        return serve

    async def _pass(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        network = self._network()
        try:
            if network is None:
                raise ConnectionRefusedError
            made = await network.connect(number)
            inner_reader, inner_writer = await asyncio.open_connection(sock=made)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, inner_writer))
                    both.create_task(_pump(inner_reader, writer))
            finally:
                inner_writer.transport.abort()
        except* OSError:
            # Refused inside, or gone on either side: the client sees a closed connection.
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    def drop(self) -> None:
        """Close every connection, as the program has ended."""
        for task in self._connections:
            task.cancel()
        for each in self._datagrams:
            each.drop()

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers:
            server.close()
        for each in self._datagrams:
            each.close()
        self.drop()


def _taken(outside: int, number: int, error: OSError) -> SkerryError:
    return CONFLICT(
        f"Port {outside} of loopback cannot be opened for port {number}.",
        why=str(error.strerror or error),
    )


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on as fast as they are taken, and then the end."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof() and not writer.is_closing():
        writer.write_eof()
