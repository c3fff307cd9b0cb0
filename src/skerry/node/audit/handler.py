"""Carries out the words of the audit log."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from functools import partial

import msgspec

from skerry.kernel.commands import Check, Nothing
from skerry.kernel.errors import INVALID
from skerry.node.audit import results as r
from skerry.node.audit import service as s
from skerry.node.audit.drawing import sentence
from skerry.node.audit.entries import Record, decode
from skerry.node.audit.log import AuditLog
from skerry.node.audit.proof import Extra, Proof
from skerry.node.audit.receipts import is_receipt
from skerry.node.audit.verify import FORMAT, Header
from skerry.node.audit.wire import read_file
from skerry.node.node import Node
from skerry.node.words import Progress

COLLECT_SECONDS = 60.0
LINES_MAX = 10_000
EXPORTED_AT_ONCE = 256
_log = logging.getLogger(__name__)


class Handler:
    """Reads the log in its own thread, between two batches."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._recorder = node.audit
        self._collecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Have the head signed by witnesses again and again, so that no long end of it is alone."""
        self._collecting = asyncio.create_task(self._collect_for_ever())

    async def stop(self) -> None:
        """Ask no more."""
        if self._collecting is not None:
            self._collecting.cancel()

    async def _collect_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COLLECT_SECONDS)
            for reason in await self._node.witnesses.collect():
                _log.info("a witness did not sign: %s", reason)

    async def examine(self) -> list[Check]:
        """Say for `skerry doctor` who vouches for the newest head, or for one just before it."""
        names = self._node.witnesses.verifiers
        if not names:
            return [Check("audit witnesses", True, "no other node is bound, so none signs")]
        reasons = await self._node.witnesses.collect()
        note = await self._recorder.ask(lambda log: log.note)
        signed = len(note.verified(names))
        detail = f"{signed} of {len(names)} other nodes signed the newest head"
        hint = "" if not reasons else f"{reasons[0]}. Ask again: skerry audit witness"
        return [Check("audit witnesses", not reasons, detail, hint)]

    @property
    def token(self) -> str:
        """The operator's token, for the log over HTTP."""
        return self._node.home.token()

    async def read(self, path: str) -> bytes | None:
        """Return a file of the log as it is between two batches."""
        found: bytes | None = await self._recorder.ask(partial(read_file, path=path))
        return found

    async def do_entries(self, params: s.Entries, progress: Progress) -> list[r.Entry]:
        """See `audit.entries`."""
        if not 0 < params.lines <= LINES_MAX:
            raise INVALID(f"1 to {LINES_MAX} lines can be listed.")
        await self._recorder.settle()
        found: list[Record] = await self._recorder.ask(lambda log: _last(log, params))
        return [r.Entry(each.n, each.at, each.what, sentence(each.what, each.of)) for each in found]

    async def do_receipts(self, params: s.Receipts, progress: Progress) -> list[r.Entry]:
        """See `audit.receipts`."""
        await self._recorder.settle()
        found: list[Record] = await self._recorder.ask(lambda log: _receipts(log, params.app))
        return [r.Entry(each.n, each.at, each.what, sentence(each.what, each.of)) for each in found]

    async def do_show(self, params: s.At, progress: Progress) -> r.Shown:
        """See `audit.show`."""
        record = decode(await self._recorder.ask(lambda log: log.entry(params.entry)))
        return r.Shown(record.n, record.at, record.what, record.of, record.before)

    async def do_prove(self, params: s.At, progress: Progress) -> r.Text:
        """See `audit.prove`. Witnesses are asked first, so that the proof has what they sign."""
        await self._node.witnesses.collect()
        keys = tuple(str(each) for each in self._node.witnesses.verifiers)
        text: str = await self._recorder.ask(lambda log: str(_prove(log, params.entry, keys)))
        return r.Text(text)

    async def stream_export(self, params: Nothing) -> AsyncIterator[r.Text]:
        """See `audit.export`."""
        await self._recorder.settle()
        witnesses = tuple(str(each) for each in self._node.witnesses.verifiers)
        header, size = await self._recorder.ask(lambda log: _header(log, witnesses))
        yield r.Text(header)
        for start in range(0, size, EXPORTED_AT_ONCE):
            end = min(start + EXPORTED_AT_ONCE, size)
            lines = await self._recorder.ask(partial(_between, start=start, end=end))
            for line in lines:
                yield r.Text(line)
            await asyncio.sleep(0)

    async def do_key(self, params: Nothing, progress: Progress) -> r.Key:
        """See `audit.key`."""
        await self._recorder.settle()
        return await self._key(())

    async def do_witness(self, params: Nothing, progress: Progress) -> r.Key:
        """See `audit.witness`."""
        await self._recorder.settle()
        return await self._key(tuple(await self._node.witnesses.collect()))

    async def _key(self, refused: tuple[str, ...]) -> r.Key:
        note, head, key = await self._recorder.ask(lambda log: (log.note, log.head, log.verifier))
        cosigned = note.verified(self._node.witnesses.verifiers)
        return r.Key(
            origin=head.origin,
            entries=head.size,
            key=str(key),
            witness_key=str(self._node.witness_desk.verifier),
            cosigned=tuple(each.name for each in cosigned),
            refused=refused,
        )


def _last(log: AuditLog, params: s.Entries) -> list[Record]:
    """Return the last entries that are asked for, the newest last."""
    found: deque[Record] = deque(maxlen=params.lines)
    whole = params.app is None and params.what is None
    start = max(0, log.head.size - params.lines) if whole else 0
    for data in log.entries(start):
        record = decode(data)
        if params.app in (None, record.of.get("app")) and params.what in (None, record.what):
            found.append(record)
    return list(found)


def _receipts(log: AuditLog, app: str | None) -> list[Record]:
    """Return the last entries that say what was placed or deleted, the newest last."""
    found: deque[Record] = deque(maxlen=LINES_MAX)
    for data in log.entries():
        record = decode(data)
        if app in (None, record.of.get("app")) and is_receipt(record.what, record.of):
            found.append(record)
    return list(found)


def _prove(log: AuditLog, index: int, witnesses: tuple[str, ...]) -> Proof:
    entry = log.entry(index)
    extra = Extra(entry, (str(log.verifier), *witnesses))
    return Proof(index, tuple(log.inclusion(index)), log.note, extra)


def _header(log: AuditLog, witnesses: tuple[str, ...]) -> tuple[str, int]:
    header = Header(
        format=FORMAT,
        key=str(log.verifier),
        checkpoint=str(log.note),
        history=tuple(str(each) for each in log.history()),
        witnesses=witnesses,
    )
    return msgspec.json.encode(header).decode(), log.head.size


def _between(log: AuditLog, start: int, end: int) -> list[str]:
    lines = []
    for index, data in enumerate(log.entries(start), start=start):
        if index >= end:
            break
        lines.append(data.decode())
    return lines
