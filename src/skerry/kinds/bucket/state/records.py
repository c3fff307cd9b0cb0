"""What the state holds about a version, an upload, a part and a bucket."""

from __future__ import annotations

from typing import Any

import msgspec

SETTINGS_SIZE_MAX = 256 * 1024

_decoders: dict[type, Any] = {}


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A run of an object's bytes.

    It lies in the blob of that digest, or, if `digest` is empty, in row `inlined` of the database.
    `nonce` is there if it is encrypted.
    """

    digest: bytes
    size: int
    inlined: int = 0
    nonce: bytes = b""


class Encryption(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the content is encrypted: `AES256`, `aws:kms` or `customer`.

    `key` names the KMS key; `fingerprint` tells a customer's right key from a wrong one, and
    `key_md5` is what the customer's clients expect to be told.
    """

    mode: str
    key: str = ""
    key_md5: str = ""
    fingerprint: bytes = b""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A permission of an access control list: to a user, or to a group (`uri`)."""

    permission: str
    user: str = ""
    uri: str = ""


class Lock(msgspec.Struct, frozen=True, omit_defaults=True):
    """Until when, and how strictly, a version may not be deleted."""

    mode: str = ""
    until: int = 0
    hold: str = ""


class PartInfo(msgspec.Struct, frozen=True, array_like=True):
    """A part of a completed multipart object."""

    number: int
    size: int
    checksum: str = ""


class Record(msgspec.Struct, omit_defaults=True):
    """All about a version that is not searched for; `headers` are those that are given back."""

    owner: str
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    grants: list[Grant] = []
    checksums: dict[str, str] = {}
    checksum_type: str = ""
    storage_class: str = "STANDARD"
    encryption: Encryption | None = None
    lock: Lock | None = None
    parts: list[PartInfo] = []


class Version(msgspec.Struct):
    """A version of a key, or a delete marker."""

    sequence: int
    key: str
    version: str
    latest: bool
    marker: bool
    modified: int
    size: int
    etag: str
    record: Record
    packed: bytes = b""

    @property
    def pieces(self) -> list[Piece]:
        """The content, in order."""
        return unpack_pieces(self.packed) if self.packed else []


class Bucket(msgspec.Struct, frozen=True):
    """A bucket; `settings` are its configurations by name."""

    id: int
    name: str
    owner: str
    created: int
    region: str
    versioning: str
    locking: bool
    settings: dict[str, bytes]

    def load(self, name: str, kind: type[Any]) -> Any:
        """Return a configuration as the type it was kept from, or None."""
        value = self.settings.get(name)
        return None if value is None else unpack(value, kind)


class Upload(msgspec.Struct):
    """A multipart upload in progress."""

    id: str
    bucket: int
    key: str
    started: int
    record: Record


class Part(msgspec.Struct):
    """An uploaded part."""

    number: int
    modified: int
    size: int
    etag: str
    checksums: dict[str, str]
    packed: bytes = b""


def pack(value: Any) -> bytes:
    """Return the stored form of a struct."""
    return msgspec.msgpack.encode(value)


def unpack(data: bytes, kind: type[Any]) -> Any:
    """Return a struct from its stored form."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return decoder.decode(data)


def unpack_pieces(data: bytes) -> list[Piece]:
    """Return the pieces of a stored content."""
    found: list[Piece] = unpack(data, list[Piece])
    return found
