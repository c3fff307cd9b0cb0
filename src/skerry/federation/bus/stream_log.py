"""The log's replicated backend: entries in a JetStream stream, chained and with digests of ours.

An entry is one message on `<prefix>.<topic>`; it is acknowledged when most copies have synced it
(`sync_interval: always`). A log has one writer: each message expects to follow the last one of the
prefix, so a second writer is refused. The chain of digests is the local log's, so what a server
lost, cut, moved or changed is found by whoever reads. What is kept here can be made anew from the
node's own log; it is never the only copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

from skerry.federation.bus.client import Client
from skerry.federation.bus.streams import Stream
from skerry.kernel.clock import Clock
from skerry.kernel.errors import CONFLICT, CORRUPT, INTERNAL, TOO_LARGE, SkerryError
from skerry.kernel.log import GENESIS, Entry, check_chain

STREAM = Stream("LOG", ("log.>",), bytes_max=256 << 20)
ENTRY_BYTES_MAX = 1 << 20
APPEND_SECONDS = 5.0
READ_SECONDS = 30.0

_LAST = "Nats-Expected-Last-Subject-Sequence"
_LAST_OF = "Nats-Expected-Last-Subject-Sequence-Subject"
_decoder = msgspec.msgpack.Decoder(Entry)


class StreamLog:
    """Implements the kernel's `Log` below one prefix of subjects.

    `topic` names the last part of a message's subject from the entry's body.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        prefix: str,
        clock: Clock,
        topic: Callable[[bytes], str] = lambda _: "entry",
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._head: tuple[int, bytes, int] | None = None

    @property
    def _all(self) -> str:
        return f"{self._prefix}.>"

    async def append(self, body: bytes) -> Entry:
        """See `Log.append`.

        Raises TOO_LARGE, CONFLICT if somebody else writes this log, and STORE_UNREACHABLE, after
        which the entry may be there or not.
        """
        if len(body) > ENTRY_BYTES_MAX:
            raise TOO_LARGE(f"An entry of this log has at most {ENTRY_BYTES_MAX} bytes.")
        async with self._lock:
            sequence, previous, last = self._head or await self._find_head()
            entry = Entry(sequence, self._clock.now(), body, previous)
            self._head = None  # not known again until this one is
            number = await self._put(entry, last)
            self._head = (sequence + 1, entry.digest(), number)
            return entry

    async def _put(self, entry: Entry, last: int) -> int:
        """Write an entry; one whose answer was lost is looked for."""
        client = self._client()
        subject = f"{self._prefix}.{self._topic(entry.body)}"
        headers = {_LAST: str(last), _LAST_OF: self._all}
        data = entry.encode()
        try:
            return await client.append(subject, data, headers, APPEND_SECONDS)
        except SkerryError as error:
            if not error.problem.temporary:
                raise _another(error) from error
        found = await client.last(STREAM.name, self._all)
        if found is not None and found[1] == data:
            return found[0]
        try:
            return await client.append(subject, data, headers, APPEND_SECONDS)
        except SkerryError as error:
            raise _another(error) from error

    async def _find_head(self) -> tuple[int, bytes, int]:
        found = await self._client().last(STREAM.name, self._all)
        if found is None:
            return 0, GENESIS, 0
        entry = _decode(found[1])
        return entry.sequence + 1, entry.digest(), found[0]

    async def entries(self, start: int = 0) -> AsyncIterator[Entry]:
        """Yield the entries from a sequence number on, checked against the chain.

        Raises CORRUPT where an entry does not follow the one before it, or fails its digest.
        """
        sequence, previous, number = 0, GENESIS, 0
        while True:
            found = await self._client().next(STREAM.name, self._all, number + 1)
            if found is None:
                return
            number, entry = found[0], _decode(found[1])
            [checked] = check_chain(iter([entry]), previous, sequence)
            sequence, previous = checked.sequence + 1, checked.digest()
            if checked.sequence >= start:
                yield checked

    def read(self, start: int = 0) -> Iterator[Entry]:
        """See `Log.read`. It blocks: call it in a thread, never on the event loop.

        Raises INTERNAL on the loop, and what `entries` raises.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise INTERNAL("A replicated log was read on the event loop.")
        entries = self.entries(start)
        while True:
            asked = asyncio.run_coroutine_threadsafe(_next(entries), self._loop)
            entry = asked.result(READ_SECONDS)
            if entry is None:
                return
            yield entry

    async def forget(self) -> None:
        """Remove every entry; the log begins anew."""
        async with self._lock:
            self._head = None
            await self._client().api(f"STREAM.PURGE.{STREAM.name}", {"filter": self._all})


async def _next(entries: AsyncIterator[Entry]) -> Entry | None:
    return await anext(entries, None)


def _decode(data: bytes) -> Entry:
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise CORRUPT("An entry of a replicated log cannot be read.", why=f"{error}.") from error


def _another(error: SkerryError) -> SkerryError:
    if error.problem is not CONFLICT:
        return error
    return CONFLICT("Somebody else writes this log.", why=error.what)
