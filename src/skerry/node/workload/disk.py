"""The disk of a workload: a file system of exactly the agreed size in a file, or a folder.

Making one takes no program beyond the first of its size: a formatted, empty file system is kept as
a blank and copied, which writes the few blocks that are not holes. It is mounted through a loop
device that disappears with the mount (loop(4)).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

from skerry.kernel.errors import DISK_FULL, ENGINE_FAILED
from skerry.node.sandbox import linux
from skerry.node.workload.classes.base import find_program
from skerry.node.workload.order import Folder
from skerry.node.workload.spec import MIB

ENFORCED = "enforced: a file system of that size"
MEASURED = "measured every second: a workload that exceeds it is stopped"
_CONTROL = Path("/dev/loop-control")
_JOURNAL_BYTES_LEAST = 32 * MIB
_SECONDS = 60.0
_GET_FREE = 0x4C82
_CONFIGURE = 0x4C0A
_CLEAR = 0x4C01
_AUTOCLEAR = 0x4
_TRIES_MAX = 64
_BLANKS_MAX = 32
_CONFIG_BYTES = 304
_FLAGS_AT = 4 + 4 + 52
"""Where `lo_flags` lies in `struct loop_config`: after the descriptor, the block size, and the
numbers at the start of `struct loop_info64`."""


def make_disk(folder: Folder, size_bytes: int) -> str:
    """Mount a workload's disk at its folder, made if it is new; return how it is bounded.

    Raises DISK_FULL or ENGINE_FAILED.
    """
    folder.disk.mkdir(mode=0o700, exist_ok=True)
    mkfs = find_program("mkfs.ext4")
    if any(folder.disk.iterdir()) or mkfs is None or not _CONTROL.exists():
        return MEASURED
    if not folder.disk_image.exists():
        _make_image(mkfs, folder.disk_image, size_bytes)
    try:
        _mount(folder.disk_image, folder.disk)
    except OSError as error:
        if folder.state().started:
            raise ENGINE_FAILED(
                "The disk of the workload cannot be mounted.", why=str(error)
            ) from error
        # No loop devices are to be had, as in most containers.
        folder.disk_image.unlink()
        return MEASURED
    return ENFORCED


def _make_image(mkfs: str, path: Path, size_bytes: int) -> None:
    """Copy the blank of that size, made if there is none."""
    if shutil.disk_usage(path.parent).free < size_bytes:
        raise DISK_FULL(f"The machine has no room for a disk of {size_bytes // MIB} MiB.")
    blanks = path.parent.parent / ".blanks"
    blanks.mkdir(mode=0o700, exist_ok=True)
    blank = blanks / str(size_bytes)
    if not blank.exists():
        _make_room(blanks)
        _format(mkfs, blank, size_bytes)
    unfinished = path.with_name(".disk.new")
    _copy_sparse(blank, unfinished)
    unfinished.rename(path)


def _make_room(blanks: Path) -> None:
    """Remove the oldest blanks; each takes a few hundred KiB."""
    found = sorted(blanks.iterdir(), key=lambda each: each.stat().st_mtime)
    for each in found[: max(0, len(found) - _BLANKS_MAX + 1)]:
        each.unlink(missing_ok=True)


def _format(mkfs: str, blank: Path, size_bytes: int) -> None:
    unfinished = blank.with_name(f".{blank.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.truncate(file.fileno(), size_bytes)
        journal = [] if size_bytes >= _JOURNAL_BYTES_LEAST else ["-O", "^has_journal"]
        extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        done = subprocess.run(
            [mkfs, "-q", "-F", "-m", "0", *journal, "-E", extended, str(unfinished)],
            check=False,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            why = done.stderr.strip()[-300:]
            raise ENGINE_FAILED("The disk of the workload cannot be made.", why=why)
        unfinished.rename(blank)
    finally:
        unfinished.unlink(missing_ok=True)


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy what is no hole (lseek(2), SEEK_DATA)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with source.open("rb") as there, os.fdopen(os.open(target, flags, 0o600), "wb") as here:
        size = os.fstat(there.fileno()).st_size
        os.truncate(here.fileno(), size)
        at = 0
        while at < size:
            try:
                start = os.lseek(there.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            at = os.lseek(there.fileno(), start, os.SEEK_HOLE)
            _copy_range(there.fileno(), here.fileno(), start, at)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        data = os.pread(source, min(end - start, MIB), start)
        os.pwrite(target, data, start)
        start += len(data)


def _mount(image: Path, target: Path) -> None:
    """Attach an image to a free loop device and mount it. Raises `OSError`."""
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        device, path = _attach(file)
        try:
            flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOATIME
            linux.mount(path, str(target), "ext4", flags, "discard")
        except OSError:
            with contextlib.suppress(OSError):
                fcntl.ioctl(device, _CLEAR)
            raise
        finally:
            os.close(device)
    finally:
        os.close(file)


def _attach(file: int) -> tuple[int, str]:
    """Return a loop device that shows a file, and its path; others may take devices meanwhile."""
    config = bytearray(_CONFIG_BYTES)
    struct.pack_into("=I", config, 0, file)
    struct.pack_into("=I", config, _FLAGS_AT, _AUTOCLEAR)
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES_MAX):
            path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, bytes(config))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
                continue
            return device, path
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "every loop device was taken by others")
