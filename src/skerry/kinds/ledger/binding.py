"""What a function receives as `env.<name>`: the ledger, over the branch's own socket.

await env.books.create_accounts([{"id": 1, "ledger": 978, "code": 10}])
await env.books.create_transfers(
    [{"id": env.books.id(), "debit_account_id": 1, "credit_account_id": 2,
      "amount": 250, "ledger": 978, "code": 1, "flags": ["pending"], "timeout": 60}]
)
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from pathlib import Path

import msgspec

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import ENGINE_FAILED, from_dict
from skerry.kernel.kind import Context
from skerry.kinds.ledger.local import HEAD, SOCKET
from skerry.kinds.ledger.operations import Operation
from skerry.kinds.ledger.questions import Questions

CONNECTIONS_MAX = 16
_TRIES = 3
_MILLISECOND = 1_000_000
_RANDOM_BITS = 80

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Ledger(Questions):
    """A ledger as a function uses it."""

    def __init__(self, context: Context) -> None:
        super().__init__(self._send)
        self._context = context
        self._idle: deque[Connection] = deque()
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self._lock = threading.Lock()
        self._last_id = 0

    def id(self) -> int:
        """Return a new 128-bit id that is above all that this process got before.

        As TigerBeetle's clients make them (and ULIDs): milliseconds since 1970, then 80 random
        bits; within a millisecond, the last id plus one.
        """
        random = int.from_bytes(SystemEntropy().bytes(_RANDOM_BITS // 8), "little")
        made = self._context.clock.now() // _MILLISECOND << _RANDOM_BITS | random
        with self._lock:
            if made >> _RANDOM_BITS <= self._last_id >> _RANDOM_BITS:
                made = self._last_id + 1
            self._last_id = made
        return made

    async def close(self) -> None:
        """Close the connections that wait; the next call opens new ones."""
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _send(self, operation: Operation, body: bytes) -> bytes:
        """Ask the engine; a connection that ended is replaced, for every call may be repeated."""
        async with self._room:
            for attempt in range(_TRIES):
                try:
                    connection = self._idle.pop() if self._idle else await self._connect()
                    return await self._exchange(connection, operation, body)
                except (OSError, asyncio.IncompleteReadError) as error:
                    await self.close()
                    if attempt == _TRIES - 1:
                        name = self._context.ref.name
                        raise ENGINE_FAILED(f"The ledger {name} does not answer.") from error
        raise AssertionError("the last attempt returns or raises")

    async def _connect(self) -> Connection:
        endpoint = await self._context.host.ready(self._context.ref.name)
        return await asyncio.open_unix_connection(str(Path(endpoint).parent / SOCKET))

    async def _exchange(self, connection: Connection, operation: Operation, body: bytes) -> bytes:
        reader, writer = connection
        try:
            writer.writelines([HEAD.pack(len(body), operation), body])
            await writer.drain()
            size, failed = HEAD.unpack(await reader.readexactly(HEAD.size))
            reply = await reader.readexactly(size)
        except BaseException:
            writer.close()
            raise
        self._idle.append(connection)
        if failed:
            raise from_dict(msgspec.json.decode(reply))
        return reply


async def bind(context: Context) -> Ledger:
    """Return the binding."""
    return Ledger(context)
