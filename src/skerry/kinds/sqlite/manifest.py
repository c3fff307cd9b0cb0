"""What the kind `sqlite` declares."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.manifest import (
    YES,
    Client,
    EngineInfo,
    Manifest,
    Remote,
    Unit,
    Verb,
    Wire,
    Word,
    not_yet,
)


class SqliteConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one database.

    `statement_seconds`: the longest that one statement may run.
    `transaction_seconds`: how long an open transaction may wait for its next statement.
    `rows_max`, `result_bytes_max`: the largest result of one statement.
    `database_bytes_max`: the largest database; a write beyond it fails with SQLITE_FULL.
    `streams_max`: how many streams may be open at once, over all clients.
    """

    statement_seconds: float = 30.0
    transaction_seconds: float = 10.0
    rows_max: int = 1_000_000
    result_bytes_max: int = 32 << 20
    database_bytes_max: int = 10 << 30
    streams_max: int = 256


class QueryParams(msgspec.Struct, frozen=True):
    """One SQL statement and the values of its parameters, by position."""

    sql: str
    args: tuple[str | int | float | None, ...] = ()


class QueryResult(msgspec.Struct, frozen=True):
    """What a statement answered; a blob is written as its hexadecimal digits."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    rows_read: int
    rows_written: int
    last_row_id: int | None = None


MANIFEST = Manifest(
    name="sqlite",
    summary="A SQLite database over HTTP and WebSocket.",
    stands_in_for="Turso, Cloudflare D1",
    engine_info=EngineInfo(name="SQLite", version="3.46", module="apsw"),
    engine="engine:SqliteEngine",
    subject="subject:SqliteSubject",
    replicates=YES,
    replica="replica:StateReplica",
    readable=True,
    can={
        Verb.BRANCH: YES,
        Verb.BRANCH_AT: not_yet("Past commits are not kept yet."),
        Verb.SLEEP: YES,
        Verb.PLACE: YES,
        Verb.METER: YES,
        Verb.BACKUP: YES,
        Verb.BIND: YES,
        Verb.EXPORT: YES,
        Verb.IMPORT: YES,
    },
    wires=(
        Wire(
            name="hrana",
            protocol="Hrana 1, 2 and 3 (JSON) over HTTP and WebSocket; D1's HTTP query API",
            summary="What libSQL and Turso clients speak.",
            application="wire:make",
            claim="claim:claim",
            gate="gate:gate",
            connection="connection:connection",
            clients=(
                Client(
                    name="@libsql/client",
                    language="JavaScript",
                    line='createClient({{ url: "{url}", authToken: "{token}" }})',
                ),
                Client(
                    name="@libsql/client (WebSocket)",
                    language="JavaScript",
                    line='createClient({{ url: "{socket_url}", authToken: "{token}" }})',
                ),
                Client(
                    name="libsql",
                    language="Python",
                    line='libsql.connect("{url}", auth_token="{token}")',
                ),
                Client(
                    name="cloudflare (D1)",
                    language="Python",
                    line='Cloudflare(base_url="{url}/client/v4", api_token="{token}")'
                    '.d1.database.query("{database_id}", account_id="{app}", sql="select 1")',
                ),
            ),
        ),
    ),
    binding="binding:bind",
    remote=Remote("remote:bind", wire="hrana"),
    config=SqliteConfig,
    units=(
        Unit("queries", "Statements that were run."),
        Unit("rows_read", "Rows that statements returned or scanned without an index."),
        Unit("rows_written", "Rows that statements inserted, changed or deleted."),
    ),
    words=(
        Word("query", "Run one statement that reads.", QueryParams, QueryResult, "read"),
        Word(
            "execute",
            "Run one statement of any sort.",
            QueryParams,
            QueryResult,
            "write",
            mutates=True,
        ),
    ),
    actions=("read", "write"),
    package=__package__ or "",
)
