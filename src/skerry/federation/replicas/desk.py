"""Where the processes of a cell tell the node of their writes: one socket for each resource."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from skerry.federation.replicas.messages import Item
from skerry.federation.replicas.stream import Stream
from skerry.kernel.errors import INTERNAL, INVALID, SkerryError
from skerry.kernel.replica import Replica
from skerry.node.archives import give
from skerry.node.cell.journal import ANNOUNCED, REMOVED, REPLACED, WROTE

NOTE_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 256

_log = logging.getLogger("skerry.federation")
_notes = msgspec.msgpack.Decoder(list[tuple[str, str]])


class Desk:
    """Hears of the writes to one resource, reads them, and answers when they are safe."""

    def __init__(self, branch: str, resource: str, replica: Replica, stream: Stream) -> None:
        self._branch = branch
        self._resource = resource
        self._replica = replica
        self._stream = stream
        stream.replicas[branch, resource] = replica
        self._lock = asyncio.Lock()
        self._server: asyncio.AbstractServer | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, path: Path, owner: int | None) -> None:
        """Listen on a socket that the processes of an app can reach."""
        await asyncio.to_thread(_prepare, path, owner)
        self._server = await asyncio.start_unix_server(self._serve, path, limit=NOTE_BYTES_MAX)
        await asyncio.to_thread(_give, path, owner)

    def stop(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._open.add(writer)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4))
                if size > NOTE_BYTES_MAX:
                    return
                answer = msgspec.msgpack.encode(await self._answer(await reader.readexactly(size)))
                writer.write(len(answer).to_bytes(4) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, data: bytes) -> dict[str, object] | None:
        try:
            notes = _notes.decode(data)
            sequence = await self.take(notes)
            if any(what in (WROTE, REPLACED) for what, _ in notes):
                await self._stream.confirm(sequence)
        except SkerryError as error:
            return error.as_dict()
        except msgspec.DecodeError as error:
            return INVALID("A note of a write is not well-formed.", why=f"{error}.").as_dict()
        except OSError as error:
            _log.exception("what %s wrote could not be read", self._resource)
            return INTERNAL("What was written could not be read.", why=f"{error}.").as_dict()
        return None

    async def take(self, notes: list[tuple[str, str]]) -> int:
        """Read what was written; return the sequence number that includes it."""
        async with self._lock:
            items = await asyncio.to_thread(self._read, notes)
            return self._stream.add(items)

    def _read(self, notes: list[tuple[str, str]]) -> list[Item]:
        items = []
        for what, path in notes:
            if what not in (WROTE, ANNOUNCED, REPLACED, REMOVED):
                raise INVALID(f"Nobody can have {what[:20]!r} a file.")
            found = self._replica.changes(path, replaced=what in (REPLACED, REMOVED))
            items += [Item(self._branch, self._resource, change) for change in found]
        return items


def _give(path: Path, owner: int | None) -> None:
    path.chmod(0o600)
    give(path, owner, deep=False)


def _prepare(path: Path, owner: int | None) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    give(path.parent, owner, deep=False)
    path.unlink(missing_ok=True)
