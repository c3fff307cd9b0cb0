"""TLS at the front: which name the client asked for, and what its channel is bound to."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from typing import Any

from cryptography import x509

ALPN = "postgresql"
HANDSHAKE_SECONDS = 10.0


class ServerTLS:
    """The front's own use of the node's server context."""

    def __init__(self, context: ssl.SSLContext) -> None:
        context.set_alpn_protocols([ALPN])
        context.sni_callback = _remember_name
        self.context = context
        self.end_point = _end_point(context)

    async def upgrade(
        self, transport: asyncio.Transport, protocol: asyncio.Protocol, received: bytes
    ) -> asyncio.Transport:
        """Do the handshake on an accepted connection; `received` is what has been read of it.

        Raises OSError (of which ssl.SSLError is one) if it fails.
        """
        # Until TLS has begun, the protocol would read what a quick client says next, and keep it.
        transport.pause_reading()
        loop = asyncio.get_running_loop()
        task = loop.create_task(
            loop.start_tls(
                transport,
                protocol,
                self.context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        )
        try:
            if received:
                await _feed(transport, protocol, received, task)
            upgraded = await task
        except BaseException:
            task.cancel()
            raise
        if upgraded is None:
            raise ConnectionResetError("the client left during the TLS handshake")
        return upgraded


def server_name(transport: asyncio.Transport) -> str | None:
    """Return the name that the client asked for in its TLS handshake."""
    return getattr(transport.get_extra_info("ssl_object"), "skerry_server_name", None)


async def _feed(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    received: bytes,
    task: asyncio.Task[Any],
) -> None:
    """Hand to TLS what was read before it began (a direct handshake), once it has begun."""
    for _ in range(100):
        await asyncio.sleep(0)
        if task.done():
            return
        if transport.get_protocol() is not protocol:
            break
    await asyncio.sleep(0)
    inner: Any = transport.get_protocol()
    while received and not task.done():
        buffer = inner.get_buffer(len(received))
        count = min(len(buffer), len(received))
        buffer[:count] = received[:count]
        inner.buffer_updated(count)
        received = received[count:]


def _remember_name(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
    connection.skerry_server_name = name


def _end_point(context: ssl.SSLContext) -> bytes:
    """Return the `tls-server-end-point` binding of a context's certificate (RFC 5929).

    A context does not tell its certificate, so a client asks for it, in memory.
    """
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
            return _digest(client.getpeercert(binary_form=True) or b"")
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
    raise ssl.SSLError("the TLS context has no certificate")


def _digest(certificate: bytes) -> bytes:
    algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    name = algorithm.name if algorithm else "sha256"
    return hashlib.new("sha256" if name in ("md5", "sha1") else name, certificate).digest()
