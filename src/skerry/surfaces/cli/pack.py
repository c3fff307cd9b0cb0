"""A folder as a stream of tar.gz, so that nothing of it need be held in memory."""

from __future__ import annotations

import fnmatch
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from skerry.kernel.errors import CONFLICT, INVALID

IGNORED = (
    ".git",
    ".hg",
    ".venv",
    "venv",
    "__pycache__",
    "*.pyc",
    "node_modules",
    ".skerry",
    ".env",
    ".env.*",
    ".DS_Store",
    ".*_cache",
)
"""What is never deployed: history, environments, caches, and files with secrets."""

_BLOCK = 512
_CHUNK_BYTES = 1 << 16
_ENTRIES_MAX = 100_000


def files(
    folder: Path, ignore: Sequence[str] = (), defaults: Sequence[str] = IGNORED
) -> Iterator[Path]:
    """Yield the files and links of a folder in a stable order, without what is ignored.

    A pattern without a slash is compared with every name, one with a slash with the path from the
    folder. Raises INVALID for a link that leads out of the folder.
    """
    patterns = tuple(each.rstrip("/") for each in (*defaults, *ignore))
    waiting = [folder]
    count = 0
    while waiting:
        for entry in sorted(os.scandir(waiting.pop()), key=lambda each: each.name):
            path = Path(entry.path)
            if is_ignored(path.relative_to(folder).as_posix(), patterns):
                continue
            count += 1
            if count > _ENTRIES_MAX:
                raise INVALID(
                    f"{folder} has more than {_ENTRIES_MAX} files.",
                    hint='Leave folders out with ignore = ["…"] in [app] of skerry.toml.',
                )
            if entry.is_symlink():
                _check_link(folder, path)
                yield path
            elif entry.is_dir():
                waiting.append(path)
            elif entry.is_file():
                yield path


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Tell whether a path, written with slashes, is left out."""
    name = PurePosixPath(path).name
    return any(
        fnmatch.fnmatchcase(path, each.lstrip("/"))
        if "/" in each
        else fnmatch.fnmatchcase(name, each)
        for each in patterns
    )


def _check_link(folder: Path, path: Path) -> None:
    target = path.readlink()
    if target.is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise INVALID(f"The link {path} leads out of the folder.", why=f"It points to {target}.")


def pack(
    folder: Path, ignore: Sequence[str] = (), defaults: Sequence[str] = IGNORED
) -> Iterator[bytes]:
    """Yield a tar.gz of a folder; owners and times of no use to the node are left out."""
    compressor = zlib.compressobj(level=6, wbits=31)
    for chunk in _tar(folder, (*defaults, *ignore)):
        packed = compressor.compress(chunk)
        if packed:
            yield packed
    yield compressor.flush()


def _tar(folder: Path, ignored: Sequence[str]) -> Iterator[bytes]:
    for path in files(folder, ignored, defaults=()):
        info = tarfile.TarInfo(path.relative_to(folder).as_posix())
        status = path.lstat()
        info.mtime = int(status.st_mtime)
        if path.is_symlink():
            info.type = tarfile.SYMTYPE
            info.linkname = str(path.readlink())
            yield info.tobuf(tarfile.PAX_FORMAT)
            continue
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & 0o100 else 0o644
        yield info.tobuf(tarfile.PAX_FORMAT)
        yield from _content(path, info.size)
    yield bytes(2 * _BLOCK)


def _content(path: Path, size: int) -> Iterator[bytes]:
    """Yield exactly the announced bytes, filled up to whole blocks."""
    left = size
    with path.open("rb") as file:
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise CONFLICT(f"{path} became shorter while it was read.", hint="Try again.")
            left -= len(chunk)
            yield chunk
    yield bytes(-size % _BLOCK)
