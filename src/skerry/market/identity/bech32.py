"""Bech32 (BIP 173): how addresses are written, with a checksum against slips."""

from __future__ import annotations

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def encode(prefix: str, data: bytes) -> str:
    """Return an address of a prefix."""
    values = _regroup(data, 8, 5, pad=True)
    checksum = _polymod([*_expand(prefix), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    values += [checksum >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1{''.join(_ALPHABET[value] for value in values)}"


def decode(prefix: str, text: str) -> bytes | None:
    """Return what an address of a prefix stands for, or None if it is none."""
    head, _, tail = text.rpartition("1")
    if head != prefix or len(tail) < 6 or len(text) > 90 or set(tail) - set(_ALPHABET):
        return None
    values = [_ALPHABET.index(character) for character in tail]
    if _polymod([*_expand(prefix), *values]) != 1:
        return None
    return bytes(_regroup(bytes(values[:-6]), 5, 8, pad=False))


def _expand(prefix: str) -> list[int]:
    return [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix)]


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATORS):
            if top >> place & 1:
                check ^= generator
    return check


def _regroup(data: bytes, source: int, target: int, *, pad: bool) -> list[int]:
    """Regroup bits; what does not fill the last group is padded, or dropped."""
    held = bits = 0
    found = []
    for value in data:
        held = held << source | value
        bits += source
        while bits >= target:
            bits -= target
            found.append(held >> bits & (1 << target) - 1)
    if pad and bits:
        found.append(held << target - bits & (1 << target) - 1)
    return found
