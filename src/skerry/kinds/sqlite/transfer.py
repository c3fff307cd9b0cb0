"""Moving a database in and out: an exact `.sqlite` file, and an SQL dump that a person can read."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

import apsw
import apsw.shell

from skerry.kernel.errors import INVALID
from skerry.kinds._shared.sqlite_state import connect, copy_to, open_export, replace_with
from skerry.kinds.sqlite.guard import Guard, protect

EXACT = "database.sqlite"
DUMP = "database.sql"


def export(path: Path, target: Path) -> None:
    """Write the database as of one commit to `target`, in both formats."""
    connection = connect(path)
    try:
        copy_to(connection, target / EXACT)
    finally:
        connection.close()
    copy = apsw.Connection(str(target / EXACT), apsw.SQLITE_OPEN_READONLY)
    try:
        with (target / DUMP).open("w", encoding="utf-8") as file:
            dump(copy, file)
    finally:
        copy.close()


def dump(connection: apsw.Connection, file: TextIO) -> None:
    """Write a database as SQL, without apsw's heading, which names the user and the machine."""
    shell = apsw.shell.Shell(stdout=_Headless(file), stderr=io.StringIO(), db=connection)
    shell.process_command(".dump")


def restore(path: Path, source: Path, scratch: Path) -> None:
    """Replace the content of `path` by the export in `source`; raise INVALID if it is none.

    Any one `.sqlite`, `.db` or `.sqlite3` file will do, or else any one `.sql` file.
    """
    files = sorted(each for each in source.iterdir() if each.is_file())
    exact = [each for each in files if each.suffix in (".sqlite", ".sqlite3", ".db")]
    dumps = [each for each in files if each.suffix == ".sql"]
    if len(exact) != 1 and (exact or len(dumps) != 1):
        raise INVALID(
            "The export holds no single .sqlite or .sql file.",
            hint="Give a folder with one SQLite file or one SQL dump.",
        )
    with tempfile.TemporaryDirectory(dir=scratch, prefix="restore-") as folder:
        private = Path(folder) / EXACT
        if exact:
            shutil.copy(exact[0], private)
            log = exact[0].with_name(exact[0].name + "-wal")
            if log.exists():
                shutil.copy(log, private.with_name(private.name + "-wal"))
        else:
            _run_dump(private, dumps[0])
        _replace(path, private)


def _replace(path: Path, private: Path) -> None:
    source = open_export(private)
    try:
        live = connect(path)
        try:
            replace_with(live, source)
        finally:
            live.close()
    finally:
        source.close()


def _run_dump(private: Path, file: Path) -> None:
    """Build a database from a dump, which may do no more than any client's SQL."""
    connection = apsw.Connection(str(private))
    try:
        guard = protect(connection)
        connection.authorizer = _Dump(guard)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, 1 << 30)
        connection.execute(file.read_text(encoding="utf-8"))
        if connection.in_transaction:
            connection.execute("COMMIT")
    except (apsw.Error, UnicodeDecodeError) as error:
        raise INVALID(f"{file.name} is not an SQL dump.", why=str(error)) from error
    finally:
        connection.close()


class _Dump:
    """The authorizer for dumps: what clients may do, and the pragmas that dumps begin with."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __call__(
        self, action: int, first: str | None, second: str | None, third: object, fourth: object
    ) -> int:
        allowed = ("writable_schema", "page_size", "encoding", "auto_vacuum")
        if action == apsw.SQLITE_PRAGMA and (first or "").lower() in allowed:
            return apsw.SQLITE_OK
        return self._guard(action, first, second, third, fourth)


class _Headless(io.TextIOBase):
    """Passes text on from the first empty line, where the heading of a dump ends."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._heading = True

    def write(self, text: str) -> int:
        if not self._heading:
            return self._file.write(text)
        if "\n\n" in text or text == "\n":
            self._heading = False
        return len(text)
