"""The recovery key: a text, and a QR code of it, that alone restores everything on a new machine.

It holds what is needed to reach the stores and to read what lies there: addresses, credentials, the
password. Whoever has it has everything, so it belongs on paper, in a safe place that burns at
another time than the machine.

    SKRY1 5M2TQ 8XK0J …     Crockford's base 32 (no I, L, O, U) in groups of five

The bytes are a msgpack array, compressed (zlib), after a CRC-32 that finds slips of the pen.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from skerry.kernel.errors import EXTRA_MISSING, INVALID
from skerry.node.backup.destination import Destination

if TYPE_CHECKING:
    import segno

PREFIX = "SKRY1"
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans({"I": "1", "L": "1", "O": "0", "U": "V"})
_GROUP = 5
_LENGTH_MAX = 4096
_CHECK = struct.Struct(">I")
_SHOWN = re.compile(rf"(?:^|>)[ \t]*({PREFIX}\s.*?)(?:\n[ \t]*\n|\Z)", re.DOTALL | re.MULTILINE)


class _Store(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a key keeps of a destination."""

    url: str
    password: str
    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = ""
    requests_per_second: int = 0


def encode(stores: Sequence[Destination]) -> str:
    """Return the text of the key for some stores, in groups."""
    kept = [_Store(*(getattr(each, name) for name in _Store.__struct_fields__)) for each in stores]
    packed = zlib.compress(msgspec.msgpack.encode(kept), 9)
    data = _CHECK.pack(zlib.crc32(packed)) + packed
    text = PREFIX + _base32(data)
    return " ".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def decode(text: str) -> list[Destination]:
    """Return the stores that a key names, the first one first; raise INVALID for a damaged key.

    Spaces, line breaks, hyphens and lower case do not matter. The text may be all that was shown
    with the key: then what begins like one is taken, up to an empty line.
    """
    plain = _plain(text)
    shown = _SHOWN.search(text)
    if shown is not None and not plain.startswith(PREFIX):
        plain = _plain(shown[1])
    if not plain.startswith(PREFIX) or len(plain) > _LENGTH_MAX:
        raise INVALID("This is no recovery key of Skerry.", why=f"One begins with {PREFIX}.")
    try:
        letters = plain[len(PREFIX) :].translate(_READ_AS)
        data = _unbase32(letters)
        if _base32(data) != letters:
            raise ValueError("the last letter is wrong")
        (check,) = _CHECK.unpack_from(data)
        packed = data[_CHECK.size :]
        if zlib.crc32(packed) != check:
            raise ValueError("a letter is wrong, missing or too many")
        unpacker = zlib.decompressobj()
        kept = msgspec.msgpack.decode(
            unpacker.decompress(packed, 4 * _LENGTH_MAX), type=list[_Store]
        )
    except (ValueError, struct.error, zlib.error, msgspec.DecodeError) as error:
        raise INVALID("The recovery key is damaged.", why=f"{error}.") from error
    return [Destination(**msgspec.structs.asdict(each)) for each in kept]


def _plain(text: str) -> str:
    return "".join(text.upper().split()).replace("-", "")


def picture(text: str) -> str:
    """Return a QR code of a key as lines of half blocks; raise EXTRA_MISSING without `segno`."""
    import io  # noqa: PLC0415 (only where a key is shown)

    out = io.StringIO()
    _code(text).terminal(out, compact=True, border=2)
    return out.getvalue()


def svg(text: str) -> str:
    """Return a QR code of a key for a printer; raise EXTRA_MISSING without `segno`."""
    return str(_code(text).svg_inline(scale=4, border=4, dark="#000", light="#fff"))


def _code(text: str) -> segno.QRCode:
    try:
        import segno  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise EXTRA_MISSING(
            "The QR code needs the package segno.", hint="pip install 'skerry[backup]'"
        ) from error
    return segno.make("".join(text.split()), error="m", boost_error=False, micro=False)


def _base32(data: bytes) -> str:
    bits = "".join(f"{each:08b}" for each in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(_ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))


def _unbase32(text: str) -> bytes:
    bits = "".join(f"{_ALPHABET.index(each):05b}" for each in text)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
