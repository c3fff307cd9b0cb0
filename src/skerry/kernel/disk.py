"""The calls to the disk that kinds and the node share and the standard library lacks somewhere."""

from __future__ import annotations

import ctypes
import fcntl
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def sync_data(descriptor: int) -> None:
    """Bring what was written to a file to the disk. Raises `OSError`.

    macOS has no fdatasync(2), and its fsync(2) leaves the data in the drive's own memory.
    """
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_filesystem(path: Path) -> None:
    """Bring everything on a directory's file system to the disk (syncfs(2)).

    With many files it is far cheaper than one by one. Raises `OSError`.
    """
    if not hasattr(_libc, "syncfs"):
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"syncfs: {os.strerror(number)}", str(path))
    finally:
        os.close(descriptor)
