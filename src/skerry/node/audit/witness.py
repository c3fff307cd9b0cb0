"""Witnesses: other nodes that sign a head only if it extends the one that they saw before.

A log alone could show different heads to different people. A head with signatures of independent
witnesses is one that all of them saw. Here is what a node does as a witness for others, and how it
collects signatures; how the two reach each other is for whoever knows other nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import CONFLICT, DENIED, SkerryError
from skerry.node.audit.log import AuditLog, check_extends
from skerry.node.audit.merkle import consistency_proof
from skerry.node.audit.note import Checkpoint, Signer, Verifier, parse_note
from skerry.node.home import write_secret

ORIGINS_MAX = 1000
WITNESS_SECONDS = 5.0


class Witness(Protocol):
    """Another node that can sign heads of this node's log."""

    @property
    def verifier(self) -> Verifier:
        """Its key."""
        ...

    async def seen(self, origin: str) -> int:
        """Return the size of the head that it signed last; 0 if none."""
        ...

    async def cosign(self, old: int, proof: Sequence[bytes], checkpoint: str) -> str:
        """Return its signature line of a checkpoint that extends the one of size `old`."""
        ...


class _Seen(msgspec.Struct, frozen=True):
    size: int
    root: bytes


class WitnessDesk:
    """What this node does as a witness: it remembers each log's head, durably, and signs."""

    def __init__(self, path: Path, signer: Signer, clock: Clock) -> None:
        self._path = path
        self._signer = signer
        self._clock = clock
        self._logs: dict[str, Verifier] = {}
        self._seen: dict[str, _Seen] = {}
        if path.exists():
            self._seen = msgspec.json.decode(path.read_bytes(), type=dict[str, _Seen])

    @property
    def verifier(self) -> Verifier:
        """The key that it signs with."""
        return self._signer.verifier

    def trust(self, log: Verifier) -> None:
        """Take a log as one whose heads are signed; its name is its origin."""
        if len(self._logs) >= ORIGINS_MAX:
            raise CONFLICT(f"A node is the witness of at most {ORIGINS_MAX} logs.")
        self._logs[log.name] = log

    def seen(self, origin: str) -> int:
        """Return the size of the head of a log that was signed last; 0 if none."""
        known = self._seen.get(origin)
        return known.size if known else 0

    def cosign(self, old: int, proof: Sequence[bytes], checkpoint: str) -> str:
        """Sign a head, if the log signed it and it extends what was seen. Blocks on the disk.

        Raises DENIED for a log that is not known, CONFLICT if `old` is not what was seen last, and
        CORRUPT if the head does not extend it: then the log has shown different heads.
        """
        note = parse_note(checkpoint)
        head = Checkpoint.parse(note.text)
        log = self._logs.get(head.origin)
        if log is None or log not in note.verified([log]):
            raise DENIED(f"The log {head.origin} is not one that this node is the witness of.")
        before = self._seen.get(head.origin, _Seen(0, b""))
        if before.size != old:
            raise CONFLICT(f"The head that was signed last has {before.size} entries, not {old}.")
        check_extends(Checkpoint(head.origin, before.size, before.root), head, proof)
        seen = {**self._seen, head.origin: _Seen(head.size, head.root)}
        write_secret(self._path, msgspec.json.encode(seen))
        self._seen = seen
        return self._signer.line(note.text, self._clock.now() // NANOSECONDS)


class Collector:
    """Collects signatures of witnesses for the newest head of this node's log."""

    def __init__(self, ask: Callable[[Callable[[AuditLog], Any]], Awaitable[Any]]) -> None:
        self._ask = ask
        self.witnesses: dict[str, Witness] = {}
        """By the name of the key; filled in by whoever knows other nodes."""

    @property
    def verifiers(self) -> list[Verifier]:
        """The keys of the witnesses."""
        return [each.verifier for each in self.witnesses.values()]

    async def collect(self) -> list[str]:
        """Ask every witness once for the newest head; return why some did not sign.

        `WITNESS_SECONDS` bounds the wait for each. What comes for a head that is not the newest any
        more is dropped; the next collection asks again.
        """
        note, size = await self._ask(lambda log: (log.note, log.head.size))
        missing = [
            (name, witness)
            for name, witness in self.witnesses.items()
            if size and witness.verifier not in note.verified([witness.verifier])
        ]
        found = await asyncio.gather(
            *(self._try(witness, str(note)) for _, witness in missing), return_exceptions=True
        )
        lines, reasons = [], []
        for (name, _), each in zip(missing, found, strict=True):
            if isinstance(each, str):
                lines.append(each)
            elif isinstance(each, SkerryError | TimeoutError | OSError):
                reasons.append(f"{name}: {each or 'no answer in time'}")
            else:
                raise each
        if lines:
            await self._ask(lambda log: log.add_cosignatures(size, lines))
        return reasons

    async def _try(self, witness: Witness, checkpoint: str) -> str:
        head = Checkpoint.parse(parse_note(checkpoint).text)
        async with asyncio.timeout(WITNESS_SECONDS):
            return await self._one(witness, head, checkpoint)

    async def _one(self, witness: Witness, head: Checkpoint, checkpoint: str) -> str:
        old = await witness.seen(head.origin)
        if old > head.size:
            raise CONFLICT(f"It has seen {old} entries of this log, which now has {head.size}.")
        proof = await self._ask(lambda log: consistency_proof(old, head.size, log.tree().subtree))
        line = await witness.cosign(old, proof, checkpoint)
        signed = parse_note(head.text + "\n" + line)
        if witness.verifier not in signed.verified([witness.verifier]):
            raise DENIED("Its signature is not by the key that it is known by.")
        return line
