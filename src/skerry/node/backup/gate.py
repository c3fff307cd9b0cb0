"""The gate between the engine and a store that limits requests: each one waits for its turn.

The engine can bound bytes a second and requests at a time, but not requests a second. So it talks
to this gate, on a port of the loopback that is open as long as it runs, with credentials that are
good for nothing else; the gate checks them, waits, signs anew with the store's own, and passes
bodies on as they come. The engine never learns the store's own credentials that way.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import http.client
import logging
import secrets
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from skerry.kinds._shared.s3 import chunks, sigv4
from skerry.kinds._shared.s3.errors import S3Error
from skerry.node.backup import s3
from skerry.node.backup.destination import Destination
from skerry.node.backup.rate import Rate

CHUNK_BYTES = 256 * 1024
CONNECTIONS_MAX = 128
_POLL_SECONDS = 0.05
_CONNECT_SECONDS = 30.0
_END_SECONDS = 5.0
_IDLE_SECONDS = 90.0
_ANSWER_SECONDS = 300.0
_STALE_SECONDS = 4.0
"""A connection to the store that rested longer is not used again: the store may have closed it."""

_HOP = "connection, keep-alive, proxy-connection, te, trailer, transfer-encoding, upgrade, expect"
_OF_ONE_HOP = frozenset(_HOP.split(", "))
_log = logging.getLogger(__name__)
_BAD = (http.client.HTTPException, OSError, S3Error)


@asynccontextmanager
async def reached(destination: Destination, rate: Rate | None) -> AsyncIterator[Destination]:
    """Yield a destination as the engine reaches it: through a gate if requests are bounded."""
    if rate is None:
        yield destination
        return
    server = _Server(destination, rate)
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL_SECONDS,), name="backup-gate", daemon=True
    )
    thread.start()
    try:
        yield server.inside
    finally:
        await asyncio.to_thread(server.end)


class _Server(ThreadingHTTPServer):
    """Takes the engine's connections, a thread for each."""

    daemon_threads = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, destination: Destination, rate: Rate) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.destination = destination
        self.clock = rate.clock
        self._rate = rate
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self.inside = _inside(destination, self.server_port)

    def wait_turn(self) -> None:
        """Wait until one more request may go; raise ConnectionAbortedError if the gate closes."""
        if self._ending.wait(self._rate.turn_seconds()):
            raise ConnectionAbortedError("The gate closes.")

    def connect(self) -> http.client.HTTPConnection:
        """Connect to the store."""
        found = urlsplit(_outside(self.destination))
        secure = found.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        host = found.netloc.rpartition("@")[2]
        made = kind(host, timeout=_CONNECT_SECONDS, blocksize=CHUNK_BYTES)
        made.connect()
        made.sock.settimeout(_ANSWER_SECONDS)
        self._hold(made.sock)
        return made

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection if there are not too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._hold(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Carry out what comes over a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._release(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note what broke a connection; the engine sees it break, and tries again."""
        _log.debug("a request to a store did not pass: %r", sys.exception())

    def end(self) -> None:
        """Take nothing more, break what is still open, and wait for the threads. Blocks."""
        self.shutdown()
        self._ending.set()
        with self._lock:
            for each in self._open:
                _break(each)
        until = self.clock.monotonic() + _END_SECONDS
        for _ in range(CONNECTIONS_MAX):
            self._free.acquire(timeout=max(0.0, until - self.clock.monotonic()))
        self.server_close()

    def _hold(self, made: socket.socket) -> None:
        with self._lock:
            self._open = {each for each in self._open if each.fileno() >= 0}
            self._open.add(made)
            if self._ending.is_set():
                _break(made)

    def _release(self, made: socket.socket) -> None:
        with self._lock:
            self._open.discard(made)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as the store gets it, and how many bytes of a body the engine sends for it.

    `decoder` takes the engine's chunks apart, where it sends some.
    """

    headers: dict[str, str]
    raw_bytes: int
    decoder: chunks.Decoder | None = None


class _Exchange(BaseHTTPRequestHandler):
    """One connection of the engine, with one of its own to the store."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    server: _Server
    _store: http.client.HTTPConnection | None = None
    _used = 0.0

    def finish(self) -> None:
        """Close both connections."""
        self._drop()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Log nothing: the engine says what failed."""

    def pass_on(self) -> None:
        """Pass a request on, and its answer back."""
        if self.headers.get("transfer-encoding") is not None:
            self.close_connection = True
            self.send_error(411)
            return
        try:
            asked = _for_store(self.server, self.command, self.path, self.headers)
        except S3Error as error:
            self.close_connection = True
            self.send_error(error.status, error.code)
            return
        with self._ask(asked) as answer:
            self._answer(answer)

    def _ask(self, asked: _Asked) -> http.client.HTTPResponse:
        """Return the store's answer; a request without a body is tried again once."""
        for again in (not asked.raw_bytes, False):
            self.server.wait_turn()
            try:
                return self._ask_once(asked)
            except _BAD:
                self._drop()
                if not again:
                    raise
        raise AssertionError("the last try returns or raises")

    def _ask_once(self, asked: _Asked) -> http.client.HTTPResponse:
        store = self._connection()
        store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in asked.headers.items():
            store.putheader(name, value)
        store.endheaders()
        try:
            for data in self._body(asked):
                store.send(data)
        except (BrokenPipeError, ConnectionResetError):
            # A store that refuses a body answers before it closes; what is left is not read.
            self.close_connection = True
        return store.getresponse()

    def _body(self, asked: _Asked) -> Iterator[bytes]:
        """Yield a body as it comes; raise ConnectionAbortedError if it ends early."""
        left = asked.raw_bytes
        while left:
            data = self.rfile.read(min(left, CHUNK_BYTES))
            if not data:
                raise ConnectionAbortedError("The engine went away.")
            left -= len(data)
            yield from asked.decoder.feed(data) if asked.decoder else (data,)
        if asked.decoder:
            asked.decoder.finish()

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        """Pass an answer on; break the connection where the store broke its own."""
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_HOP:
                self.send_header(name, value)
        bare = self.command == "HEAD" or answer.status in (204, 304)
        chunked = answer.length is None and not bare
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        left = None if chunked or bare else answer.length
        while data := b"" if bare else answer.read1(CHUNK_BYTES):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            left = None if left is None else left - len(data)
        if left:
            raise ConnectionResetError("The store broke off.")
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        self._used = self.server.clock.monotonic()
        if answer.will_close:
            self._drop()

    def _connection(self) -> http.client.HTTPConnection:
        if self.server.clock.monotonic() - self._used > _STALE_SECONDS:
            self._drop()
        if self._store is None:
            self._store = self.server.connect()
        return self._store

    def _drop(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(_Exchange, f"do_{_method}", _Exchange.pass_on)


def _inside(destination: Destination, port: int) -> Destination:
    """Return the destination as it is reached through a gate, with credentials for it alone."""
    key, secret = secrets.token_hex(10), secrets.token_urlsafe(24)
    if destination.kind == "s3":
        endpoint = f"http://127.0.0.1:{port}"
        return msgspec.structs.replace(
            destination, endpoint=endpoint, access_key=key, secret_key=secret
        )
    path = urlsplit(_outside(destination)).path
    url = f"rest:http://{key}:{secret}@127.0.0.1:{port}{path}"
    return msgspec.structs.replace(destination, url=url)


def _outside(destination: Destination) -> str:
    """Return the URL at which a store itself is reached."""
    if destination.kind == "s3":
        return destination.endpoint
    return destination.url.removeprefix("rest:")


def _for_store(server: _Server, method: str, target: str, given: Message) -> _Asked:
    """Return a request as the store gets it; raise S3Error if it is not the engine's."""
    headers = {
        name.lower(): value for name, value in given.items() if name.lower() not in _OF_ONE_HOP
    }
    raw_bytes = _length(headers.get("content-length", "0"))
    presented = headers.pop("authorization", "")
    if server.destination.kind == "s3":
        return _signed_anew(server, method, target, headers, presented, raw_bytes)
    outside = urlsplit(_outside(server.destination))
    inside = urlsplit(_outside(server.inside))
    wanted = _basic(inside.username, inside.password)
    if not hmac.compare_digest(presented.encode(), wanted.encode()):
        raise S3Error("AccessDenied", "Not the engine of this node.")
    if outside.username is not None:
        headers["authorization"] = _basic(outside.username, outside.password)
    return _Asked({**headers, "host": outside.netloc.rpartition("@")[2]}, raw_bytes)


def _signed_anew(
    server: _Server,
    method: str,
    target: str,
    headers: dict[str, str],
    authorization: str,
    raw_bytes: int,
) -> _Asked:
    """Check the engine's signature, and sign with the store's own credentials.

    Over plain HTTP the engine signs chunks of the body with its key; what goes on is the body
    alone. Its pieces are named by their digests, so no signature of chunks is needed to trust it.
    """
    inside, destination = server.inside, server.destination
    path, _, query = target.partition("?")
    request = sigv4.Request(method, path, query, tuple(headers.items()))
    presented = sigv4.from_header(request, authorization)
    if not hmac.compare_digest(presented.credential.access_key, inside.access_key):
        raise S3Error("AccessDenied", "Not the engine of this node.")
    sigv4.verify(request, presented, inside.secret_key)
    amazon = {name: headers.pop(name) for name in list(headers) if name.startswith("x-amz-")}
    for name in ("x-amz-date", "x-amz-content-sha256", "x-amz-trailer"):
        amazon.pop(name, None)
    payload, decoder = presented.payload, None
    if payload.startswith(chunks.STREAMING):
        length = _length(amazon.pop("x-amz-decoded-content-length", ""))
        trailers = payload in (chunks.SIGNED_TRAILER, chunks.UNSIGNED_TRAILER)
        decoder = chunks.Decoder(length, None, trailers)
        payload, headers["content-length"] = sigv4.UNSIGNED, str(length)
        if headers.get("content-encoding", "").strip() == "aws-chunked":
            del headers["content-encoding"]
    signed = s3.sign(destination, method, path, query, payload, server.clock.now(), amazon)
    return _Asked({**headers, **signed}, raw_bytes, decoder)


def _length(text: str) -> int:
    """Return the length of a body; raise S3Error if it is none."""
    if not (text.isascii() and text.isdigit()):
        raise S3Error("InvalidRequest", "The length of the body is missing.")
    return int(text)


def _basic(user: str | None, password: str | None) -> str:
    words = f"{unquote(user or '')}:{unquote(password or '')}"
    return f"Basic {base64.b64encode(words.encode()).decode()}"


def _break(made: socket.socket) -> None:
    """Wake whoever waits for a socket; it may be closed already."""
    try:
        made.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
