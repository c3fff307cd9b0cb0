"""Connections to providers: one HTTP client, bounded, that follows no redirect and buffers nothing.

A redirect would take a prompt to a place that nobody decided on, so it counts as a failure.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kinds.models.config import ModelsConfig
from skerry.kinds.models.gateway.failure import FailureError
from skerry.kinds.models.gateway.refusals import refusal, wait_seconds
from skerry.kinds.models.gateway.routes import Provider, Route

READ_BUFFER_BYTES = 16 << 10
ANSWER_BYTES_MAX = 64 << 20
ERROR_BYTES_MAX = 64 << 10
_PATHS = {"chat": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings"}
_OTHER_ROUTE = frozenset((401, 402, 403, 404, 408, 409, 425, 429))
_SAME_ROUTE = frozenset((408, 409, 425, 429, 500, 502, 503, 504))


class RouteError(Exception):
    """A route did not answer. `again`: the same route may, `other`: another one may."""

    def __init__(
        self, failure: FailureError, *, again: bool, other: bool, wait: float | None = None
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.again = again
        self.other = other
        self.wait = wait


class Reply:
    """A provider's answer that has begun."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        provider: str,
        idle: float,
        ended: Callable[[], None],
    ) -> None:
        self._response = response
        self._ended = ended
        self._over = False
        self._provider = provider
        self._idle_seconds = idle
        self.streams = response.content_type == "text/event-stream"

    async def read(self) -> bytes:
        """Return the whole body; raise RouteError if it breaks off or is too large."""
        data = bytearray()
        async for part in self.parts():
            data += part
            if len(data) > ANSWER_BYTES_MAX:
                self.close()
                raise RouteError(
                    FailureError(502, f"{self._provider}: its answer is too large."),
                    again=False,
                    other=True,
                )
        return bytes(data)

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield bytes as they come; raise RouteError if they stop."""
        content = self._response.content
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    part = await content.readany()
            except TimeoutError as error:
                self.close()
                message = f"{self._provider}: nothing came for {self._idle_seconds:g} s."
                failure = FailureError(504, message, kind="server_error", code="timeout")
                raise RouteError(failure, again=False, other=True) from error
            except aiohttp.ClientError as error:
                self.close()
                raise RouteError(_broken(self._provider, error), again=True, other=True) from error
            if not part:
                return
            yield part

    def close(self) -> None:
        """Break off: the provider sees the connection close."""
        self._response.close()
        self._end()

    def done(self) -> None:
        """Give the connection back for the next call."""
        self._response.release()
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._ended()


class Upstream:
    """The HTTP client of one resource."""

    def __init__(self, config: ModelsConfig, secrets: Mapping[str, str], clock: Clock) -> None:
        self._clock = clock
        self._config = config
        self._secrets = secrets
        self._session: aiohttp.ClientSession | None = None
        self._local: dict[str, aiohttp.ClientSession] = {}
        self._running: Counter[str] = Counter()

    async def close(self) -> None:
        """Close every connection."""
        sessions = [*self._local.values(), *([self._session] if self._session else [])]
        self._session, self._local = None, {}
        for session in sessions:
            await session.close()

    async def open(self, route: Route, operation: str, body: bytes, socket: str = "") -> Reply:
        """Send a call; return the reply once its head is there, or raise RouteError."""
        provider = route.provider
        if self._running[provider.name] >= provider.concurrency:
            raise _full(provider)
        self._running[provider.name] += 1
        try:
            return await self._open(route, operation, body, socket)
        except BaseException:
            self._running[provider.name] -= 1
            raise

    def _ended(self, provider: str) -> None:
        self._running[provider] -= 1

    async def _open(self, route: Route, operation: str, body: bytes, socket: str) -> Reply:
        provider = route.provider
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        headers |= dict(provider.headers)
        if provider.secret:
            headers["Authorization"] = f"{provider.quirks.auth} {self._secret(route)}"
        base = "http://local/v1" if socket else provider.base_url
        session = self._local_session(socket) if socket else self._remote_session()
        try:
            async with asyncio.timeout(self._config.first_seconds):
                response = await session.post(
                    base + _PATHS[operation], data=body, headers=headers, allow_redirects=False
                )
        except TimeoutError as error:
            message = f"{provider.name}: no answer within {self._config.first_seconds:g} s."
            failure = FailureError(504, message, kind="server_error", code="timeout")
            raise RouteError(failure, again=False, other=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RouteError(_broken(provider.name, error), again=True, other=True) from error
        if response.status == 200:
            ended = functools.partial(self._ended, provider.name)
            return Reply(response, provider.name, self._config.idle_seconds, ended)
        raise await self._refused(response, provider.name)

    async def _refused(self, response: aiohttp.ClientResponse, provider: str) -> RouteError:
        status = response.status
        try:
            async with asyncio.timeout(self._config.connect_seconds):
                body = await response.content.read(ERROR_BYTES_MAX)
        except (TimeoutError, aiohttp.ClientError):
            body = b""  # the status says enough
        response.close()
        wait = wait_seconds(response.headers, self._clock.now() / NANOSECONDS)
        if 300 <= status < 400:
            failure = FailureError(502, f"{provider}: it redirects, which is not followed.")
            return RouteError(failure, again=False, other=True)
        failure = refusal(status, body, provider)
        if status in (401, 402, 403):
            # The provider refused our key, not the client's: that is a fault of the set-up here.
            failure.status, failure.kind, failure.code = 502, "server_error", "provider_key_refused"
        other = status >= 500 or status in _OTHER_ROUTE
        return RouteError(failure, again=status in _SAME_ROUTE, other=other, wait=wait)

    def _secret(self, route: Route) -> str:
        secret = self._secrets.get(route.provider.secret)
        if secret:
            return secret.strip()
        name = route.provider.secret
        failure = FailureError(
            503,
            f"{route.provider.name}: its key {name} is not set, or not among the secrets of this "
            f"resource in skerry.toml. Run: skerry secret set {name}",
            kind="server_error",
            code="provider_key_missing",
        )
        raise RouteError(failure, again=False, other=True)

    def _remote_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._make(aiohttp.TCPConnector(limit=0, ttl_dns_cache=60))
        return self._session

    def _local_session(self, socket: str) -> aiohttp.ClientSession:
        if socket not in self._local:
            self._local[socket] = self._make(aiohttp.UnixConnector(socket, limit=0))
        return self._local[socket]

    def _make(self, connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
        seconds = self._config.connect_seconds
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=seconds),
            read_bufsize=READ_BUFFER_BYTES,
            skip_auto_headers=("User-Agent",),
            headers={"User-Agent": "skerry"},
        )


def _full(provider: Provider) -> RouteError:
    message = f"{provider.name}: {provider.concurrency} calls run already."
    failure = FailureError(503, message, kind="server_error", code="overloaded")
    return RouteError(failure, again=False, other=True, wait=0.0)


def _broken(provider: str, error: Any) -> FailureError:
    # Not the error's own text, which names hosts and ports.
    number = getattr(error, "errno", None)
    why = os.strerror(number) if isinstance(number, int) else type(error).__name__
    message = f"{provider}: the connection failed: {why}"
    return FailureError(502, message, kind="server_error", code="provider_unreachable")
