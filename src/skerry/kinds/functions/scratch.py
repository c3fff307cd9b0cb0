"""Where a function's temporary files go: its sandbox lets it write nowhere else.

They lie beside its sockets, are not branched, and are gone when the function has slept.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_VARIABLES = ("TMPDIR", "HOME", "XDG_CACHE_HOME")
"""What libraries ask for a place to write in."""


class Scratch:
    """A directory that this process and its children take for the system's temporary one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._before = {name: os.environ.get(name) for name in _VARIABLES}
        self._before_default = tempfile.tempdir

    def open(self) -> None:
        """Make the directory and let everything find it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for name in _VARIABLES:
            os.environ[name] = str(self._directory)
        tempfile.tempdir = str(self._directory)

    def close(self) -> None:
        """Put back what was there before, and remove the files."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        tempfile.tempdir = self._before_default
        shutil.rmtree(self._directory, ignore_errors=True)
