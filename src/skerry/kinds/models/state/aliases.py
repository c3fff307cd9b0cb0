"""Aliases that were made by a word, beside those of `skerry.toml`."""

from __future__ import annotations

import apsw
import msgspec

from skerry.kernel.errors import INVALID

NAME_LENGTH_MAX = 200
TARGETS_MAX = 20
ALIASES_MAX = 1000


def put(connection: apsw.Connection, name: str, targets: list[str]) -> None:
    """Set an alias; raise INVALID if it cannot be one."""
    if not name.isprintable() or not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise INVALID(f"An alias has 1 to {NAME_LENGTH_MAX} printable characters.")
    if not 1 <= len(targets) <= TARGETS_MAX:
        raise INVALID(f"An alias has 1 to {TARGETS_MAX} models.")
    if len(everything(connection)) >= ALIASES_MAX:
        what = f"There are {ALIASES_MAX} aliases already."
        raise INVALID(what, hint="skerry models alias-delete")
    text = msgspec.json.encode(targets).decode()
    connection.execute("INSERT OR REPLACE INTO aliases (name, targets) VALUES (?, ?)", (name, text))


def delete(connection: apsw.Connection, name: str) -> bool:
    """Remove an alias; tell whether there was one."""
    connection.execute("DELETE FROM aliases WHERE name = ?", (name,))
    return connection.changes() > 0


def everything(connection: apsw.Connection) -> dict[str, list[str]]:
    """Return all aliases."""
    rows = connection.execute("SELECT name, targets FROM aliases")
    return {name: msgspec.json.decode(targets, type=list[str]) for name, targets in rows}
