"""Moving databases in and out: SQL dumps, and copies from a server elsewhere.

An export is a folder: `roles.sql`, one `databases/<name>.sql` a database as pg_dump writes it, and
`export.json` with what pg_dump leaves to the server. Everything is brought in beside what is there,
and takes its place in one transaction when it is complete; if anything fails, nothing has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import asyncpg
import msgspec

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kernel.keys import Keys
from skerry.kinds._shared.pgwire.messages import identifier
from skerry.kinds.postgres.control import Control, connect
from skerry.kinds.postgres.install import Installation
from skerry.kinds.postgres.programs import environment, pipe, run
from skerry.kinds.postgres.roles import APPLICATION, SUPERUSER, superuser_password
from skerry.kinds.postgres.tunnel import Source, tunnel

FORMAT = "skerry-postgres-1"
_MANIFEST = "export.json"
_NEW = "skerry incoming "
_OLD = "skerry outgoing "
_PROGRESS_SECONDS = 0.25
_OUR_ROLES = re.compile(rf"(CREATE|ALTER) ROLE ({SUPERUSER}|{APPLICATION})(;| WITH )")
_ELEMENT = re.compile(r'"(?:[^"]|"")*"|[^,\s"]+')
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "temp_tablespaces",
    }
)
_SETTINGS = """
SELECT d.datname::text AS database, r.rolname::text AS role, unnest(s.setconfig) AS setting
FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
LEFT JOIN pg_roles AS r ON r.oid = s.setrole ORDER BY 1, 2, 3"""
_DATABASES = """
SELECT datname::text AS name, pg_get_userbyid(datdba)::text AS owner, datconnlimit AS connections
FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' AND datallowconn ORDER BY 1"""


class Database(msgspec.Struct, frozen=True):
    """What pg_dump leaves out of a database."""

    name: str
    owner: str
    connections: int
    settings: list[tuple[str | None, str]] = []


class Export(msgspec.Struct, frozen=True):
    """The content of `export.json`."""

    format: str
    version: str
    databases: list[Database]


class Transfer:
    """Carries databases of one running server."""

    def __init__(
        self, installation: Installation, control: Control, run_directory: Path, keys: Keys
    ) -> None:
        self._installation = installation
        self._control = control
        self._run = run_directory
        self._keys = keys
        self._env = environment(
            PGHOST=str(run_directory),
            PGPORT="5432",
            PGUSER=SUPERUSER,
            PGPASSWORD=superuser_password(keys),
            PGSSLMODE="disable",
            PGGSSENCMODE="disable",
        )

    async def export(self, target: Path) -> None:
        """Write an export into an empty directory."""
        (target / "databases").mkdir()
        settings = await self._control.fetch(_SETTINGS)
        databases = [
            Database(
                **row,
                settings=[
                    (s["role"], s["setting"]) for s in settings if s["database"] == row["name"]
                ],
            )
            for row in await self._control.fetch(_DATABASES)
        ]
        await self._program("pg_dumpall", "--roles-only", "-l", "postgres", to=target / "roles.sql")
        await asyncio.to_thread(_keep_foreign_roles, target / "roles.sql")
        for number, each in enumerate(databases):
            to = _dump(target, number)
            await self._program("pg_dump", "-d", _connection_string(each.name), to=to)
        content = Export(FORMAT, self._installation.version, databases)
        (target / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(content)))

    async def restore(self, source: Path) -> None:
        """Replace all databases with those of an export; raise INVALID if it is none."""
        export = await asyncio.to_thread(_read, source)
        await self._drop_incoming()
        try:
            if (source / "roles.sql").exists():
                await self._roles(source / "roles.sql")
            for number, each in enumerate(export.databases):
                await self._fill(each, _dump(source, number))
        except SkerryError as error:
            await self._drop_incoming()
            raise INVALID("The export cannot be read.", why=error.why or error.what) from error
        except BaseException:
            await self._drop_incoming()
            raise
        await self._swap([each.name for each in export.databases], replace_all=True)

    async def copy_from(
        self, dsn: str, progress: Callable[[int, int, str], None]
    ) -> tuple[int, int]:
        """Replace the application's database with a copy of another; return (tables, bytes).

        Raises INVALID if the DSN leads nowhere, ENGINE_FAILED if the copy fails.
        """
        source = Source.parse(dsn)
        tables, total, extensions = await source.describe()
        await self._drop_incoming()
        try:
            await self._create(Database(APPLICATION, APPLICATION, -1))
            await self._extensions(extensions)
            done = asyncio.create_task(self._watch(total, progress))
            try:
                await self._copy(source)
            finally:
                done.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await done
        except BaseException:
            await self._drop_incoming()
            raise
        await self._swap([APPLICATION], replace_all=False)
        progress(total, total, f"{tables} tables are here")
        return tables, total

    async def _copy(self, source: Source) -> None:
        dump = [self._installation.program("pg_dump"), "--no-owner", "--no-privileges"]
        dump += ["--no-publications", "--no-subscriptions"]
        if self._installation.major >= 17:
            dump.append("--exclude-extension=*")
        load = [*self._psql(_NEW + APPLICATION), "-c", f"SET ROLE {APPLICATION}", "-f", "-"]
        async with tunnel(source, self._run) as arguments:
            env = environment(PGPASSWORD=source.password, PGSSLMODE="disable")
            await pipe([*dump, "-d", arguments], env, load, self._env)

    async def _watch(self, total: int, progress: Callable[[int, int, str], None]) -> None:
        size = f"SELECT pg_database_size('{_NEW}{APPLICATION}')"
        while True:
            done = int((await self._control.run(size))[0] or 0)
            progress(min(done, total), total, "copying")
            await asyncio.sleep(_PROGRESS_SECONDS)

    async def _extensions(self, names: list[str]) -> None:
        connection = await connect(self._run, self._keys, _NEW + APPLICATION)
        try:
            for name in names:
                known = await connection.fetchval(
                    "SELECT format('%I', name) FROM pg_available_extensions WHERE name = $1", name
                )
                if known is None:
                    raise INVALID(
                        f"The database uses the extension {name}, which this PostgreSQL lacks.",
                        hint="skerry postgres extensions <resource>",
                    )
                await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {known} CASCADE")
        finally:
            await connection.close()

    async def _roles(self, script: Path) -> None:
        """Create roles that are not there; those that are get the export's attributes."""
        text = await asyncio.to_thread(script.read_text)
        known = set(await self._control.run("SELECT rolname FROM pg_roles"))
        connection = await connect(self._run, self._keys)
        try:
            async with connection.transaction():
                for line in text.splitlines():
                    if not line or line.startswith(("--", "\\", "SET ")):
                        continue
                    created = re.match(r"CREATE ROLE (\S+);", line)
                    if created and created[1].strip('"') in known:
                        continue
                    await connection.execute(line)
        except (asyncpg.PostgresError, UnicodeDecodeError) as error:
            raise INVALID("roles.sql cannot be run.", why=str(error)) from error
        finally:
            await connection.close()

    async def _fill(self, database: Database, script: Path) -> None:
        await self._create(database)
        name = _NEW + database.name
        await run([*self._psql(name), "-1", "-f", str(script)], env=self._env)
        for role, setting in database.settings:
            key, _, value = setting.partition("=")
            of = f"ROLE {identifier(role)} IN DATABASE" if role else "DATABASE"
            await self._control.run(
                f"ALTER {of} {identifier(name)} SET {identifier(key)} TO {_setting(key, value)}"
            )

    async def _create(self, database: Database) -> None:
        await self._control.run(
            f"CREATE DATABASE {identifier(_NEW + database.name)} TEMPLATE template0 "
            f"OWNER {identifier(database.owner)} CONNECTION LIMIT {int(database.connections)}"
        )

    async def _swap(self, names: list[str], replace_all: bool) -> None:
        """Put the incoming databases in the place of the old ones, all at once."""
        present = [row["name"] for row in await self._control.fetch(_DATABASES)]
        old = [each for each in present if each in names or replace_all]
        old = [each for each in old if not each.startswith((_NEW, _OLD))]
        for each in old:
            await self._control.run(f"ALTER DATABASE {identifier(each)} ALLOW_CONNECTIONS false")
        connection = await connect(self._run, self._keys)
        try:
            await connection.fetch(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = ANY($1::text[])",
                old,
            )
            async with connection.transaction():
                for each in old:
                    await connection.execute(_rename(each, _OLD + each))
                for each in names:
                    await connection.execute(_rename(_NEW + each, each))
        except BaseException:
            for each in old:
                await connection.execute(
                    f"ALTER DATABASE {identifier(each)} ALLOW_CONNECTIONS true"
                )
            raise
        finally:
            await connection.close()
        for each in old:
            await self._control.run(f"DROP DATABASE {identifier(_OLD + each)}")

    async def _drop_incoming(self) -> None:
        """Remove what an earlier try left."""
        for name in await self._control.run("SELECT datname FROM pg_database"):
            if name and name.startswith((_NEW, _OLD)):
                await self._control.run(f"DROP DATABASE {identifier(name)} WITH (FORCE)")

    async def _program(self, name: str, *arguments: str, to: Path) -> None:
        await run([self._installation.program(name), *arguments], env=self._env, stdout=to)

    def _psql(self, database: str) -> list[str]:
        flags = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", _connection_string(database)]
        return [self._installation.program("psql"), *flags]


def _keep_foreign_roles(path: Path) -> None:
    """Leave out the roles that every Skerry database has."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not _OUR_ROLES.match(line)))


def _read(source: Path) -> Export:
    try:
        export = msgspec.json.decode((source / _MANIFEST).read_bytes(), type=Export)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        raise INVALID("This is not an export of a Postgres database.", why=str(error)) from error
    missing = [n for n, _ in enumerate(export.databases) if not _dump(source, n).is_file()]
    if export.format != FORMAT or missing:
        raise INVALID("This export is incomplete or of a newer Skerry.", why=export.format)
    if APPLICATION not in [each.name for each in export.databases]:
        raise INVALID(f"The export has no database {APPLICATION!r}.")
    return export


def _dump(folder: Path, number: int) -> Path:
    return folder / "databases" / f"{number}.sql"


def _rename(old: str, new: str) -> str:
    return f"ALTER DATABASE {identifier(old)} RENAME TO {identifier(new)}"


def _setting(key: str, value: str) -> str:
    """Return a setting's stored value as SQL; lists of names are stored quoted, one by one."""
    if key.lower() not in _LISTS:
        return _literal(value)
    names = [
        each[1:-1].replace('""', '"') if each.startswith('"') else each
        for each in _ELEMENT.findall(value)
    ]
    return ", ".join(map(_literal, names)) or "''"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _connection_string(database: str) -> str:
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{quoted}'"
