"""How functions of the same branch speak to a ledger: packed records over a unix socket.

A question is a length and an operation (little-endian, 4 and 1 bytes, 3 zeros) and then a body as
in TigerBeetle's protocol; an answer is a length, 0 or 1 for a failure, and a body or an error in
JSON. The socket is for this machine's functions only, so there is neither checksum nor session:
what is repeated is found by the ids of accounts and transfers.
"""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import msgspec

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.ledger.keeper import Keeper
from skerry.kinds.ledger.operations import BODY_MAX, Operation

SOCKET = "local.sock"
CONNECTIONS_MAX = 1000
HEAD = struct.Struct("<IB3x")


class LocalServer:
    """Answers functions."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.under_way = 0

    async def start(self, directory: Path) -> None:
        """Listen in a directory."""
        path = directory / SOCKET
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(path), limit=BODY_MAX)
        path.chmod(0o600)

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if len(self._writers) <= CONNECTIONS_MAX:
                while await self._answer(reader, writer):
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            # The function ended; nothing is left to tell it.
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        size, operation = HEAD.unpack(await reader.readexactly(HEAD.size))
        if size > BODY_MAX:
            return False
        body = await reader.readexactly(size)
        self.under_way += 1
        try:
            if operation in (Operation.REGISTER, Operation.PULSE):
                raise INVALID(f"Operation {operation} is not for functions.")
            answer = await self._keeper.submit(operation, body)
            reply, failed = answer.body, 0
        except SkerryError as error:
            reply, failed = msgspec.json.encode(error.as_dict()), 1
        finally:
            self.under_way -= 1
        writer.writelines([HEAD.pack(len(reply), failed), reply])
        return True
