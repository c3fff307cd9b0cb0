"""TLS on an accepted connection, on the loop that the node runs on."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path

import uvloop

from skerry.kinds.postgres.stream import Stream
from skerry.kinds.postgres.tests.node import certificate
from skerry.kinds.postgres.tls import ServerTLS


def test_what_a_quick_client_says_before_tls_has_begun_is_not_lost(tmp_path: Path) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*certificate(tmp_path))
    tls = ServerTLS(served)

    def client(port: int) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            assert plain.recv(1) == b"S"
            with context.wrap_socket(plain) as encrypted:
                return encrypted.recv(5)

    async def serve(stream: Stream) -> None:
        stream.transport.write(b"S")
        time.sleep(0.1)  # the node is held up, and the client answers meanwhile
        upgraded = await tls.upgrade(stream.transport, stream, b"")
        upgraded.write(b"hello")

    class Accepted(Stream):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.task = asyncio.get_running_loop().create_task(serve(self))

    async def main() -> bytes:
        server = await asyncio.get_running_loop().create_server(Accepted, "127.0.0.1", 0)
        try:
            return await asyncio.to_thread(client, server.sockets[0].getsockname()[1])
        finally:
            server.close()

    assert uvloop.run(main()) == b"hello"
