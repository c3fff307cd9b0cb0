"""Branches as directories, cloned file by file: sharing blocks where the file system can, or not.

`reflink` uses FICLONE (XFS, btrfs, bcachefs, ZFS) or, on macOS, `fclonefileat` (APFS; written to
its manual, not tried). `copy` lets the kernel copy and keeps holes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

from skerry.kernel.disk import sync_filesystem
from skerry.node.volume import encryption
from skerry.node.volume.tree import CopyFile, Immutable, TreeCopy
from skerry.node.volume.volume import Progress, Volume

_FICLONE = 0x40049409
_F_GETPATH = 50
_AT_FDCWD_APFS = -2
_CHUNK_BYTES = 8 << 20
_CANNOT_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)

_libc = ctypes.CDLL(None, use_errno=True)


class _FileVolume(Volume):
    """A volume whose branches are plain directories."""

    atomic: ClassVar[bool] = False
    _copy_file: ClassVar[CopyFile]

    def _make(self, path: Path) -> None:
        path.mkdir()

    def _copy(
        self,
        source: Path,
        path: Path,
        immutable: Immutable,
        progress: Progress,
        key: bytes | None = None,
    ) -> None:
        key = key or encryption.protection_of(source)
        prepare = None if key is None else partial(encryption.protect, identifier=key)
        TreeCopy(source, path, type(self)._copy_file, immutable, progress, prepare).run()

    def _flush(self, path: Path) -> None:
        sync_filesystem(path)


def clone_file(source: int, target: int, report: Callable[[int], None]) -> None:
    """Let `target` share all blocks of `source`."""
    if sys.platform == "darwin":
        _clone_file_apfs(source, target)
    else:
        fcntl.ioctl(target, _FICLONE, source)
    report(os.fstat(source).st_size)


def _clone_file_apfs(source: int, target: int) -> None:
    """Put a clone in the place of `target`, for macOS makes clones only under new names."""
    name = fcntl.fcntl(target, _F_GETPATH, bytes(1024)).rstrip(b"\0")
    Path(os.fsdecode(name)).unlink()
    if _libc.fclonefileat(source, _AT_FDCWD_APFS, name, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"fclonefileat: {os.strerror(number)}")


def copy_file(source: int, target: int, report: Callable[[int], None]) -> None:
    """Copy the data of `source`, leaving its holes out."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        end = min(size, os.lseek(source, start, os.SEEK_HOLE))
        report(start - at)
        _copy_range(source, target, start, end, report)
        at = end
    report(size - at)


def _copy_range(
    source: int, target: int, start: int, end: int, report: Callable[[int], None]
) -> None:
    in_kernel = hasattr(os, "copy_file_range")
    while start < end:
        count = min(end - start, _CHUNK_BYTES)
        done = 0
        if in_kernel:
            try:
                done = os.copy_file_range(source, target, count, start, start)
            except OSError as error:
                if error.errno not in _CANNOT_RANGE:
                    raise
                in_kernel = False
        if not in_kernel:
            done = os.pwrite(target, os.pread(source, count, start), start)
        if done == 0:
            # The file was cut short meanwhile; the rest stays a hole.
            return
        start += done
        report(done)


def copy_folder(volume: Volume, source: Path, target: Path, immutable: Immutable) -> None:
    """Make the new folder `target` a copy of one in a branch of the volume; nothing is flushed.

    Files share their blocks where the volume can do that.
    """
    copy = clone_file if volume.shares_blocks else copy_file
    TreeCopy(source, target, copy, immutable, _silent).run()


def _silent(_done: int, _total: int) -> None:
    """Report to nobody."""


class ReflinkVolume(_FileVolume):
    """A volume on a file system that can clone single files."""

    driver: ClassVar[str] = "reflink"
    shares_blocks: ClassVar[bool] = True
    _copy_file: ClassVar[CopyFile] = staticmethod(clone_file)


class CopyVolume(_FileVolume):
    """A volume on any file system."""

    driver: ClassVar[str] = "copy"
    shares_blocks: ClassVar[bool] = False
    _copy_file: ClassVar[CopyFile] = staticmethod(copy_file)
