"""A job's folder: laid out before the script begins, and read when it has ended.

    work/code            the source, unpacked; where the script starts
    work/input/data/…    a folder a channel      work/input/config/hyperparameters.json
    work/model           what it leaves as results
    work/checkpoints     what it leaves to go on from
    work/output/failure  why it failed, in its own words

The script could write anything below `work`, so that nothing there is trusted: no link is followed,
and only ordinary files are read.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from skerry.kernel.apart import WORK
from skerry.kernel.errors import TOO_LARGE
from skerry.kinds.quantum.hybrid import source

CODE, DATA, CONFIG, MODEL, CHECKPOINTS, OUTPUT, SCRATCH = (
    "code",
    "input/data",
    "input/config",
    "model",
    "checkpoints",
    "output",
    "tmp",
)
HYPERPARAMETERS = f"{CONFIG}/hyperparameters.json"
FAILURE = "failure"
FILES_MAX = 10_000
_FAILURE_BYTES_MAX = 1024


class Left(NamedTuple):
    """An ordinary file that a script left: its path below the folder, and marks of a change."""

    path: str
    size: int
    changed: int


def lay(folder: Path, code: bytes, hyperparameters: Mapping[str, str]) -> None:
    """Make the folder of a job anew, with its source unpacked."""
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / WORK
    for name in (CODE, DATA, CONFIG, MODEL, CHECKPOINTS, OUTPUT, SCRATCH):
        (work / name).mkdir(parents=True, exist_ok=True)
    source.unpack(code, work / CODE)
    (work / HYPERPARAMETERS).write_bytes(msgspec.json.encode(dict(hyperparameters)))


def place(folder: Path, below: str, name: str, data: bytes) -> None:
    """Put a file below a folder of the job, before the script begins."""
    root = folder / WORK / below
    path = Path(os.path.normpath(root / name))
    if root not in path.parents:
        # A key such as a/../../b is a name like any other to S3, and none to a file system.
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def left(folder: Path, below: str, bytes_max: int) -> dict[str, Left]:
    """Return the ordinary files that the script left in a folder; raise TOO_LARGE."""
    found: dict[str, Left] = {}
    total = 0
    for path, _, status in _files(folder / WORK, below):
        total += status.st_size
        if len(found) >= FILES_MAX or total > bytes_max:
            raise TOO_LARGE(
                f"The job left over {FILES_MAX} files or {bytes_max >> 20} MiB in {below}."
            )
        found[path] = Left(path, status.st_size, status.st_mtime_ns)
    return found


def read(folder: Path, below: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield the ordinary files in a folder whose paths are wanted."""
    for path, descriptor, status in _files(folder / WORK, below):
        if wanted(path):
            with open(descriptor, "rb", closefd=False) as file:
                yield path, file.read(status.st_size)


def packed(folder: Path) -> bytes:
    """Return the results of a job as an archive packed by gzip."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=6) as archive:
        for path, data in read(folder, MODEL, lambda _: True):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def failure(folder: Path) -> str:
    """Return why the script says that it failed, or nothing."""
    for path, data in read(folder, OUTPUT, lambda path: path == FAILURE):
        assert path == FAILURE
        return data[:_FAILURE_BYTES_MAX].decode("utf-8", "replace").strip()
    return ""


def _files(work: Path, below: str) -> Iterator[tuple[str, int, os.stat_result]]:
    """Yield path, open descriptor and status of every ordinary file; links are passed over."""
    try:
        top = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        for root, _, names, folder in os.fwalk(below, dir_fd=top, follow_symlinks=False):
            for name in sorted(names):
                descriptor = _open(name, folder)
                if descriptor is None:
                    continue
                try:
                    status = os.fstat(descriptor)
                    path = os.path.relpath(os.path.join(root, name), below)  # noqa: PTH118
                    if stat.S_ISREG(status.st_mode) and _is_text(path):
                        yield path, descriptor, status
                finally:
                    os.close(descriptor)
    finally:
        os.close(top)


def _open(name: str, folder: int) -> int | None:
    # Without O_NONBLOCK, a pipe that the script made would be waited for.
    with suppress(OSError):
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    return None


def _is_text(path: str) -> bool:
    """Tell whether a path can be a key: those of S3 are UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
