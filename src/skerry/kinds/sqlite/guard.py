"""Connections that run SQL of others: what it may not do, and how large it may be.

Denied are other files (ATTACH, VACUUM INTO), extensions, and pragmas that would weaken durability,
reach outside, or hold the database against other processes. SQLite's defensive mode keeps the file
sound whatever the SQL. Source: https://sqlite.org/security.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import apsw.ext

from skerry.kernel.reading import leader_of
from skerry.kinds._shared.sqlite_state import connect

SQL_BYTES_MAX = 1 << 20
VALUE_BYTES_MAX = 64 << 20

_PRAGMAS = frozenset({
    "analysis_limit", "application_id", "case_sensitive_like", "collation_list",
    "compile_options", "data_version", "defer_foreign_keys", "foreign_key_check",
    "foreign_key_list", "foreign_keys", "freelist_count", "function_list",
    "ignore_check_constraints", "index_info", "index_list", "index_xinfo", "integrity_check",
    "legacy_alter_table", "module_list", "optimize", "page_count", "pragma_list", "query_only",
    "quick_check", "recursive_triggers", "reverse_unordered_selects", "table_info", "table_list",
    "table_xinfo", "user_version",
})  # fmt: skip
_PRAGMAS_TO_READ = frozenset({
    "auto_vacuum", "busy_timeout", "cache_size", "encoding", "journal_mode", "locking_mode",
    "max_page_count", "page_size", "schema_version", "synchronous", "temp_store",
    "wal_autocheckpoint",
})  # fmt: skip
_PRAGMAS_OF_THE_FILE = frozenset({"application_id", "user_version", "optimize"})
_FUNCTIONS_DENIED = frozenset({"load_extension", "fts3_tokenizer"})
_TEMPORARY = frozenset(
    {
        apsw.SQLITE_CREATE_TEMP_INDEX,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
    }
)
_LIMITS = (
    (apsw.SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
    (apsw.SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX),
    (apsw.SQLITE_LIMIT_VDBE_OP, 5_000_000),
    (apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 5000),
    (apsw.SQLITE_LIMIT_ATTACHED, 1),
    (apsw.SQLITE_LIMIT_WORKER_THREADS, 0),
)


class Guard:
    """The authorizer of one connection; notes what outlives a statement.

    `dirty` tells that the connection holds temporary objects or settings, so that nobody else may
    be given it. `scanned` counts the rows that statements visited without the help of an index.
    `leader` is the node that writes, if this database is a copy that is only read.
    """

    def __init__(self, leader: str = "") -> None:
        self.dirty = False
        self.scanned = 0
        self.leader = leader

    def __call__(
        self, action: int, first: str | None, second: str | None, _third: object, _fourth: object
    ) -> int:
        """Answer SQLite's question while it compiles a statement."""
        if action == apsw.SQLITE_FUNCTION:
            return apsw.SQLITE_DENY if second in _FUNCTIONS_DENIED else apsw.SQLITE_OK
        if action == apsw.SQLITE_PRAGMA:
            return self._pragma((first or "").lower(), second)
        if action == apsw.SQLITE_ATTACH:
            # The name is empty for the private scratch database that VACUUM attaches.
            return apsw.SQLITE_OK if first == "" else apsw.SQLITE_DENY
        if action in _TEMPORARY:
            self.dirty = True
        return apsw.SQLITE_OK

    def profile(self, trace: dict[str, Any]) -> None:
        """Take SQLite's counts at the end of a statement."""
        self.scanned += trace["stmt_status"]["SQLITE_STMTSTATUS_FULLSCAN_STEP"]

    def _pragma(self, name: str, argument: str | None) -> int:
        if name in _PRAGMAS_TO_READ:
            return apsw.SQLITE_OK if argument is None else apsw.SQLITE_DENY
        if name not in _PRAGMAS or (self.leader and name == "query_only" and argument is not None):
            return apsw.SQLITE_DENY
        if argument is not None and name not in _PRAGMAS_OF_THE_FILE:
            self.dirty = True
        return apsw.SQLITE_OK


def guarded(
    path: Path, *, database_bytes_max: int, busy_seconds: float
) -> tuple[apsw.Connection, Guard]:
    """Open the database for SQL of others."""
    connection = connect(path, busy_seconds=busy_seconds)
    try:
        connection.pragma("foreign_keys", "on")
        connection.pragma("max_page_count", max(1, database_bytes_max // 4096))
        guard = protect(connection, leader_of(path))
    except BaseException:
        connection.close()
        raise
    return connection, guard


def protect(connection: apsw.Connection, leader: str = "") -> Guard:
    """Set limits and the authorizer on a connection; `leader` is as in `Guard`."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    for limit, value in _LIMITS:
        connection.limit(limit, value)
    # generate_series is built into the sqlite3 shell and libSQL, so their users count on it.
    apsw.ext.make_virtual_module(
        connection, "generate_series", apsw.ext.generate_series_sqlite, eponymous_only=True
    )
    guard = Guard(leader)
    connection.authorizer = guard
    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, guard.profile)
    return guard
