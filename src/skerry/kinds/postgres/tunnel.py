"""Reaching a PostgreSQL elsewhere: its DSN, and TLS for programs that were built without it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from skerry.kernel.errors import INVALID
from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.messages import SSL_REQUEST, WireError
from skerry.kinds._shared.pgwire.scram import PLUS

_SECONDS = 30.0
_CHUNK_BYTES = 256 * 1024
_SOCKET = "source/.s.PGSQL.5432"
_PLACE = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:]*))(?::(\d{1,5}))?")
_WRITING = ("read-write", "primary")
HOSTS_MAX = 16
_ENCRYPTED = ("require", "verify-ca", "verify-full")
_DESCRIBE = """
SELECT (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p')
          AND relnamespace NOT IN (SELECT oid FROM pg_namespace
                                   WHERE nspname ~ '^pg_' OR nspname = 'information_schema')),
       pg_database_size(current_database()),
       array(SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY oid)"""


@dataclass(frozen=True, slots=True)
class Source:
    """A database that a DSN names.

    `places` are all hosts and ports, in order; `host` and `port` are those of the first. `writes`:
    only a server that takes writes will do (`target_session_attrs`), so that a session finds the
    one that Patroni has made the leader.
    """

    dsn: str
    host: str
    port: int
    user: str
    password: str
    database: str
    ssl_mode: str
    places: tuple[tuple[str, int], ...] = ()
    writes: bool = False

    @classmethod
    def parse(cls, dsn: str) -> Source:
        """Read a DSN in URL form; raise INVALID without repeating it, as it holds a password."""
        try:
            parts = urlsplit(dsn)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            places = _places(parts.netloc.rpartition("@")[2], query)
            source = cls(
                dsn=dsn,
                host=places[0][0],
                port=places[0][1],
                user=unquote(parts.username or query.get("user", "")),
                password=unquote(parts.password or query.get("password", "")),
                database=unquote(parts.path.lstrip("/")) or query.get("dbname", ""),
                ssl_mode=query.get("sslmode", "prefer"),
                places=places,
                writes=query.get("target_session_attrs", "any") in _WRITING,
            )
        except ValueError as error:
            raise INVALID("The DSN is not a URL.", why=str(error)) from error
        named = all(host for host, _ in places)
        if parts.scheme not in ("postgres", "postgresql") or not named or not source.user:
            raise INVALID(
                "The DSN does not name a server and a user.",
                hint="postgres://user:password@host:5432/database",
            )
        return source

    def at(self, place: tuple[str, int]) -> Source:
        """Return the same database at one of its places."""
        return dataclasses.replace(self, host=place[0], port=place[1], places=(place,))

    async def describe(self) -> tuple[int, int, list[str]]:
        """Return the number of tables, the size in bytes, and the extensions; raise INVALID."""
        try:
            connection = await asyncpg.connect(self.dsn, timeout=_SECONDS)
            try:
                tables, size, extensions = await connection.fetchrow(_DESCRIBE)
            finally:
                await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise INVALID(
                f"The database at {self.host}:{self.port} cannot be read.", why=str(error)
            ) from error
        return int(tables), int(size), list(extensions)


def _places(where: str, query: dict[str, str]) -> tuple[tuple[str, int], ...]:
    """Return the hosts and ports of a DSN, several by commas; raise ValueError."""
    if where:
        pairs = [_PLACE.fullmatch(each) for each in where.split(",")]
        if not all(pairs):
            raise ValueError("it names no host")
        hosts = [(each[1] or each[2], each[3]) for each in pairs if each]
    else:
        hosts = [(each, None) for each in query.get("host", "").split(",")]
    ports = query.get("port", "5432").split(",")
    if len(hosts) > HOSTS_MAX or len(ports) not in (1, len(hosts)):
        raise ValueError(f"it names {len(hosts)} hosts and {len(ports)} ports")
    return tuple(
        (unquote(host), int(port or ports[number if len(ports) > 1 else 0]))
        for number, (host, port) in enumerate(hosts)
    )


@contextlib.asynccontextmanager
async def tunnel(source: Source, run: Path) -> AsyncIterator[str]:
    """Yield the connection string of a socket that leads to the source, by TLS if it can."""
    path = run / _SOCKET
    path.parent.mkdir(mode=0o700, exist_ok=True)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_carry(source, reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_unix_server(accept, path, limit=_CHUNK_BYTES)
    try:
        user, database = _quoted(source.user), _quoted(source.database or source.user)
        yield f"host={_quoted(str(path.parent))} port=5432 user={user} dbname={database}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        path.unlink(missing_ok=True)


async def _carry(
    source: Source, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        far_reader, far_writer = await connect(source)
        try:
            await asyncio.gather(_pump(reader, far_writer), _answer(far_reader, writer))
        finally:
            far_writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        refusal = WireError("08006", f"the source cannot be reached: {error}")
        writer.write(refusal.encode())
    finally:
        writer.close()


async def connect(source: Source) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the source, by TLS as its `sslmode` says; raises OSError."""
    if source.host.startswith("/"):
        path = f"{source.host}/.s.PGSQL.{source.port}"
        return await asyncio.open_unix_connection(path, limit=_CHUNK_BYTES)
    reader, writer = await asyncio.open_connection(source.host, source.port, limit=_CHUNK_BYTES)
    if source.ssl_mode == "disable":
        return reader, writer
    writer.write((8).to_bytes(4, "big") + SSL_REQUEST.to_bytes(4, "big"))
    if await reader.readexactly(1) == b"S":
        await writer.start_tls(_context(source.ssl_mode), server_hostname=source.host)
    elif source.ssl_mode in _ENCRYPTED:
        writer.close()
        raise ConnectionRefusedError("the server does not speak TLS")
    return reader, writer


def _context(ssl_mode: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = ssl_mode == "verify-full"
    if not ssl_mode.startswith("verify"):
        context.verify_mode = ssl.CERT_NONE
    return context


async def relay(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Carry bytes both ways until either side ends."""
    ways = [
        asyncio.create_task(_pump(near[0], far[1])),
        asyncio.create_task(_pump(far[0], near[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass the server's side on, without its offer to bind the log-in to TLS.

    The program behind the tunnel does not see the TLS, and would take the offer for an attack.
    """
    head = await reader.readexactly(5)
    body = await reader.readexactly(min(int.from_bytes(head[1:], "big") - 4, _CHUNK_BYTES))
    if head[:1] == b"R" and body[:4] == (10).to_bytes(4, "big"):
        offered = [each.decode() for each in body[4:].split(b"\x00") if each]
        writer.write(messages.sasl_mechanisms([each for each in offered if each != PLUS]))
    else:
        writer.write(head + body)
    await _pump(reader, writer)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
