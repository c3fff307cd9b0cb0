"""A proof that an entry is in a log, in one file that is checked without the log (C2SP tlog-proof).

The `extra` line carries the entry itself and the keys that the prover names. Neither is taken on
trust: the entry's hash must be what the proof binds to the signed head, and keys are compared with
those of whoever verifies.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec

from skerry.kernel.errors import INVALID
from skerry.node.audit.merkle import leaf_hash, verify_inclusion
from skerry.node.audit.note import Checkpoint, Note, parse_note

MAGIC = "c2sp.org/tlog-proof@v1"
PROOF_BYTES_MAX = 512 * 1024
HASHES_MAX = 64


class Extra(msgspec.Struct, frozen=True):
    """What a proof carries beside itself: the entry, and verifier keys as the prover names them."""

    entry: bytes
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proof:
    """A proof that was read; nothing of it is verified."""

    index: int
    hashes: tuple[bytes, ...]
    note: Note
    extra: Extra

    def __str__(self) -> str:
        lines = [
            MAGIC,
            f"extra {base64.b64encode(msgspec.json.encode(self.extra)).decode()}",
            f"index {self.index}",
            *(base64.b64encode(each).decode() for each in self.hashes),
            "",
        ]
        return "\n".join(lines) + "\n" + str(self.note)

    def binds(self) -> bool:
        """Tell whether the entry is at its index under the head; the signature is not checked."""
        head = Checkpoint.parse(self.note.text)
        leaf = leaf_hash(self.extra.entry)
        return verify_inclusion(leaf, self.index, head.size, self.hashes, head.root)


def parse_proof(text: str) -> Proof:
    """Read a proof; raise INVALID if it is none."""
    above, blank, below = text.partition("\n\n")
    lines = above.split("\n")
    if lines[0] != MAGIC or not blank or len(text) > PROOF_BYTES_MAX:
        raise INVALID("This is no proof of an entry of a log.")
    try:
        extra_word, _, extra = lines[1].partition(" ")
        index_word, _, index = lines[2].partition(" ")
        hashes = tuple(base64.b64decode(each, validate=True) for each in lines[3:])
        found = msgspec.json.decode(base64.b64decode(extra, validate=True), type=Extra)
        number = int(index)
    except (IndexError, ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise INVALID("The proof is not well-formed.", why=str(error)) from error
    wrong = (extra_word, index_word, str(number)) != ("extra", "index", index)
    if wrong or len(hashes) > HASHES_MAX or any(len(each) != 32 for each in hashes):
        raise INVALID("The proof is not well-formed.")
    return Proof(number, hashes, parse_note(below), found)
