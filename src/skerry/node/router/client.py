"""A client's connection: requests are read in order, each sent to the target that it means.

reading head ─▶ finding and waking ─▶ exchanging ─▶ reading head …
                      │                   │
                      └── error answered ─┘          an upgrade ends in a tunnel of raw bytes
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import httptools
import msgspec

from skerry.kernel.errors import ENGINE_FAILED, INTERNAL, INVALID, TIMED_OUT, TOO_LARGE, SkerryError
from skerry.node.router.head import RequestHead
from skerry.node.router.hold import Hold, Switchboard
from skerry.node.router.origin import opens_page, own_address, redirect, sandboxed
from skerry.node.router.targets import NODE, Target
from skerry.node.router.upstream import Upstream

HEAD_BYTES_MAX = 64 * 1024
HEAD_SECONDS = 20.0
IDLE_SECONDS = 90.0
BUFFER_BYTES_MAX = 256 * 1024
PIPELINED_MAX = 16
REPLAYABLE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_LAST_CHUNK = b"0\r\n\r\n"
_NEVER = math.inf

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Request:
    """A request on its way: its head, and what of its body has come but could not be sent yet."""

    head: RequestHead = field(default_factory=RequestHead)
    body: list[bytes] = field(default_factory=list)
    body_bytes: int = 0
    complete: bool = False
    sent: bool = False
    attempts: int = 0
    sandboxed: bool = False


class Client(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, router: Switchboard) -> None:
        self._router = router
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[Request] = deque()
        self._arriving: Request | None = None
        self._head_bytes = 0
        self._tunnel = False
        self._upstream: Upstream | None = None
        self._path = ""
        self._hold: Hold | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._due = _NEVER
        self._closing = False
        self._answered = False
        self._transport: asyncio.Transport
        self._peer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to read, unless there are too many connections."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]).encode() if peer else b"unix"
        if not self._router.admit(self):
            self._transport.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")
            transport.close()
            return
        self._await_head(HEAD_SECONDS)

    def _await_head(self, seconds: float) -> None:
        """Close the connection unless a head has come by then.

        One timer serves all requests of a connection: it is moved when it would be late, and looks
        again when it was early, as setting one for each request costs more than parsing a head.
        """
        self._deadline = self._loop.time() + seconds
        if self._timer is not None and self._due > self._deadline:
            self._stop_timer()
        if self._timer is None:
            self._set_timer()

    def _set_timer(self) -> None:
        self._due = self._deadline
        self._timer = self._loop.call_at(self._due, self._look_at_clock)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_clock(self) -> None:
        self._timer = None
        if self._deadline > self._due:
            if self._deadline < _NEVER:
                self._set_timer()
            return
        if self._arriving is not None:
            self._refuse(TIMED_OUT("The request's head did not arrive in time."))
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, or the tunnel."""
        if self._tunnel:
            self._send_raw(data)
            return
        try:
            self._parser.feed_data(data)
            if self._arriving is not None and not self._arriving.head.method:
                self._count_head(len(data))
        except httptools.HttpParserUpgrade as upgrade:
            self._tunnel = True
            self._send_raw(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(INVALID("This is not HTTP/1.1.", why=str(error)))

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(TOO_LARGE(f"A request's head has at most {HEAD_BYTES_MAX} bytes."))

    def on_message_begin(self) -> None:
        """A request starts."""
        self._arriving = Request()
        self._head_bytes = 0
        if not self._requests:
            self._await_head(HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        """Take the request's target, which may come in pieces."""
        assert self._arriving is not None
        self._arriving.head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        assert self._arriving is not None
        self._arriving.head.add(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: queue the request; start it if it is the only one."""
        request = self._arriving
        assert request is not None
        head = request.head
        head.method = self._parser.get_method()
        head.version = self._parser.get_http_version().encode()
        head.keep_alive = self._parser.should_keep_alive()
        head.upgrade = head.upgrade and self._parser.should_upgrade()
        self._deadline = _NEVER
        self._requests.append(request)
        if len(self._requests) > PIPELINED_MAX:
            self._refuse(INVALID(f"At most {PIPELINED_MAX} requests may wait on a connection."))
        elif len(self._requests) == 1:
            self._start(request)
        else:
            self._transport.pause_reading()

    def on_body(self, data: bytes) -> None:
        """Pass a piece of the body on, or keep it until the target is there."""
        request = self._arriving
        assert request is not None
        if request.head.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._send_body(request, data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        request = self._arriving
        assert request is not None
        if request.head.chunked:
            self._send_body(request, _LAST_CHUNK)
        request.complete = True
        self._arriving = None

    def _send_body(self, request: Request, data: bytes) -> None:
        if request.sent and self._upstream is not None:
            request.body_bytes = BUFFER_BYTES_MAX + 1
            self._upstream.transport.write(data)
            return
        request.body.append(data)
        request.body_bytes += len(data)
        if request.body_bytes > BUFFER_BYTES_MAX:
            self._transport.pause_reading()

    def _send_raw(self, data: bytes) -> None:
        if not data:
            return
        if self._upstream is not None and self._requests and self._requests[0].sent:
            self._upstream.transport.write(data)
        elif self._requests:
            self._send_body(self._requests[0], data)

    def _start(self, request: Request) -> None:
        """Find the target; go on at once if it is awake, else when it has been woken."""
        self._answered = False
        try:
            target = self._router.find(request.head)
            if target.shares_origin and opens_page(request.head):
                address = own_address(request.head, target, self._router.domain)
                if address is not None:
                    self._transport.write(redirect(address))
                    self._transport.close()
                    return
                request.sandboxed = True
            hold = self._router.hold(target)
        except SkerryError as error:
            self._refuse(error)
            return
        upstream = None if hold is None else self._router.pool.take(hold.path)
        to_node = target.app == NODE
        line = request.head.towards(target.path, target.prefix, self._peer, to_node=to_node)
        if hold is not None and upstream is not None:
            self._exchange(request, line, hold, upstream)
            return
        self._task = asyncio.ensure_future(self._wake(request, line, target, hold))

    async def _wake(self, request: Request, line: bytes, target: Target, hold: Hold | None) -> None:
        try:
            if hold is None:
                hold = await self._router.wake(target)
            try:
                upstream = await self._router.pool.connect(hold.path)
            except OSError as error:
                hold.close()
                raise ENGINE_FAILED("The target went away.", why=str(error)) from error
            if self._closing:
                hold.close()
                upstream.transport.close()
                return
            self._exchange(request, line, hold, upstream)
        except SkerryError as error:
            self._refuse(error)
        except Exception:
            _log.exception("a request could not be routed")
            self._refuse(INTERNAL("The request could not be routed.", hint="skerry logs"))

    def _exchange(self, request: Request, line: bytes, hold: Hold, upstream: Upstream) -> None:
        """Send what has come of the request, and let the answer through."""
        self._hold, self._upstream, self._path = hold, upstream, hold.path
        upstream.begin(self, head_only=request.head.method == b"HEAD", raw=False)
        upstream.transport.write(b"".join((line, *request.body)))
        request.sent = True
        if request.body_bytes <= BUFFER_BYTES_MAX and request.complete:
            request.attempts += 1
        else:
            request.body.clear()
        self._transport.resume_reading()

    def response_bytes(self, data: bytes) -> None:
        """See `Downstream`."""
        if not self._answered and self._requests[0].sandboxed:
            data = sandboxed(data)
        self._answered = True
        self._transport.write(data)

    def response_over(self, reusable: bool) -> None:
        """See `Downstream`: go on with the next request, or close."""
        request = self._requests.popleft()
        upstream, self._upstream = self._upstream, None
        self._release()
        if reusable and request.complete and upstream is not None:
            self._router.pool.give(self._path, upstream)
        elif upstream is not None:
            upstream.transport.close()
        if not (reusable and request.complete and request.head.keep_alive) or self._tunnel:
            self._transport.close()
        elif self._requests:
            self._start(self._requests[0])
        else:
            self._transport.resume_reading()
            if self._router.draining:
                self._transport.close()
            else:
                self._await_head(IDLE_SECONDS)

    def response_lost(self, started: bool) -> None:
        """See `Downstream`: try once more if nothing can have happened twice."""
        self._upstream = None
        self._release()
        request = self._requests[0]
        replayable = request.complete and request.head.method in REPLAYABLE
        if not started and replayable and request.attempts == 1:
            request.sent = False
            self._start(request)
        elif started:
            self._transport.close()
        else:
            self._refuse(
                ENGINE_FAILED(
                    "The function or engine ended before it answered.", hint="skerry logs"
                )
            )

    def _refuse(self, error: SkerryError) -> None:
        """Answer with an error, and close: what else comes cannot be trusted to be in step."""
        if not self._closing and not self._answered:
            self._transport.write(error_response(error))
        self._transport.close()

    def _release(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def pause_sending(self) -> None:
        """See `Downstream`."""
        self._transport.pause_reading()

    def resume_sending(self) -> None:
        """See `Downstream`."""
        self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client is slow: hold its target back, nobody else."""
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client takes bytes again."""
        if self._upstream is not None:
            self._upstream.transport.resume_reading()

    def eof_received(self) -> bool:
        """Let an answer on its way finish, unless the connection is a tunnel."""
        return bool(self._requests) and not self._tunnel

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away: so does its exchange."""
        self._closing = True
        self._stop_timer()
        self._router.gone(self)
        if self._upstream is not None:
            self._upstream.transport.abort()
            self._upstream = None
        self._release()

    def drain(self) -> None:
        """Close as soon as nothing is in flight."""
        if not self._requests:
            self._transport.close()


def error_response(error: SkerryError) -> bytes:
    """Return an HTTP problem (RFC 9457) for an error, as whole response bytes."""
    body = msgspec.json.encode(
        {"type": error.as_dict()["docs"], "title": error.what, "status": error.problem.http}
        | error.as_dict()
    )
    retry = b"Retry-After: 1\r\n" if error.problem.temporary else b""
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
        b"%bConnection: close\r\n\r\n%b"
        % (error.problem.http, error.code.encode(), len(body), retry, body)
    )
