"""Reads messages in Protocol Buffers' wire format, without their schema and with bounds.

Nothing is executed and nothing is trusted: a message is a table of numbered fields, and whoever
knows its schema asks for them by type. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from .ir import UnsupportedError

FIELDS_MAX = 400_000
_VARINT_BYTES_MAX = 10


class Message:
    """One message; a field that is not there reads as its type's zero, as in proto3."""

    def __init__(self, data: bytes) -> None:
        self._found: dict[int, list[Any]] = {}
        for count, (number, value) in enumerate(_fields(data)):
            if count >= FIELDS_MAX:
                raise UnsupportedError("The program has too many parts.")
            self._found.setdefault(number, []).append(value)

    def has(self, number: int) -> bool:
        """Tell whether a field was sent."""
        return number in self._found

    def integer(self, number: int) -> int:
        """Return a whole number of 32 bits."""
        return _signed(self._last(number, int, 0))

    def integers(self, number: int) -> list[int]:
        """Return repeated whole numbers, packed into one field or not."""
        found: list[int] = []
        for value in self._found.get(number, ()):
            if isinstance(value, bytes):
                place = 0
                while place < len(value):
                    each, place = _varint(value, place)
                    found.append(_signed(each))
            elif isinstance(value, int):
                found.append(_signed(value))
        return found

    def double(self, number: int) -> float:
        """Return a number of double precision."""
        return float(self._last(number, float, 0.0))

    def text(self, number: int) -> str:
        """Return a text."""
        try:
            return str(self._last(number, bytes, b"").decode())
        except UnicodeDecodeError as error:
            raise UnsupportedError("The program holds text that is not UTF-8.") from error

    def message(self, number: int) -> Message:
        """Return a message inside of this one."""
        return Message(self._last(number, bytes, b""))

    def messages(self, number: int) -> list[Message]:
        """Return repeated messages."""
        return [Message(each) for each in self._found.get(number, ()) if isinstance(each, bytes)]

    def which(self, numbers: range) -> int:
        """Return which of some fields was sent, 0 for none."""
        return next((number for number in numbers if number in self._found), 0)

    def _last(self, number: int, kind: type, missing: Any) -> Any:
        value = self._found.get(number, [missing])[-1]
        if not isinstance(value, kind):
            raise UnsupportedError(f"Field {number} of the program has the wrong type.")
        return value


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, form = key >> 3, key & 7
        if form == 0:
            value, place = _varint(data, place)
            yield number, value
        elif form in (1, 5):
            size, code = (8, "<d") if form == 1 else (4, "<f")
            yield number, struct.unpack(code, _cut(data, place, size))[0]
            place += size
        elif form == 2:
            size, place = _varint(data, place)
            yield number, _cut(data, place, size)
            place += size
        else:
            raise UnsupportedError("The program is no message of Protocol Buffers.")


def _cut(data: bytes, place: int, size: int) -> bytes:
    if place + size > len(data):
        raise UnsupportedError("The program ends in the middle.")
    return data[place : place + size]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place behind it."""
    value = 0
    for shift in range(_VARINT_BYTES_MAX):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value & (1 << 64) - 1, place
    raise UnsupportedError("The program ends in the middle.")


def _signed(value: int) -> int:
    """Return what 32 bits of two's complement say."""
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low >= 1 << 31 else low
