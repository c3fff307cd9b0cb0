"""Calling another node: one request over mutual TLS, bounded in time and size."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from skerry.federation.identity import Identity, check_certificate
from skerry.federation.peers import Peer
from skerry.federation.tls import client_context, joining_context
from skerry.kernel.errors import (
    INTERNAL,
    INVALID,
    NODE_UNREACHABLE,
    UNAUTHENTICATED,
    SkerryError,
    from_dict,
)

ANSWER_BYTES_MAX = 16 << 20
SECONDS = 10.0
CALLS_AT_ONCE = 16

T = TypeVar("T")


class Calls:
    """The calls that a node makes to others."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, "federation-call")

    async def ask(
        self, peer: Peer, path: str, body: msgspec.Struct, wanted: type[T], seconds: float = SECONDS
    ) -> T:
        """Return what a peer answers.

        Raises NODE_UNREACHABLE, UNAUTHENTICATED if another node answers in its place, and any
        error that the peer itself reports.
        """
        data = msgspec.json.encode(body)

        def exchange() -> bytes:
            context = client_context(self._identity, peer.authority)
            return _exchange(peer.card.url, context, peer.public_key, path, data, seconds)

        return _read(await self._run(exchange), wanted)

    async def timed(
        self,
        peer: Peer,
        path: str,
        bodies: Sequence[msgspec.Struct],
        monotonic: Callable[[], float],
        seconds: float,
    ) -> list[tuple[float, bytes]]:
        """Ask one thing after another over one connection; return how long each took, and answers.

        The time of the connection itself is not in it. Raises as `ask` does.
        """
        asked = [msgspec.json.encode(body) for body in bodies]

        def exchange() -> list[tuple[float, bytes]]:
            context = client_context(self._identity, peer.authority)
            return _exchanges(peer, context, path, asked, monotonic, seconds)

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, exchange)

    async def send(
        self, peer: Peer, path: str, chunks: Iterable[bytes], seconds: float, wanted: type[T]
    ) -> T:
        """Send a stream of bytes to a peer and return what it answers; raises as `ask` does."""

        def exchange() -> bytes:
            context = client_context(self._identity, peer.authority)
            return _exchange(peer.card.url, context, peer.public_key, path, chunks, seconds)

        return _read(await self._run(exchange), wanted)

    async def join(self, url: str, public_key: bytes, body: msgspec.Struct, wanted: type[T]) -> T:
        """Call a node that does not know us yet, and is known to us by its key alone."""
        data = msgspec.json.encode(body)

        def exchange() -> bytes:
            return _exchange(url, joining_context(), public_key, "/join", data, SECONDS)

        return _read(await self._run(exchange), wanted)

    async def _run(self, exchange: Callable[[], bytes]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._pool, exchange)

    def line(self, peer: Peer) -> Line:
        """Return a line to a peer: a connection that stays open between requests."""
        return Line(peer, self._identity, self._run)

    def close(self) -> None:
        """Take no more calls; those under way end by their time limits."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Connection(http.client.HTTPSConnection):
    """A connection that is used only after the node at its end has proved who it is."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext, public_key: bytes, seconds: float
    ) -> None:
        super().__init__(host, port, context=context, timeout=seconds)
        self._public_key = public_key

    def connect(self) -> None:
        """See `http.client.HTTPSConnection.connect`. Raises UNAUTHENTICATED."""
        super().connect()
        assert isinstance(self.sock, ssl.SSLSocket)
        found = self.sock.getpeercert(binary_form=True)
        if found is None:
            raise UNAUTHENTICATED("The node there shows no certificate.")
        check_certificate(found, self._public_key)


class Line:
    """Requests to one peer, one after the other, over a connection that is kept."""

    def __init__(
        self,
        peer: Peer,
        identity: Identity,
        run: Callable[[Callable[[], bytes]], Awaitable[bytes]],
    ) -> None:
        self._peer = peer
        self._identity = identity
        self._run = run
        self._connection: _Connection | None = None

    async def ask(self, path: str, data: bytes, wanted: type[T], seconds: float) -> T:
        """Return what the peer answers; raises as `Calls.ask` does."""
        return _read(await self._run(lambda: self._exchange(path, data, seconds)), wanted)

    def _exchange(self, path: str, data: bytes, seconds: float) -> bytes:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                return self._once(connection, path, data, seconds)
            except (http.client.BadStatusLine, ConnectionError):
                # The peer closes a connection that was idle; the request did not get there.
                connection.close()
        host, port = address_of(self._peer.card.url)
        context = client_context(self._identity, self._peer.authority)
        fresh = _Connection(host, port, context, self._peer.public_key, seconds)
        try:
            return self._once(fresh, path, data, seconds)
        except (OSError, http.client.HTTPException) as error:
            raise _silent(self._peer.card.url, error) from error

    def _once(self, connection: _Connection, path: str, data: bytes, seconds: float) -> bytes:
        url = self._peer.card.url
        try:
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            headers = {"Content-Type": "application/octet-stream"}
            connection.request("POST", path, data, headers)
            found = _answer(url, connection)
        except SkerryError:
            self._connection = connection
            raise
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return found

    def close(self) -> None:
        """Close the connection, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _exchanges(
    peer: Peer,
    context: ssl.SSLContext,
    path: str,
    asked: Sequence[bytes],
    monotonic: Callable[[], float],
    seconds: float,
) -> list[tuple[float, bytes]]:
    url = peer.card.url
    connection = _Connection(*address_of(url), context, peer.public_key, seconds)
    found = []
    try:
        connection.connect()
        for body in asked:
            began = monotonic()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            data = _answer(url, connection)
            found.append((monotonic() - began, data))
    except (OSError, http.client.HTTPException) as error:
        raise _silent(url, error) from error
    finally:
        connection.close()
    return found


def _silent(url: str, error: Exception) -> SkerryError:
    return NODE_UNREACHABLE(
        f"The node at {url} does not answer.", why=f"{error}.", hint="skerry nodes"
    )


def _exchange(
    url: str,
    context: ssl.SSLContext,
    public_key: bytes,
    path: str,
    body: bytes | Iterable[bytes],
    seconds: float,
) -> bytes:
    host, port = address_of(url)
    connection = _Connection(host, port, context, public_key, seconds)
    headers = {"Content-Type": "application/json"}
    if not isinstance(body, bytes):
        headers = {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}
    try:
        chunked = not isinstance(body, bytes)
        connection.request("POST", path, body, headers, encode_chunked=chunked)
        return _answer(url, connection)
    except (OSError, http.client.HTTPException) as error:
        raise _silent(url, error) from error
    finally:
        connection.close()


def _answer(url: str, connection: _Connection) -> bytes:
    """Return the body of an answer; raise what the peer reports."""
    answer = connection.getresponse()
    data = answer.read(ANSWER_BYTES_MAX + 1)
    if len(data) > ANSWER_BYTES_MAX:
        raise INVALID(f"The answer of {url} is larger than {ANSWER_BYTES_MAX} bytes.")
    if answer.status >= 400:
        raise _error(url, answer.status, data)
    return data


def address_of(url: str) -> tuple[str, int]:
    """Return the host and port of a federation URL; raise INVALID."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "https" or not parts.hostname or not port:
        raise INVALID(
            f"{url[:200]!r} is not where a node's federation port is.",
            why="It looks like https://node.example:7880.",
        )
    return parts.hostname, port


def _error(url: str, status: int, data: bytes) -> SkerryError:
    try:
        shape: Any = msgspec.json.decode(data)
    except msgspec.DecodeError:
        shape = None
    if isinstance(shape, dict) and "code" in shape:
        return from_dict(shape)
    return INTERNAL(f"{url} answers HTTP {status}, and not as a node does.")


def _read(data: bytes, wanted: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=wanted)
    except msgspec.DecodeError as error:
        raise INVALID("The answer is not what a node of this version says.", why=f"{error}.") from (
            error
        )
