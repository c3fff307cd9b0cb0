"""Export and import: one NDJSON file a table, in the order of their keys; secrets are in none.

The cache is left out: it is worth nothing elsewhere.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import apsw
import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.models.state import aliases, keys

ROWS_MAX = 5_000_000
_TABLES = {
    "keys": ("number", "name", "created", "revoked", "limits", "note"),
    "used": ("key", "quota", "window", "amount"),
    "aliases": ("name", "targets"),
    "calls": (
        "id", "time", "key", "asked", "model", "provider", "status", "micro_eur", "details",
    ),
    "responses": ("id", "key", "time", "body", "history"),
}  # fmt: skip
_BLOBS = {"body", "history"}

Rows = dict[str, list[tuple[Any, ...]]]


def export(connection: apsw.Connection, target: Path) -> None:
    """Write every table into the directory `target`."""
    for table, columns in _TABLES.items():
        with (target / f"{table}.ndjson").open("wb") as file:
            names = ", ".join(columns)
            for row in connection.execute(f"SELECT {names} FROM {table} ORDER BY 1, 2"):  # noqa: S608
                shape = {
                    name: base64.b64encode(value).decode() if name in _BLOBS else value
                    for name, value in zip(columns, row, strict=True)
                }
                file.write(msgspec.json.encode(shape) + b"\n")


def read(source: Path) -> Rows:
    """Read an export; raise INVALID if it is not one."""
    found: Rows = {}
    for table, columns in _TABLES.items():
        path = source / f"{table}.ndjson"
        if not path.is_file():
            raise INVALID(f"The export has no {table}.ndjson.")
        rows = []
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number > ROWS_MAX:
                    raise INVALID(f"{table}.ndjson has more than {ROWS_MAX} lines.")
                rows.append(_row(line, columns, f"{table}.ndjson line {number}"))
        found[table] = rows
    return found


def _row(line: bytes, columns: tuple[str, ...], place: str) -> tuple[Any, ...]:
    try:
        shape = msgspec.json.decode(line, type=dict[str, str | int | None])
        if set(shape) != set(columns):
            raise ValueError("its fields are others")
        return tuple(
            base64.b64decode(str(shape[name]), validate=True) if name in _BLOBS else shape[name]
            for name in columns
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise INVALID(f"{place} cannot be read: {error}.") from error


def replace(connection: apsw.Connection, rows: Rows) -> None:
    """Put an export in the place of everything, within the transaction of the caller."""
    connection.execute("DELETE FROM cache")
    for table, columns in _TABLES.items():
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
        try:
            connection.executemany(statement, rows[table])
        except (apsw.Error, TypeError) as error:
            raise INVALID(f"The export's {table} cannot be taken: {error}.") from error
    try:
        keys.everything(connection)
        aliases.everything(connection)
    except msgspec.MsgspecError as error:
        raise INVALID(f"The export's limits or aliases are malformed: {error}.") from error
