"""A digest of a ledger's state that is kept up to date row by row.

Each row (an account, a transfer, the fate of a pending transfer, a burned id) is hashed to 64 bits,
and the digest is the sum of all row hashes modulo 2**64. It depends on the state alone, not on the
way that led to it, and changing a row costs two row hashes however large the state is. It finds
accidents (a defect, a rotten disk), not forgers; against those the log is chained.

A row hash is multilinear (each 64-bit word times an odd key), then finished as in splitmix64
(Steele, Lea and Flood, 2014).
"""

from __future__ import annotations

import struct

MASK = 2**64 - 1
WORDS = 16

ACCOUNT = 0x6163_636F_756E_7473
TRANSFER = 0x7472_616E_7366_6572
PENDING = 0x7065_6E64_696E_6773
BURNED = 0x6275_726E_6564_6964
"""Salts, so that rows of different sorts never look alike."""

_WORDS = struct.Struct(f"<{WORDS}Q")


def mixed(value: int) -> int:
    """Return splitmix64's finish of a 64-bit number."""
    value = ((value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return value ^ (value >> 31)


KEYS = tuple(mixed((at + 1) * 0x9E37_79B9_7F4A_7C15 & MASK) | 1 for at in range(WORDS))
"""One odd key a word."""


def row_hash(salt: int, words: tuple[int, ...]) -> int:
    """Return the hash of a row of up to 16 words."""
    total = salt
    for word, key in zip(words, KEYS, strict=False):
        total += word * key
    return mixed(total & MASK)


def record_hash(salt: int, packed: bytes) -> int:
    """Return the hash of a record of 128 bytes."""
    return row_hash(salt, _WORDS.unpack(packed))
