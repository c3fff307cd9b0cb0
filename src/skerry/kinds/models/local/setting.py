"""What a model server is told at its start."""

from __future__ import annotations

import msgspec

EXTRA_STATUS = 78
"""With this status a worker ends whose library is not installed (EX_CONFIG of sysexits.h)."""


class Setting(msgspec.Struct, frozen=True):
    """A model to serve: `engine` is llama or onnx; `context` is in tokens."""

    name: str
    engine: str
    path: str
    socket: str
    context: int
    threads: int


class RefusedError(Exception):
    """A model cannot do what is asked."""
