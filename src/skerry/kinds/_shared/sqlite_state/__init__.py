"""A SQLite file as durable state of a resource, shared by several processes.

Every connection is opened alike: write-ahead log, `synchronous=FULL` (an acknowledged commit is on
the disk), and a busy timeout long enough to sit out a freeze. A freeze is a `WriterHold`.
Source: https://sqlite.org/wal.html, https://sqlite.org/howtocorrupt.html
"""

from skerry.kinds._shared.sqlite_state.connection import (
    BUSY_SECONDS,
    checkpoint,
    connect,
    disk_bytes,
)
from skerry.kinds._shared.sqlite_state.copy import copy_to, open_export, replace_with
from skerry.kinds._shared.sqlite_state.hold import WriterHold
from skerry.kinds._shared.sqlite_state.transaction import writing

__all__ = [
    "BUSY_SECONDS",
    "WriterHold",
    "checkpoint",
    "connect",
    "copy_to",
    "disk_bytes",
    "open_export",
    "replace_with",
    "writing",
]
