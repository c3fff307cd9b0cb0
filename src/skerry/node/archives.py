"""Uploads and downloads: tar archives on their way in and out, bounded and unpacked safely."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from skerry.kernel.clock import Entropy
from skerry.kernel.errors import DISK_FULL, INVALID, NOT_FOUND, TOO_LARGE
from skerry.node.keys.sealing import header_of, open_stream, seal

UPLOAD_BYTES_MAX = 64 * 1024**3
UNPACKED_BYTES_MAX = 256 * 1024**3
MEMBERS_MAX = 20_000_000
CHUNK_BYTES = 256 * 1024


class Archives:
    """The spool of a node."""

    def __init__(self, spool: Path, entropy: Entropy) -> None:
        self._spool = spool
        self._entropy = entropy

    def clear(self) -> None:
        """Remove what was on its way when the node stopped."""
        for each in self._spool.iterdir():
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink()

    def new_directory(self) -> Path:
        """Make an empty directory for the node's own use."""
        path = self._spool / self._entropy.bytes(8).hex()
        path.mkdir(mode=0o700)
        return path

    def new_directory_for(self, app: str, owner: int | None) -> Path:
        """Make an empty directory that the engines of an app can write to."""
        path = app_spool(self._spool, app, owner) / self._entropy.bytes(8).hex()
        path.mkdir(mode=0o700)
        give(path, owner)
        return path

    async def receive(self, chunks: AsyncIterator[bytes]) -> str:
        """Keep an upload; return its id. Raises TOO_LARGE."""
        upload = self._entropy.bytes(16).hex()
        path = self._spool / f"{upload}.tar"
        total = 0
        try:
            with path.open("xb") as file:
                async for chunk in chunks:
                    total += len(chunk)
                    if total > UPLOAD_BYTES_MAX:
                        raise TOO_LARGE(f"An upload has at most {UPLOAD_BYTES_MAX} bytes.")
                    await asyncio.to_thread(file.write, chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return upload

    async def unpack(self, upload: str, target: Path) -> None:
        """Unpack an upload into an empty directory, and forget it.

        Raises NOT_FOUND, INVALID, TOO_LARGE, DISK_FULL.
        """
        path = self.path(upload)
        try:
            await asyncio.to_thread(unpack, path, target)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DISK_FULL("The upload cannot be unpacked.", why=str(error)) from error
            raise INVALID(
                "The upload is not a tar archive of plain files.",
                why=_refusal(error),
                hint="tar -czf upload.tgz -C <folder> .",
            ) from error
        finally:
            path.unlink(missing_ok=True)

    async def seal(self, download: str, app: str, name: str, key: bytes) -> None:
        """Encrypt a download under a data key of an app."""
        path = self.path(download)
        await asyncio.to_thread(_replace, path, lambda file: seal(app, name, key, _blocks(file)))

    async def unseal(self, upload: str, app: str, find: Callable[[str], bytes]) -> None:
        """Decrypt an upload if it was sealed for an app; `find` gives a data key by its name.

        Raises NOT_FOUND, INVALID if it was sealed for another app, CORRUPT, and what `find` raises;
        then it is forgotten.
        """
        path = self.path(upload)
        try:
            await asyncio.to_thread(_unseal, path, app, find)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def borrowed(self, upload: str) -> Iterator[Path]:
        """Give an upload as a file, and forget it. Raises NOT_FOUND."""
        path = self.path(upload)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def pack(self, source: Path) -> str:
        """Pack a directory as a download, and remove it; return the download's id."""
        download = self._entropy.bytes(16).hex()
        path = self._spool / f"{download}.tar"
        try:
            await asyncio.to_thread(_pack, source, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, source, ignore_errors=True)
        return download

    async def send(self, download: str) -> AsyncIterator[bytes]:
        """Yield a download's bytes, and forget it."""
        path = self.path(download)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("rb"))
            path.unlink()
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

    def path(self, name: str) -> Path:
        """Return where an upload or a download lies; raise NOT_FOUND."""
        path = self._spool / f"{name}.tar"
        if not (name.isalnum() and path.exists()):
            raise NOT_FOUND(f"There is no upload or download {name}.", why="Each is used once.")
        return path


def _unseal(path: Path, app: str, find: Callable[[str], bytes]) -> None:
    with path.open("rb") as file:
        header = header_of(file)
        if header is None:
            return
        if header.app != app:
            raise INVALID(f"It was sealed for the app {header.app[:40]}, not for {app}.")
        key = find(header.key)
    _replace(path, lambda file: open_stream(file, header_of(file) or header, key))


def _replace(path: Path, made: Callable[[BinaryIO], Iterable[bytes]]) -> None:
    """Write a file of the spool anew, from what it holds."""
    beside = path.with_suffix(".new")
    try:
        with path.open("rb") as source, beside.open("xb") as target:
            for chunk in made(source):
                target.write(chunk)
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(CHUNK_BYTES):
        yield block


def app_spool(spool: Path, app: str, owner: int | None) -> Path:
    """Return the part of the spool that the engines of an app can reach, made if need be."""
    path = spool / app
    path.mkdir(mode=0o700, exist_ok=True)
    give(path, owner, deep=False)
    return path


def give(path: Path, owner: int | None, *, deep: bool = True) -> None:
    """Let the processes of an app own a file or a folder, and what is in it if `deep`."""
    if owner is None:
        return
    os.chown(path, owner, owner, follow_symlinks=False)
    if not deep:
        return
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(Path(folder, name), owner, owner, follow_symlinks=False)


def unpack(path: Path, target: Path) -> None:
    """Unpack plain files, folders and links that stay inside; nothing is written outside.

    `tarfile`'s own filters came only with Python 3.11.4. Raises TarError, TOO_LARGE.
    """
    total = 0
    links: list[tuple[Path, str]] = []
    with tarfile.open(path) as archive:
        for count, member in enumerate(archive, start=1):
            total += member.size
            if count > MEMBERS_MAX or total > UNPACKED_BYTES_MAX:
                raise TOO_LARGE(
                    "The archive holds too much.",
                    why=f"At most {MEMBERS_MAX} files of {UNPACKED_BYTES_MAX} bytes together.",
                )
            place = _place(target, member.name)
            if member.isdir():
                place.mkdir(mode=0o755, parents=True, exist_ok=True)
            elif member.issym():
                links.append((place, member.linkname))
            elif member.isreg() and not member.issparse():
                _write(archive, member, place)
            else:
                raise tarfile.ExtractError(f"{member.name!r} is no plain file")
    for place, goal in links:
        _link(target, place, goal)


def _refusal(error: Exception) -> str:
    """Return why an archive is refused: one sentence, whatever ways to read it were tried."""
    if isinstance(error, tarfile.ExtractError):
        return f"{error}."
    if isinstance(error, FileExistsError):
        return "A name comes twice, or as a file and as a folder."
    if isinstance(error, NotADirectoryError):
        return "A name is below one that is a file."
    if isinstance(error, tarfile.ReadError) and "could not be opened" in str(error):
        return "It is no tar archive, neither plain nor compressed by gzip, bzip2 or xz."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "A name is longer than this machine's file system allows."
    return "It is broken or cut off."


def _place(target: Path, name: str) -> Path:
    """Return where a member goes; raise ExtractError if that is not inside."""
    parts = PurePosixPath(name).parts
    if not parts and name in (".", "./"):
        return target
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise tarfile.ExtractError(f"{name!r} leads out of the folder")
    return target.joinpath(*parts)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    source = archive.extractfile(member)
    assert source is not None, "a regular file has content"
    mode = 0o755 if member.mode & 0o100 else 0o644
    # Links are made last, so that no name on the way here can be one. A name comes once: whoever
    # looked into the archive before has seen the file that is meant.
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with source, os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)


def _link(target: Path, place: Path, goal: str) -> None:
    """Make a symbolic link whose end is inside, whatever other links stand on the way."""
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    top, parent = target.resolve(), place.parent.resolve()
    inside = parent.is_relative_to(top) and (parent / goal).resolve().is_relative_to(top)
    if goal.startswith("/") or not inside:
        raise tarfile.ExtractError(f"the link {place.name!r} leads out of the folder")
    place.symlink_to(goal)


def _pack(source: Path, path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for each in sorted(source.iterdir()):
            archive.add(each, arcname=each.name)
