"""Branches as btrfs subvolumes; a clone is a snapshot, whatever its size.

The calls are the kernel's ioctls (`include/uapi/linux/btrfs.h`), so no btrfs-progs are needed. An
ordinary user may make and snapshot subvolumes of its own; where the mount does not let it destroy
one (`user_subvol_rm_allowed`), it is emptied and removed like a directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import ClassVar

from skerry.kernel.errors import UNSUPPORTED
from skerry.node.volume.tree import Immutable
from skerry.node.volume.volume import Progress, Volume, fsync_directory, remove_tree

_ARGUMENTS_BYTES = 4096
_NAME_AT_V1 = 8
_NAME_AT_V2 = 56
_SUBVOLUME_INODE = 256


def _request(number: int) -> int:
    return 1 << 30 | _ARGUMENTS_BYTES << 16 | 0x94 << 8 | number


_SNAP_DESTROY = _request(15)
_SNAP_CREATE_V2 = _request(23)
_SUBVOL_CREATE_V2 = _request(24)


class BtrfsVolume(Volume):
    """A volume on btrfs."""

    driver: ClassVar[str] = "btrfs"
    atomic: ClassVar[bool] = True
    shares_blocks: ClassVar[bool] = True

    def _make(self, path: Path) -> None:
        _call(_SUBVOL_CREATE_V2, path)

    def _copy(
        self,
        source: Path,
        path: Path,
        immutable: Immutable,
        progress: Progress,
        key: bytes | None = None,
    ) -> None:
        if key is not None:
            raise UNSUPPORTED("btrfs does not encrypt directories.")
        descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # The kernel flushes the source's pending writes and commits before it returns.
            _call(_SNAP_CREATE_V2, path, descriptor)
        finally:
            os.close(descriptor)
        progress(1, 1)

    def _flush(self, path: Path) -> None:
        fsync_directory(path.parent)

    def _discard(self, path: Path) -> None:
        if path.lstat().st_ino != _SUBVOLUME_INODE:
            remove_tree(path)
            return
        try:
            _call(_SNAP_DESTROY, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTEMPTY):
                raise
            remove_tree(path)


def _call(request: int, path: Path, source: int = 0) -> None:
    """Make one subvolume call for the name `path` in its directory."""
    arguments = bytearray(_ARGUMENTS_BYTES)
    struct.pack_into("=q", arguments, 0, source)
    at = _NAME_AT_V1 if request == _SNAP_DESTROY else _NAME_AT_V2
    name = os.fsencode(path.name)
    arguments[at : at + len(name)] = name
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(parent, request, arguments, True)
    finally:
        os.close(parent)
