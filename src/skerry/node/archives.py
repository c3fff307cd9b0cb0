"""Uploads and downloads: tar archives on their way in and out, bounded and unpacked safely."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

from skerry.kernel.clock import Entropy
from skerry.kernel.errors import INVALID, NOT_FOUND, TOO_LARGE

UPLOAD_BYTES_MAX = 64 * 1024**3
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
        """Unpack an upload into a directory, and forget it. Raises NOT_FOUND, INVALID."""
        path = self._path(upload)
        try:
            await asyncio.to_thread(_unpack, path, target)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise INVALID("The upload is not a tar archive of plain files.", why=str(error)) from (
                error
            )
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
        path = self._path(download)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("rb"))
            path.unlink()
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

    def _path(self, name: str) -> Path:
        path = self._spool / f"{name}.tar"
        if not (name.isalnum() and path.exists()):
            raise NOT_FOUND(f"There is no upload or download {name}.", why="Each is used once.")
        return path


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
    os.chown(path, owner, owner)
    if not deep:
        return
    for folder, names, files in os.walk(path):
        os.chown(folder, owner, owner)
        for name in (*names, *files):
            os.chown(Path(folder, name), owner, owner, follow_symlinks=False)


def _unpack(path: Path, target: Path) -> None:
    with tarfile.open(path) as archive:
        archive.extractall(target, filter="data")


def _pack(source: Path, path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for each in sorted(source.iterdir()):
            archive.add(each, arcname=each.name)
