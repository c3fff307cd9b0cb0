"""How much disk a directory has for itself, by the extents of its files (FS_IOC_FIEMAP)."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path

_FIEMAP = 0xC020660B
_HEADER = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQQQIIII")
_AT_ONCE = 256
_LAST = 0x1
_SHARED = 0x2000
_BLOCK_BYTES = 512


def exclusive_bytes(directory: Path) -> int:
    """Return the bytes of all files below that no other file shares by clone or hard link."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            try:
                total += _of_file(path)
            except FileNotFoundError:
                continue
    return total


def _of_file(path: Path) -> int:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        return 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return _unshared(descriptor)
    except OSError:
        # The file system has no map of extents and hence no shared ones.
        return status.st_blocks * _BLOCK_BYTES
    finally:
        os.close(descriptor)


def _unshared(descriptor: int) -> int:
    total = start = 0
    while True:
        request = bytearray(_HEADER.size + _AT_ONCE * _EXTENT.size)
        _HEADER.pack_into(request, 0, start, 2**64 - 1 - start, 0, 0, _AT_ONCE, 0)
        fcntl.ioctl(descriptor, _FIEMAP, request, True)
        count = _HEADER.unpack_from(request, 0)[3]
        flags = _LAST
        for index in range(count):
            row = _EXTENT.unpack_from(request, _HEADER.size + index * _EXTENT.size)
            start, length, flags = row[0] + row[2], row[2], row[5]
            total += 0 if flags & _SHARED else length
        if flags & _LAST:
            return total
