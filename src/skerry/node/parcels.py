"""Parcels: directories on their way to another node, first whole, then what changed since.

A parcel is a tar stream (POSIX pax) of plain files and folders with their modes and times. Between
the first and the second, a file counts as unchanged while its size and time of change are the same.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from skerry.kernel.errors import INVALID
from skerry.node.keys.sealing import Reader

BLOCK_BYTES = 1 << 20
END = b"\0" * (2 * tarfile.BLOCKSIZE)
"""What a parcel ends with."""


class Mark(NamedTuple):
    """How a file or a folder was seen."""

    is_folder: bool
    mode: int
    size: int
    changed: int


Marks = dict[str, Mark]
"""What a directory holds, by path."""


def survey(directory: Path, only: str = "") -> Marks:
    """Return what a directory holds, or only one folder of it, by paths from the directory.

    Sockets and pipes are left out, as nothing lasting.
    """
    found: Marks = {}
    top = directory / only
    if only and top.is_dir():
        found[only] = Mark(True, stat.S_IMODE(top.lstat().st_mode), 0, 0)
    for folder, names, files in os.walk(top):
        for name in sorted((*names, *files)):
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                is_folder = stat.S_ISDIR(status.st_mode)
                mode = stat.S_IMODE(status.st_mode)
                size = 0 if is_folder else status.st_size
                changed = 0 if is_folder else status.st_mtime_ns
                mark = Mark(is_folder, mode, size, changed)
                found[path.relative_to(directory).as_posix()] = mark
            elif stat.S_ISLNK(status.st_mode):
                raise INVALID(
                    f"{path.relative_to(directory)} is a symbolic link.",
                    why="A state with links out of its directory cannot be moved.",
                )
    return found


def differences(before: Marks, now: Marks) -> tuple[list[str], list[str]]:
    """Return the paths that are new or changed, folders first, and those that are gone."""
    changed = [path for path, mark in now.items() if before.get(path) != mark]
    gone = [path for path in before if path not in now]
    return changed, gone


def pack(
    directory: Path, paths: Iterable[str], *, prefix: str = "", ends: bool = True
) -> Iterator[bytes]:
    """Yield the parcel of some paths of a directory that does not change meanwhile.

    Names begin with `prefix`; without `ends`, another parcel may come behind this one.
    """
    for path in paths:
        source = directory / path
        status = source.lstat()
        info = tarfile.TarInfo(prefix + path)
        info.mode = stat.S_IMODE(status.st_mode)
        info.mtime = status.st_mtime_ns // 10**9
        info.pax_headers = {"SKERRY.mtime": str(status.st_mtime_ns)}
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
            yield info.tobuf(tarfile.PAX_FORMAT)
            continue
        info.size = status.st_size
        yield info.tobuf(tarfile.PAX_FORMAT)
        yield from _content(source, info.size)
    if ends:
        yield END


def _content(source: Path, size: int) -> Iterator[bytes]:
    left = size
    with source.open("rb") as file:
        while left:
            block = file.read(min(left, BLOCK_BYTES))
            if not block:
                raise INVALID(f"{source.name} became shorter while it was sent.")
            left -= len(block)
            yield block
    yield b"\0" * (-size % tarfile.BLOCKSIZE)


def unpack(archive: Path | Reader, target: Path, only: str = "") -> None:
    """Unpack a parcel into a directory, over what is there; a sealed one is read in order.

    With `only`, all of it must lie in one folder. Raises INVALID, and CORRUPT for a sealed one that
    does not open.
    """
    if isinstance(archive, Path):
        with tarfile.open(archive) as parcel:
            _unpack(parcel, target, only)
        return
    with tarfile.open(fileobj=cast("IO[bytes]", archive), mode="r|") as parcel:
        _unpack(parcel, target, only)
    archive.drain()


def _unpack(parcel: tarfile.TarFile, target: Path, only: str) -> None:
    for member in parcel:
        place = _place(target, member.name, only)
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(member.mode & 0o777)
        elif member.isreg():
            _write(parcel, member, place)
        else:
            raise INVALID(f"{member.name[:80]!r} is no plain file.")


def remove(target: Path, gone: Iterable[str], only: str = "") -> None:
    """Remove paths from a directory; what is in a folder comes after it in `gone`."""
    for path in sorted(gone, reverse=True):
        place = _place(target, path, only)
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        else:
            place.unlink(missing_ok=True)


def _place(target: Path, name: str, only: str = "") -> Path:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise INVALID(f"{name[:80]!r} leads out of the directory.")
    if only and parts[0] != only:
        raise INVALID(f"{name[:80]!r} is not of {only}.")
    return target.joinpath(*parts)


def _write(parcel: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    source = parcel.extractfile(member)
    assert source is not None, "a regular file has content"
    place.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    descriptor = os.open(place, flags, 0o600)
    with source, os.fdopen(descriptor, "wb") as file:
        while block := source.read(BLOCK_BYTES):
            file.write(block)
        os.fchmod(file.fileno(), member.mode & 0o777)
    changed = int(member.pax_headers.get("SKERRY.mtime", member.mtime * 10**9))
    os.utime(place, ns=(changed, changed))
