"""Signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

skerry/se-1/3f9a12bc          origin
20852                         size of the tree
CsUYapGG…=                    root, base64

— skerry/se-1/3f9a12bc Az3g…  the log's own signature over the lines above
— skerry/fi-1/witness jWbP…   a witness's, over a time and the same lines
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.kernel.errors import INVALID

NOTE_BYTES_MAX = 64 * 1024
SIGNATURES_MAX = 64
LOG, COSIGNATURE = 1, 4
"""Types of signatures: Ed25519 over a note's text; a witness's Ed25519 over a time and the text."""

_DASH = "\u2014"


@dataclass(frozen=True)
class Verifier:
    """A public key with the name that it signs under."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that name the key in a signature."""
        what = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(what).digest()[:4]

    def __str__(self) -> str:
        key = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read a verifier key; raise INVALID if it is none."""
        name, _, rest = text.strip().partition("+")
        key_id, _, key = rest.partition("+")
        try:
            data = base64.b64decode(key, validate=True)
            found = cls(_checked_name(name), data[0], data[1:])
            wrong = found.id.hex() != key_id or len(found.public) != 32
        except (ValueError, IndexError) as error:
            raise _no_key(text) from error
        if wrong or found.kind not in (LOG, COSIGNATURE):
            raise _no_key(text)
        return found

    def verifies(self, text: str, signature: bytes) -> int | None:
        """Return the time of a signature (0 if its type has none), or None if it is not theirs."""
        message, proof, time = text.encode(), signature, 0
        if self.kind == COSIGNATURE:
            if len(signature) != 72:
                return None
            (time,) = struct.unpack(">Q", signature[:8])
            message, proof = cosigned(text, time), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(proof, message)
        except InvalidSignature:
            return None
        return int(time)


@dataclass(frozen=True)
class Signer:
    """A private key with the name that it signs under."""

    name: str
    kind: int
    key: Ed25519PrivateKey

    @classmethod
    def make(cls, name: str, seed: bytes, kind: int = LOG) -> Signer:
        """Return the signer of a 32-byte seed."""
        return cls(_checked_name(name), kind, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self.kind, self.key.public_key().public_bytes_raw())

    def line(self, text: str, time: int = 0) -> str:
        """Return the signature line over a note's text; a cosignature has a time (seconds)."""
        if self.kind == COSIGNATURE:
            signature = struct.pack(">Q", time) + self.key.sign(cosigned(text, time))
        else:
            signature = self.key.sign(text.encode())
        shown = base64.b64encode(self.verifier.id + signature).decode()
        return f"{_DASH} {self.name} {shown}\n"


def cosigned(text: str, time: int) -> bytes:
    """Return what a witness signs."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


@dataclass(frozen=True)
class Signature:
    """A signature line that was read."""

    name: str
    key_id: bytes
    signature: bytes
    line: str


@dataclass(frozen=True)
class Note:
    """A text and its signatures, none of which has been verified."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(each.line for each in self.signatures)

    def verified(self, verifiers: Iterable[Verifier]) -> dict[Verifier, int]:
        """Return who of the verifiers signed it, and when; raise INVALID if a signature is wrong.

        Signatures of keys that are not known are passed over.
        """
        found = {}
        for verifier in verifiers:
            for each in self.signatures:
                if (each.name, each.key_id) != (verifier.name, verifier.id):
                    continue
                time = verifier.verifies(self.text, each.signature)
                if time is None:
                    raise INVALID(f"The signature of {verifier.name} does not match the text.")
                found[verifier] = time
        return found


def parse_note(data: str) -> Note:
    """Read a signed note; raise INVALID if it is none."""
    text, blank, lines = data.rpartition("\n\n")
    if not blank or len(data) > NOTE_BYTES_MAX:
        raise INVALID("This is no signed note.")
    signatures = [_signature(line) for line in lines.splitlines()]
    if not lines.endswith("\n") or not 0 < len(signatures) <= SIGNATURES_MAX:
        raise INVALID("The note's signatures are not well-formed.")
    return Note(text + "\n", tuple(signatures))


def _signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, shown = rest.partition(" ")
    try:
        data = base64.b64decode(shown, validate=True)
    except (ValueError, binascii.Error) as error:
        raise INVALID("A signature of the note is not base64.") from error
    if dash != _DASH or not name or len(data) <= 4:
        raise INVALID("A signature line of the note is not well-formed.")
    return Signature(name, data[:4], data[4:], line + "\n")


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log's tree."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a checkpoint's text; raise INVALID if it is none."""
        lines = text.split("\n")
        try:
            origin, size, root = lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)
        except (IndexError, ValueError) as error:
            raise INVALID("This is no checkpoint of a log.") from error
        if not origin or lines[1] != str(size) or size < 0 or len(root) != 32:
            raise INVALID("The checkpoint is not well-formed.")
        return cls(origin, size, root)


def _checked_name(name: str) -> str:
    if not name or any(each.isspace() or each == "+" for each in name):
        raise INVALID(f"{name!r} cannot name a key.")
    return name


def _no_key(text: str) -> Exception:
    return INVALID(
        f"{text[:80]!r} is no verifier key.",
        why="It has the form <name>+<8 hexadecimal digits>+<base64>.",
        hint="skerry audit key",
    )
