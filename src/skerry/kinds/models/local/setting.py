"""What a model server is told at its start, and how it learns that nobody needs it any more."""

from __future__ import annotations

import os
import sys
import threading

import msgspec

EXTRA_STATUS = 78
"""With this status a server ends whose library is not installed (EX_CONFIG of sysexits.h)."""


class Setting(msgspec.Struct, frozen=True):
    """A model to serve: `engine` is llama or onnx; `context` is in tokens."""

    name: str
    engine: str
    path: str
    socket: str
    context: int
    threads: int
    parallel: int = 1
    embeddings: bool = False


def read_setting() -> Setting:
    """Read what to serve from standard input; from then on its end ends this process."""
    setting = msgspec.json.decode(sys.stdin.buffer.readline(), type=Setting)
    threading.Thread(target=_end_with_input, daemon=True).start()
    return setting


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)
