"""Keys on secp256k1, and the addresses of the Cosmos family that follow from them.

An address is the hash of a public key, so a signature alone shows who signed: the public keys that
fit a signature are recovered from it (SEC 1, section 4.1.6), and one of them must hash to the
address that the signer claims. Nobody registers a key, and a wallet of Akash is one here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skerry.market.identity import bech32
from skerry.market.identity.ripemd import ripemd160

PREFIX = "akash"
SIGNATURE_BYTES = 64

_FIELD = 2**256 - 2**32 - 977
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_BASE = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_Point = tuple[int, int, int]
_INFINITY: _Point = (0, 1, 0)


class Wallet:
    """A private key. Its address is its name in the market."""

    def __init__(self, seed: bytes) -> None:
        number = int.from_bytes(hashlib.sha512(seed).digest(), "big") % (_ORDER - 1) + 1
        self._key = ec.derive_private_key(number, ec.SECP256K1())
        public = self._key.public_key()
        self.address = address_of(public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))

    def sign(self, data: bytes) -> bytes:
        """Return the signature of SHA-256 of the data: r and s, the low one of both."""
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(SHA256())))
        s = min(s, _ORDER - s)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"Wallet({self.address})"


def address_of(public_key: bytes) -> str:
    """Return the address of a compressed public key."""
    return bech32.encode(PREFIX, ripemd160(hashlib.sha256(public_key).digest()))


def is_address(text: str) -> bool:
    """Tell whether a text is an address."""
    return len(bech32.decode(PREFIX, text) or b"") == 20


def signed_by(address: str, data: bytes, signature: bytes) -> bool:
    """Tell whether the key of an address signed the data."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _ORDER and 0 < s <= _ORDER // 2):
        return False
    digest = hashlib.sha256(data).digest()
    for x, y in _recover(int.from_bytes(digest, "big"), r, s):
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256K1()).public_key()
        if address_of(key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)) != address:
            continue
        try:
            key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(SHA256())))
        except InvalidSignature:
            return False
        return True
    return False


def _recover(digest: int, r: int, s: int) -> Iterator[tuple[int, int]]:
    """Yield the public keys that fit a signature."""
    inverse = pow(r, -1, _ORDER)
    for x in (r, r + _ORDER):
        if x >= _FIELD:
            return
        y = pow(pow(x, 3, _FIELD) + 7, (_FIELD + 1) // 4, _FIELD)
        if (y * y - x * x * x - 7) % _FIELD:
            continue
        for candidate in (y, _FIELD - y):
            one = _multiply((x, candidate, 1), s * inverse % _ORDER)
            other = _multiply((*_BASE, 1), -digest * inverse % _ORDER)
            found = _affine(_add(one, other))
            if found is not None:
                yield found


def _multiply(point: _Point, factor: int) -> _Point:
    found = _INFINITY
    for bit in f"{factor:b}":
        found = _double(found)
        if bit == "1":
            found = _add(found, point)
    return found


def _double(point: _Point) -> _Point:
    """Double a point in Jacobian coordinates (a = 0)."""
    x, y, z = point
    if not z:
        return _INFINITY
    square = y * y % _FIELD
    four = 4 * x * square % _FIELD
    slope = 3 * x * x % _FIELD
    new_x = (slope * slope - 2 * four) % _FIELD
    new_y = (slope * (four - new_x) - 8 * square * square) % _FIELD
    return new_x, new_y, 2 * y * z % _FIELD


def _add(one: _Point, other: _Point) -> _Point:
    """Add two points in Jacobian coordinates."""
    if not one[2]:
        return other
    if not other[2]:
        return one
    z1, z2 = one[2] * one[2] % _FIELD, other[2] * other[2] % _FIELD
    u1, u2 = one[0] * z2 % _FIELD, other[0] * z1 % _FIELD
    s1, s2 = one[1] * z2 * other[2] % _FIELD, other[1] * z1 * one[2] % _FIELD
    if u1 == u2:
        return _double(one) if s1 == s2 else _INFINITY
    width, rise = u2 - u1, s2 - s1
    square = width * width % _FIELD
    cube = square * width % _FIELD
    base = u1 * square % _FIELD
    x = (rise * rise - cube - 2 * base) % _FIELD
    y = (rise * (base - x) - s1 * cube) % _FIELD
    return x, y, width * one[2] * other[2] % _FIELD


def _affine(point: _Point) -> tuple[int, int] | None:
    if not point[2]:
        return None
    inverse = pow(point[2], -1, _FIELD)
    square = inverse * inverse % _FIELD
    return point[0] * square % _FIELD, point[1] * square * inverse % _FIELD
