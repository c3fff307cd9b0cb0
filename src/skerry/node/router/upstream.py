"""Connections to targets: one response at a time, passed on as it comes, and kept for the next."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol, cast

import httptools

IDLE_PER_TARGET_MAX = 64


class Downstream(Protocol):
    """The client's side of an exchange."""

    def response_bytes(self, data: bytes) -> None:
        """Pass bytes on to the client."""
        ...

    def upgraded(self) -> None:
        """The target agreed to an upgrade: raw bytes from now on."""
        ...

    def response_over(self, reusable: bool) -> None:
        """The response is complete."""
        ...

    def response_lost(self, started: bool, taken: bool) -> None:
        """The target closed before the response was complete; `taken`: it had read the request."""
        ...

    def pause_sending(self) -> None:
        """The target cannot take more of the request now."""
        ...

    def resume_sending(self) -> None:
        """The target can take more of the request."""
        ...


class Upstream(asyncio.Protocol):
    """A connection to a target's unix socket."""

    def __init__(self) -> None:
        self._downstream: Downstream | None = None
        self._parser: httptools.HttpResponseParser
        self._head_only = False
        self._started = False
        self._unsent = False
        self.raw = False
        self._keep = True
        self.on_lost: Callable[[], None] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    @property
    def open(self) -> bool:
        """Whether another request can be sent."""
        return not self.transport.is_closing()

    def begin(self, downstream: Downstream, *, head_only: bool) -> None:
        """Start an exchange; after an upgrade, bytes pass raw until one side closes."""
        self._downstream = downstream
        self._parser = httptools.HttpResponseParser(self)
        self._head_only, self.raw = head_only, False
        self._started, self._unsent, self._keep = False, False, True

    def forget(self) -> None:
        """Break off: nobody waits for the answer any more."""
        self._downstream = None
        if self.raw:
            self.transport.close()
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass on what the target answers, and note when it is complete."""
        downstream = self._downstream
        if downstream is None:
            self.transport.abort()
            return
        self._started = True
        downstream.response_bytes(data)
        if self.raw:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.raw = True
            downstream.upgraded()
        except httptools.HttpParserError:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """See a response's head; one that answers HEAD has no body whatever it says."""
        if self._head_only and self._parser.get_status_code() >= 200:
            self._keep = self._parser.should_keep_alive()
            self._finish()

    def on_message_complete(self) -> None:
        """See the end of a response; an interim one (1xx) is not the end."""
        if self._head_only or self._parser.get_status_code() < 200:
            return
        self._keep = self._parser.should_keep_alive()
        self._finish()

    def _finish(self) -> None:
        downstream, self._downstream = self._downstream, None
        if downstream is not None:
            downstream.response_over(self._keep and self.open)

    def eof_received(self) -> None:
        """Note whether something is on its way to a target that has closed."""
        self._unsent = self.transport.get_write_buffer_size() > 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the client's side; a response without a length ends with the connection.

        A unix socket that closes over bytes that nobody read, or before they came, is reset: a
        plain end tells that all was read (unix(7), Linux).
        """
        downstream, self._downstream = self._downstream, None
        if self.on_lost is not None:
            self.on_lost()
        if downstream is None:
            return
        if self.raw:
            downstream.response_over(False)
        else:
            downstream.response_lost(self._started, exc is None and not self._unsent)

    def pause_writing(self) -> None:
        """Hold the client back."""
        if self._downstream is not None:
            self._downstream.pause_sending()

    def resume_writing(self) -> None:
        """Let the client go on."""
        if self._downstream is not None:
            self._downstream.resume_sending()


class Pool:
    """Idle connections by the path of the target's socket; what is closed is not in it."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[Upstream]] = defaultdict(list)

    def take(self, path: str) -> Upstream | None:
        """Return an idle connection, if there is one."""
        idle = self._idle.get(path)
        if not idle:
            return None
        upstream = idle.pop()
        if not idle:
            del self._idle[path]
        upstream.on_lost = None
        return upstream if upstream.open else self.take(path)

    async def connect(self, path: str) -> Upstream:
        """Make a connection. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_unix_connection(Upstream, path)
        return upstream

    def give(self, path: str, upstream: Upstream, reusable: bool) -> None:
        """Keep a connection for the next request, or close it."""
        if not (reusable and upstream.open) or len(self._idle.get(path, ())) >= IDLE_PER_TARGET_MAX:
            upstream.transport.close()
            return
        # A slow client may have been its last one; the next must not wait for that.
        upstream.transport.resume_reading()
        upstream.on_lost = lambda: self._lost(path, upstream)
        self._idle[path].append(upstream)

    def _lost(self, path: str, upstream: Upstream) -> None:
        idle = self._idle.get(path, [])
        if upstream in idle:
            idle.remove(upstream)
        if not idle:
            self._idle.pop(path, None)

    def drop(self, path: str) -> None:
        """Close what is idle towards a target that goes away."""
        for upstream in self._idle.pop(path, []):
            upstream.on_lost = None
            upstream.transport.close()

    def __len__(self) -> int:
        return sum(len(idle) for idle in self._idle.values())
