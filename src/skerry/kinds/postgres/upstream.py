"""The front's connection to an awake server: log-in, raw relay, questions of the front's own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from skerry.kernel.clock import SystemEntropy
from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds._shared.pgwire.scram import PLAIN, ClientExchange, Credential, ScramError
from skerry.kinds.postgres.stream import Stream

_MAX_MESSAGE_BYTES = 60_000
_ASYNCHRONOUS = (b"A", b"N", b"S")
MAX_ANSWER_BYTES = 1 << 20


class Downstream(Protocol):
    """Who gets what the server says."""

    def from_server(self, data: bytes) -> None:
        """Take raw bytes of the server."""

    def server_lost(self) -> None:
        """Learn that the server closed the connection."""

    def pause_server(self, paused: bool) -> None:
        """Learn that the server cannot take more bytes for now, or can again."""


class Upstream(Stream):
    """One connection to the server."""

    def __init__(self) -> None:
        super().__init__()
        self.process = 0
        self.key = b""
        self._downstream: Downstream | None = None
        self._asking = False

    async def log_in(self, parameters: Mapping[str, str], credential: Credential) -> bytes:
        """Log in and return what the server says after AuthenticationOk, up to ReadyForQuery.

        BackendKeyData is kept back. Raises RefusalError with the server's own ErrorResponse.
        """
        self.transport.write(messages.startup(parameters))
        exchange = ClientExchange(credential.client_key, credential.verifier, _nonce())
        while (step := await self._authentication()) != (0, b""):
            code, data = step
            if code == 10 and PLAIN.encode() in data.split(b"\x00"):
                self.transport.write(messages.sasl_initial(PLAIN, exchange.first()))
            elif code == 11:
                self.transport.write(messages.message(b"p", exchange.final(data)))
            elif code == 12:
                exchange.verify(data)
            else:
                raise ScramError(f"the server asks for authentication {code}")
        said = bytearray()
        while True:
            kind, body = await self._message()
            if kind == b"K":
                self.process, self.key = int.from_bytes(body[:4], "big"), body[4:]
            else:
                said += messages.message(kind, body)
                if kind == b"Z":
                    return bytes(said)

    def relay(self, downstream: Downstream) -> None:
        """Hand everything from now on to `downstream`, raw."""
        self._downstream = downstream
        left, self.buffer = bytes(self.buffer), bytearray()
        if left:
            downstream.from_server(left)
        if not self.transport.is_reading():
            self.transport.resume_reading()

    async def ask(
        self, request: bytes, limit_bytes: int = MAX_ANSWER_BYTES
    ) -> list[tuple[bytes, bytes]]:
        """Send a request of our own and return the answer, up to ReadyForQuery.

        The session must be idle. Raises ConnectionResetError, WireError.
        """
        self._asking = True
        try:
            self.transport.write(request)
            answer: list[tuple[bytes, bytes]] = []
            size = 0
            while not answer or answer[-1][0] != b"Z":
                kind, body = await self.message(_MAX_MESSAGE_BYTES)
                size += len(body)
                if size > limit_bytes:
                    raise WireError("54000", "the answer is too long")
                if kind in _ASYNCHRONOUS and self._downstream is not None:
                    self._downstream.from_server(messages.message(kind, body))
                else:
                    answer.append((kind, body))
            return answer
        finally:
            self._asking = False
            left, self.buffer = bytes(self.buffer), bytearray()
            if left and self._downstream is not None:
                self._downstream.from_server(left)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._downstream is None or self._asking:
            super().data_received(data)
        else:
            self._downstream.from_server(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self._downstream is not None:
            self._downstream.server_lost()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._downstream is not None:
            self._downstream.pause_server(True)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._downstream is not None:
            self._downstream.pause_server(False)

    def close(self) -> None:
        """Leave the server; the session ends as if the client had left."""
        self._downstream = None
        self.transport.close()

    async def _authentication(self) -> tuple[int, bytes]:
        kind, body = await self._message()
        if kind != b"R":
            raise ScramError(f"the server says {kind!r} during authentication")
        return int.from_bytes(body[:4], "big"), body[4:]

    async def _message(self) -> tuple[bytes, bytes]:
        kind, body = await self.message(_MAX_MESSAGE_BYTES)
        if kind == b"E":
            raise RefusalError(messages.message(kind, body))
        return kind, body


class RefusalError(Exception):
    """The server refused the log-in; `response` is its ErrorResponse, to be passed on."""

    def __init__(self, response: bytes) -> None:
        fields = messages.parse_error(response[5:])
        super().__init__(fields.get("M", "refused"))
        self.response = response


async def connect(path: str) -> Upstream:
    """Connect to the server's socket; raises OSError."""
    loop = asyncio.get_running_loop()
    _, upstream = await loop.create_unix_connection(Upstream, path)
    return upstream


async def cancel(path: str, process: int, key: bytes) -> None:
    """Ask the server to cancel what a session runs; returns when the server has taken note."""
    upstream = await connect(path)
    try:
        upstream.transport.write(messages.cancel_request(process, key))
        await upstream.take(1)
    except ConnectionResetError:
        return
    finally:
        upstream.close()


def _nonce() -> bytes:
    return SystemEntropy().bytes(18)
