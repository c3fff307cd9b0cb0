"""Amounts as they are written: `500m` of a core, `512Mi` of memory, `30m` of time."""

from __future__ import annotations

import math
import re
from fractions import Fraction

SIZE = r"[0-9]+(\.[0-9]+)?([kKmMgGtTpPeE]i?[bB]?)?"
CPU = r"[0-9]+(\.[0-9]+)?m?"
WINDOW = r"[1-9][0-9]*(s|m|h)"

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kmgtpe]?)(i?)b?")
_POWERS = "kmgtpe"
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def size_bytes(text: str) -> int:
    """Return the bytes of a size: `k`, `M`, … are powers of 1000, `Ki`, `Mi`, … of 1024."""
    found = _SIZE.fullmatch(text.lower())
    assert found, text
    number, prefix, binary = found.groups()
    factor = (1024 if binary else 1000) ** (_POWERS.index(prefix) + 1) if prefix else 1
    return math.ceil(Fraction(number) * factor)


def cpu_milli(value: str | float) -> int:
    """Return thousandths of a core: `500m` and `0.5` are 500."""
    if isinstance(value, str) and value.endswith("m"):
        return math.ceil(Fraction(value[:-1]))
    return math.ceil(Fraction(str(value)) * 1000)


def seconds(text: str) -> int:
    """Return the seconds of a window such as `24h`."""
    return int(text[:-1]) * _SECONDS[text[-1]]


def show_bytes(count: int) -> str:
    """Return a size for people."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.4g} {unit}"
    return f"{count} B"
