"""What the engine writes down beside the data, and reads again when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.kernel.journal import journal_of

Record = TypeVar("Record", bound=msgspec.Struct)


class Identity(msgspec.Struct, frozen=True):
    """Whose directory it is and what has been set up in it; what differs is set up again."""

    id: str
    extensions: tuple[str, ...]


class Owner(msgspec.Struct, frozen=True):
    """The resource whose server last ran in the directory; a copy still names its parent.

    It is written before a server starts, while `Identity` waits until all is set up.
    """

    id: str


class Counted(msgspec.Struct, frozen=True):
    """The server's totals that have been metered already."""

    active_ms: int = 0
    rows_written: int = 0


def read(path: Path, shape: type[Record]) -> Record | None:
    """Return a record, or None if it is missing or not what `write` wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(path: Path, content: msgspec.Struct, *, follows: bool = False) -> None:
    """Replace a record; one that a crash takes back is only made again.

    `follows`: standbys are told of it. Raises what the journal does.
    """
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(content))
    temporary.replace(path)
    if follows:
        journal_of(path).announce(path)
