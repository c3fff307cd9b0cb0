"""A requirements file of an app, read strictly: names, versions, markers and hashes.

What pip's format allows beyond that would fetch from places that the operator did not name, or run
code when it is installed: URLs, paths, editable installs, indexes. It is refused with its line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skerry.kernel.errors import CONFIG_INVALID, SkerryError

BYTES_MAX = 1 << 20
DEPTH_MAX = 5
_CLAUSE = r"(?:===|[=~!<>]=|[<>])\s*[A-Za-z0-9.*+!_-]+"
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"\s*(?:\[[A-Za-z0-9,._\s-]*\])?"
    rf"\s*(?P<version>(?:{_CLAUSE}(?:\s*,\s*{_CLAUSE})*)?)"
    r"\s*(?P<marker>;(?:(?!--)[^@/#])*)?"
)
_HASH = re.compile(r"[a-z0-9]+:[0-9a-f]+")
_PIN = re.compile(r"===?\s*([A-Za-z0-9.!+_-]+)")
_INCLUDE = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s+|=)?(\S+)")
_HEAD_LENGTH_MAX = 500
_OPTIONS = ("--require-hashes", "--pre", "--prefer-binary")
_OURS = "skerry"
"""The node's own package is there already; apps may name it for their editors."""


def normal_name(name: str) -> str:
    """Return a package's name as PyPA's name normalisation spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def same_version(one: str, other: str) -> bool:
    """Tell whether two version numbers mean the same release: 1.0 and 1.0.0 do."""
    return _trimmed(one) == _trimmed(other)


def _trimmed(version: str) -> str:
    return re.sub(r"(\.0)+$", "", version.strip().lower().removeprefix("v"))


@dataclass(frozen=True, slots=True)
class Requirements:
    """What an app requires, one requirement a line, included files put in place."""

    lines: tuple[str, ...]
    constraints: tuple[str, ...] = ()

    @property
    def hashed(self) -> bool:
        """Whether the file names the hashes of what may be installed."""
        return any("--hash=" in line or line == "--require-hashes" for line in self.lines)

    def text(self) -> str:
        """Return the lines as pip reads them."""
        return "".join(f"{line}\n" for line in self.lines)

    def pins(self) -> dict[str, str]:
        """Return the exact versions that are required on every machine, by package."""
        found = {}
        for line in self.lines:
            match = _match(line)
            pin = _PIN.fullmatch(match["version"]) if match and not match["marker"] else None
            if match and pin and "*" not in pin[1]:
                found[match["name"]] = pin[1]
        return found


def read_requirements(code: Path, name: str) -> Requirements:
    """Read a requirements file in an app's folder. Raises CONFIG_INVALID with file and line."""
    lines: list[str] = []
    constraints: list[str] = []
    _Reader(code.resolve(), lines, constraints).read(name, lines, DEPTH_MAX)
    return Requirements(tuple(lines), tuple(constraints))


class _Reader:
    def __init__(self, root: Path, lines: list[str], constraints: list[str]) -> None:
        self._root = root
        self._lines = lines
        self._constraints = constraints

    def read(self, name: str, into: list[str], depth: int) -> None:
        path = (self._root / name).resolve()
        if not path.is_relative_to(self._root):
            raise CONFIG_INVALID(f"{name} lies outside of the app's folder.")
        if depth == 0:
            raise CONFIG_INVALID(f"{name} is included too deeply.", why="Do files include another?")
        for number, line in _logical_lines(_text(path, name)):
            include = _INCLUDE.fullmatch(line)
            if include:
                inner = os.path.relpath(path.parent / include[2], self._root)
                is_constraint = include[1] in ("-c", "--constraint")
                self.read(inner, self._constraints if is_constraint else into, depth - 1)
            elif line in _OPTIONS:
                self._lines.append(line)
            else:
                self._take(line, into, f"{name} line {number}")

    def _take(self, line: str, into: list[str], place: str) -> None:
        match = _match(line)
        if match is None:
            raise _refused(place, line)
        if normal_name(match["name"]) != _OURS:
            into.append(line)


def _match(line: str) -> re.Match[str] | None:
    """Return the parts of a requirement, or None if the line is none."""
    head, *hashes = line.split(" --hash=")
    if len(head) > _HEAD_LENGTH_MAX or not all(_HASH.fullmatch(each) for each in hashes):
        return None
    return _REQUIREMENT.fullmatch(head)


def _text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise CONFIG_INVALID(
            f"{name} cannot be read: {error.strerror}.",
            hint="Correct `requirements` in skerry.toml; its path starts at the app's folder.",
        ) from error
    except UnicodeDecodeError as error:
        raise CONFIG_INVALID(f"{name} is not UTF-8.") from error
    if len(data) > BYTES_MAX:
        raise CONFIG_INVALID(f"{name} is larger than {BYTES_MAX} bytes.")
    return text


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines: joined where they end in a backslash, without comments."""
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        first = first if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        whole = re.sub(r"(^|\s)#.*$", "", begun + line).strip()
        begun = ""
        if whole:
            yield first, re.sub(r"\s+", " ", whole)
    if begun.strip():
        yield first, begun.strip()


def _refused(place: str, line: str) -> SkerryError:
    if line.startswith("-"):
        why = "Options are set by the node's operator: indexes by PIP_INDEX_URL or pip.conf."
    elif "@" in line or "/" in line:
        why = "Requirements by URL or path are not installed; publish a wheel to your index."
    else:
        why = "Expected a name and a version, such as httpx>=0.27."
    return CONFIG_INVALID(
        f"{place}: {line.split(' --hash', 1)[0][:200]!r} cannot be required.", why=why
    )
