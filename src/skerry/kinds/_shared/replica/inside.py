"""Opening files of a resource's state so that no link on the way can lead out of it.

The state belongs to code of users, and who reads it here may read everything.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from skerry.kernel.errors import INVALID

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_inside(directory: Path, path: str, flags: int, *, make: bool = False) -> int:
    """Open a plain file below a directory; `make` makes the folders on the way.

    Raises INVALID for a path that leads out or to what is no plain file, and OSError.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise INVALID(f"{path[:80]!r} leads out of the directory.")
    folder = os.open(directory, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = _folder(folder, part, make=make)
            os.close(folder)
            folder = inner
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.open(parts[-1], flags, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise INVALID(f"{path[:80]!r} is no plain file.")
    return file


def _folder(parent: int, name: str, *, make: bool) -> int:
    if make:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            os.fsync(parent)
        except FileExistsError:
            pass
    return os.open(name, _FOLDER, dir_fd=parent)
