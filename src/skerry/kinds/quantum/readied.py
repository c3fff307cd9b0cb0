"""Compiled programs that were planned lately, so that the run need not compile them again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

PROGRAMS_MAX = 128
BYTES_MAX = 32 << 20
_NEEDED = ("source", "format", "bindings", "device", "level", "layout", "optimisation")
_encoder = msgspec.json.Encoder(order="deterministic")


class Readied:
    """What the worker made of programs, as texts; the oldest go beyond a bound."""

    def __init__(self) -> None:
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._bytes = 0

    def keep(self, params: dict[str, Any], text: str) -> None:
        """Keep what was made of the program that a worker was told of."""
        if not text or len(text) > BYTES_MAX:
            return
        key = _key(params)
        self._bytes += len(text) - len(self._texts.pop(key, ""))
        self._texts[key] = text
        while len(self._texts) > PROGRAMS_MAX or self._bytes > BYTES_MAX:
            _, oldest = self._texts.popitem(last=False)
            self._bytes -= len(oldest)

    def find(self, params: dict[str, Any]) -> str:
        """Return what was made of a program, or nothing."""
        return self._texts.get(_key(params), "")


def _key(params: dict[str, Any]) -> bytes:
    """Return a digest of all that a program's compiled form follows from."""
    content = _encoder.encode([params[name] for name in _NEEDED])
    return hashlib.blake2b(content, digest_size=16).digest()
