"""RIPEMD-160 (Dobbertin, Bosselaers, Preneel; ISO/IEC 10118-3).

OpenSSL has it where it is asked for; this is for machines whose OpenSSL leaves it out.
"""

from __future__ import annotations

import hashlib
import struct

_MASK = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)

# Which word each of the 80 steps reads, and by how much it rotates, in both lines: one hexadecimal
# digit a step.
_WORDS = (
    "0123456789abcdef74d1a6f3c0952eb83ae49f812706db5c19ba08c4d37fe56240597c2ae138b6fd",
    "5e7092b4d6f81a3c6b370d5aef8c4912f5137e69b8c2a04d86413bf05c2d97aecfa4158762de039b",
)
_TURNS = (
    "befc5879bdef6798768db97f7cf9b7dcbd67e9dfe8d65c75bcefef989e56865c9f5b68dc5cdeb856",
    "899bdff5778beec69df7c89b77c76fdb97fb866ecd5edd75f58bee6e69c9c5f885c9c5e68d65fdbb",
)
_CONSTANTS = (
    (0, 0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xA953FD4E),
    (0x50A28BE6, 0x5C4DD124, 0x6D703EF3, 0x7A6D76E9, 0),
)


def ripemd160(data: bytes) -> bytes:
    """Return the digest, by OpenSSL where it can."""
    try:
        return hashlib.new("ripemd160", data, usedforsecurity=False).digest()
    except ValueError:
        return plain_ripemd160(data)


def plain_ripemd160(data: bytes) -> bytes:
    """Return the digest, in plain Python."""
    padded = data + b"\x80" + bytes((55 - len(data)) % 64) + struct.pack("<Q", 8 * len(data))
    state = _START
    for start in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, start)
        left = _line(state, words, 0)
        right = _line(state, words, 1)
        state = tuple(  # type: ignore[assignment]
            (state[(n + 1) % 5] + left[(n + 2) % 5] + right[(n + 3) % 5]) & _MASK for n in range(5)
        )
    return struct.pack("<5I", *state)


def _line(state: tuple[int, ...], words: tuple[int, ...], which: int) -> tuple[int, ...]:
    """Run one of the two lines of 80 steps over a block."""
    a, b, c, d, e = state
    order, turns = _WORDS[which], _TURNS[which]
    for step in range(80):
        part = step // 16
        mixed = _mix(part if which == 0 else 4 - part, b, c, d)
        total = a + mixed + words[int(order[step], 16)] + _CONSTANTS[which][part]
        turned = _rotate(total & _MASK, int(turns[step], 16)) + e
        a, b, c, d, e = e, turned & _MASK, b, _rotate(c, 10), d
    return a, b, c, d, e


def _mix(part: int, x: int, y: int, z: int) -> int:
    if part == 0:
        return x ^ y ^ z
    if part == 1:
        return (x & y) | (~x & z)
    if part == 2:
        return (x | ~y) ^ z
    if part == 3:
        return (x & z) | (y & ~z)
    return x ^ (y | ~z)


def _rotate(value: int, count: int) -> int:
    return ((value << count) | (value >> (32 - count))) & _MASK
