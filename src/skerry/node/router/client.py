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

from skerry.kernel.errors import (
    BUSY,
    DENIED,
    ENGINE_FAILED,
    INTERNAL,
    INVALID,
    TIMED_OUT,
    TOO_LARGE,
    SkerryError,
)
from skerry.node.router.gates import TurnedAwayError
from skerry.node.router.head import HEAD_BYTES_MAX, RequestHead, Seen
from skerry.node.router.hold import Hold, Switchboard
from skerry.node.router.origin import opens_page, own_address, redirect, sandboxed
from skerry.node.router.targets import NODE, Target
from skerry.node.router.upstream import Upstream

HEAD_SECONDS = 20.0
BODY_SECONDS = 60.0
"""How long nothing may come of a body: a client that vanished would hold its target awake."""
IDLE_SECONDS = 90.0
LINGER_SECONDS = 2.0
HALF_CLOSED_SECONDS = 5.0
"""How long an answer may be silent while its client has closed its half: it may be gone whole."""
GONE_SECONDS = 1.0
RETRY_SECONDS = 0.2
TRIES_MAX = 3
BUFFER_BYTES_MAX = 256 * 1024
REPLAYABLE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_LAST_CHUNK = b"0\r\n\r\n"
_NEVER = math.inf

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Request:
    """A request on its way: its head, and its body as far as it is kept to be sent (again).

    Once it is `streamed`, some of its body was passed on and is not kept.
    """

    head: RequestHead = field(default_factory=RequestHead)
    body: list[bytes] = field(default_factory=list)
    body_bytes: int = 0
    complete: bool = False
    sent: bool = False
    streamed: bool = False
    attempts: int = 0
    sandboxed: bool = False


class Client(asyncio.Protocol):
    """One accepted connection.

    Reading pauses while more than one request waits, while a body waits for its target, or while
    the target is slow; `_regulate` alone decides it. An error ends the connection once the requests
    before it are answered: what else comes cannot be trusted to be in step.
    """

    def __init__(self, router: Switchboard) -> None:
        self._router = router
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[Request] = deque()
        self._arriving: Request | None = None
        self._loose_bytes = 0
        self._tunnel = False
        self._early: list[bytes] = []
        self._upstream: Upstream | None = None
        self._upstream_full = False
        self._client_full = False
        self._path = ""
        self._hold: Hold | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._failure: SkerryError | None = None
        self._deaf = False
        self._half_closed = False
        self._deadline = self._due = _NEVER
        self._closing = False
        self._answered = False
        self._ended = False
        self._transport: asyncio.Transport
        self._peer = b""
        self._is_proxy = False

    @property
    def idle(self) -> bool:
        """Whether it asks nothing: there is no request whose head is whole."""
        return not (self._requests or self._tunnel)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to read, unless there are too many connections."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]).encode() if peer else b"unix"
        self._is_proxy = self._peer in self._router.proxies
        if not self._router.admit(self):
            self._deaf = True
            refusal = BUSY("The node stops, or has as many connections as it takes.")
            self._transport.write(error_response(refusal))
            self._transport.close()
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
        if self._half_closed and self._client_full:
            self._await_head(HALF_CLOSED_SECONDS)
        elif self._arriving is not None and self._arriving in self._requests:
            if self._holds_back():
                self._await_head(BODY_SECONDS)
            else:
                self._refuse(TIMED_OUT("The request's body stopped coming."))
        elif self._arriving is not None:
            self._refuse(TIMED_OUT("The request's head did not arrive in time."))
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, or the tunnel."""
        if self._deaf:
            return
        if self._tunnel:
            self._send_raw(data)
            return
        self._loose_bytes += len(data)
        try:
            self._feed(data)
            if self._loose_bytes > HEAD_BYTES_MAX:
                raise TOO_LARGE(f"A request's head has at most {HEAD_BYTES_MAX} bytes.")
        except SkerryError as error:
            self._fail(error)
        except httptools.HttpParserError as error:
            cause = error.__context__
            known = cause if isinstance(cause, SkerryError) else None
            self._fail(known or INVALID("This is not HTTP/1.1.", why=str(error)))

    def _feed(self, data: bytes) -> None:
        """Parse; after a request to upgrade, pass the rest on as raw bytes.

        Only a WebSocket is a reason to: any other wish to upgrade is left unheard (RFC 9110, 7.8).
        """
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                if not self._requests or not self._requests[-1].head.upgrade:
                    continue
                self._tunnel = True
                self._send_raw(data)
            return

    def on_message_begin(self) -> None:
        """A request starts."""
        if self._failure is not None:
            raise self._failure
        self._arriving = Request()
        if not self._requests:
            self._await_head(HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        """Take the request's target, which may come in pieces."""
        assert self._arriving is not None
        self._arriving.head.target += url
        self._arriving.head.size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what trails a body comes too late to be one."""
        assert self._arriving is not None
        if not self._arriving.head.method:
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
        if self._parser.should_upgrade() and head.has_body:
            raise INVALID("A request to upgrade has no body.")
        head.check()
        self._loose_bytes = 0
        if head.has_body:
            self._await_head(BODY_SECONDS)
        else:
            self._deadline = _NEVER
        self._requests.append(request)
        if len(self._requests) == 1:
            self._start(request)
        else:
            self._regulate()

    def on_body(self, data: bytes) -> None:
        """Pass a piece of the body on, or keep it until the target is there."""
        request = self._arriving
        assert request is not None
        self._loose_bytes = 0
        self._deadline = self._loop.time() + BODY_SECONDS
        if request.head.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._send_body(request, data)

    def on_chunk_complete(self) -> None:
        """A chunk is whole: only what comes between chunks is loose."""
        self._loose_bytes = 0

    def on_message_complete(self) -> None:
        """The request is whole."""
        request = self._arriving
        assert request is not None
        self._loose_bytes = 0
        if request.head.chunked:
            self._send_body(request, _LAST_CHUNK)
        self._deadline = _NEVER
        request.complete = True
        self._arriving = None

    def _send_body(self, request: Request, data: bytes) -> None:
        if request.sent and self._upstream is not None:
            request.streamed = True
            request.body.clear()
            self._upstream.transport.write(data)
            return
        request.body.append(data)
        request.body_bytes += len(data)
        self._regulate()

    def _send_raw(self, data: bytes) -> None:
        """Pass on what follows an upgrade, but only once the target has agreed to it.

        Else a target that declines would take it for further requests, whose heads nobody checked.
        """
        upstream = self._upstream
        if upstream is not None and upstream.raw:
            upstream.transport.write(data)
        elif data:
            self._early.append(data)
            self._regulate()

    def upgraded(self) -> None:
        """See `Downstream`."""
        if self._upstream is not None:
            self._upstream.transport.write(b"".join(self._early))
        self._early.clear()
        self._regulate()

    def _regulate(self) -> None:
        """Read on, or not."""
        if self._closing or self._half_closed or self._transport.is_closing():
            return
        if self._requests and (self._deaf or self._holds_back()):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _holds_back(self) -> bool:
        """Tell whether the client has to wait with what comes next."""
        waiting = sum(request.body_bytes for request in self._requests if not request.sent)
        busy = len(self._requests) > 1 or self._upstream_full or bool(self._early)
        return busy or waiting > BUFFER_BYTES_MAX

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
        to_node = target.app == NODE and not target.node
        line = request.head.towards(
            target.path, target.prefix, self._seen(request), to_node=to_node
        )
        if hold is not None and upstream is not None:
            self._exchange(request, line, hold, upstream)
            return
        self._task = asyncio.ensure_future(self._wake(request, line, target, hold))

    async def _wake(self, request: Request, line: bytes, target: Target, hold: Hold | None) -> None:
        try:
            hold, upstream = await self._connect(target, hold, line)
            if request not in self._requests:
                hold.close()
                upstream.transport.close()
                return
            if hold.elsewhere:
                line = request.head.towards(
                    request.head.target, b"", self._seen(request), to_node=False
                )
            self._exchange(request, line, hold, upstream)
        except TurnedAwayError as turned:
            refusal = DENIED("The request was turned away at the gate.")
            self._refuse_one(request, refusal, turned.answer)
        except SkerryError as error:
            self._refuse_one(request, error)
        except Exception:
            _log.exception("a request could not be routed")
            defect = INTERNAL("The request could not be routed.", hint="skerry logs")
            self._refuse_one(request, defect)

    def _seen(self, request: Request) -> Seen:
        """Return who is asking, and over what."""
        return request.head.told(self._peer) if self._is_proxy else Seen(self._peer)

    def _refuse_one(self, request: Request, error: SkerryError, answer: bytes = b"") -> None:
        """Refuse a request, unless nobody waits for it any more."""
        if request in self._requests:
            self._refuse(error, sandboxed(answer) if request.sandboxed else answer)

    async def _connect(
        self, target: Target, hold: Hold | None, line: bytes
    ) -> tuple[Hold, Upstream]:
        """Connect to a target; wake it again if it turns out to have just died."""
        for _ in range(TRIES_MAX):
            if hold is None:
                await self._router.knock(target, line)
                hold = await self._router.wake(target)
            try:
                return hold, await self._router.pool.connect(hold.path)
            except OSError as error:
                reason = str(error)
                await hold.gone(GONE_SECONDS)
                hold.close()
                hold = None
        raise ENGINE_FAILED("The target went away.", why=reason)

    def _exchange(self, request: Request, line: bytes, hold: Hold, upstream: Upstream) -> None:
        """Send what has come of the request, and let the answer through."""
        self._hold, self._upstream, self._path = hold, upstream, hold.path
        self._upstream_full = False
        upstream.begin(self, head_only=request.head.method == b"HEAD")
        if self._client_full:
            upstream.transport.pause_reading()
        upstream.transport.write(b"".join((line, *request.body)))
        request.sent = True
        request.attempts += 1
        if request.body_bytes > BUFFER_BYTES_MAX:
            request.streamed = True
            request.body.clear()
        self._regulate()

    def response_bytes(self, data: bytes) -> None:
        """See `Downstream`."""
        if not self._answered and self._requests[0].sandboxed:
            data = sandboxed(data)
        self._answered = True
        self._transport.write(data)
        if self._half_closed:
            self._await_head(HALF_CLOSED_SECONDS)

    def response_over(self, reusable: bool) -> None:
        """See `Downstream`: go on with the next request, or close."""
        request = self._requests.popleft()
        upstream, self._upstream, self._upstream_full = self._upstream, None, False
        path, left = self._path, self._hold is not None and self._hold.leaving
        self._release()
        if upstream is not None:
            whole = request.complete and not request.head.upgrade
            self._router.pool.give(path, upstream, reusable and whole and not left)
        in_step = reusable and request.complete and request.head.keep_alive
        if not request.complete and not self._tunnel:
            self._close_gently()
        elif not in_step or request.head.upgrade:
            self._transport.close()
        elif self._requests:
            self._start(self._requests[0])
            self._regulate()
        elif self._failure is not None:
            self._answered = False
            self._refuse(self._failure)
        elif self._router.draining or self._half_closed:
            self._transport.close()
        else:
            self._answered = False
            self._await_head(IDLE_SECONDS if self._arriving is None else HEAD_SECONDS)
            self._regulate()

    def response_lost(self, started: bool, taken: bool) -> None:
        """See `Downstream`: a response that had begun cannot be mended."""
        self._upstream, self._upstream_full = None, False
        hold, self._hold = self._hold, None
        if started:
            if hold is not None:
                hold.close()
            self._transport.close()
            return
        if taken and hold is not None:
            hold.blame()
        request = self._requests[0]
        request.sent = False
        self._task = asyncio.ensure_future(self._mend(request, hold, taken))

    async def _mend(self, request: Request, hold: Hold | None, taken: bool) -> None:
        """Send a request again, to the process's successor if it has ended, or refuse it.

        Only what cannot happen twice is sent again, and nothing that a process died of: it would
        be the end of each successor too.
        """
        whole = request.complete and not request.streamed and not request.head.upgrade
        again = whole and request.head.method in REPLAYABLE and request.attempts < TRIES_MAX
        reason = ""
        if hold is not None:
            try:
                await hold.gone(RETRY_SECONDS * request.attempts)
                if taken or not again:
                    reason = await hold.how_it_died(GONE_SECONDS)
            finally:
                hold.close()
        if request not in self._requests:
            return
        if again and not reason:
            self._start(request)
            return
        what = "The function or engine ended before it answered."
        self._refuse(ENGINE_FAILED(what, why=reason, hint="skerry logs"))

    def _fail(self, error: SkerryError) -> None:
        """Take nothing more, and refuse once the whole requests before are answered."""
        if self._failure is not None:
            return
        self._failure = error
        self._stop_timer()
        if self._arriving is not None and self._arriving in self._requests:
            # Its body breaks off: its target must not take it for whole.
            if self._arriving is self._requests[0]:
                self._refuse(error)
                return
            self._requests.remove(self._arriving)
        if self._requests:
            self._deaf = True
            self._regulate()
        else:
            self._refuse(error)

    def _refuse(self, error: SkerryError, answer: bytes = b"") -> None:
        """Answer, with the error or as told, and close; a client that still sends is let finish."""
        self._stop_timer()
        self._deaf, self._failure = True, error
        if self._closing or self._answered or self._transport.is_closing():
            self._transport.close()
            return
        self._answered = True
        self._let_go()
        self._transport.write(answer or error_response(error))
        self._close_gently()

    def _close_gently(self) -> None:
        """Close for writing, and let a client that is still sending finish for a moment.

        Closing outright would reset the connection, and the client might never read its answer.
        """
        self._deaf = True
        if self._transport.is_closing():
            return
        if self._half_closed:
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)

    def _release(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def _let_go(self) -> None:
        """Break off the exchange under way."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.forget()
        self._release()
        self._requests.clear()
        self._early.clear()

    def pause_sending(self) -> None:
        """See `Downstream`."""
        self._upstream_full = True
        self._regulate()

    def resume_sending(self) -> None:
        """See `Downstream`."""
        self._upstream_full = False
        self._regulate()

    def pause_writing(self) -> None:
        """The client is slow: hold its target back, nobody else."""
        self._client_full = True
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client takes bytes again."""
        self._client_full = False
        if self._upstream is not None:
            self._upstream.transport.resume_reading()

    def eof_received(self) -> bool:
        """Answer what was asked whole, then close.

        A client that went away looks the same until something is written to it, so an answer that
        is silent for long is given up.
        """
        asked = bool(self._requests) and self._arriving is None and not self._deaf
        if not asked or self._tunnel or self._requests[-1].head.upgrade:
            return False
        self._half_closed = True
        self._await_head(HALF_CLOSED_SECONDS)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away: so does its exchange."""
        self._closing = True
        self._stop_timer()
        self._router.gone(self)
        self._let_go()

    def drain(self) -> None:
        """Close as soon as nothing is in flight; a tunnel has no end of its own."""
        if not self._requests or self._tunnel:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()


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
