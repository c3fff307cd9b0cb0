"""Official clients through the node's port: log-in, relay, sleep, refusals."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from typing import Any

import asyncpg
import psycopg
import pytest

from skerry.kernel.errors import ENGINE_FAILED
from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.scram import make_credential
from skerry.kinds.postgres import roles
from skerry.kinds.postgres.install import find
from skerry.kinds.postgres.limits import Limits
from skerry.kinds.postgres.tests.harness import EngineProcess
from skerry.kinds.postgres.tests.node import Node
from skerry.kinds.postgres.upstream import Upstream

WHEEL_PSQL = find("", 18).program("psql")
PSQLS = [program for program in (WHEEL_PSQL, shutil.which("psql")) if program]


async def run(*argv: str, **env: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**os.environ, "PGCONNECT_TIMEOUT": "20", **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode().strip()


async def until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that")


async def doze(node: Node, count: int = 1) -> None:
    """Wait until all sessions are known not to need the server."""
    held = [session for session in node.sessions if not session.closed]
    assert len(held) == count
    await until(lambda: not any(session.is_active for session in held))


@pytest.mark.parametrize("psql", PSQLS)
async def test_psql_wakes_the_database(node: Node, sleeping: EngineProcess, psql: str) -> None:
    code, said = await run(psql, node.dsn(sleeping), "-Atc", "SELECT current_user, 6 * 7")
    assert (code, said) == (0, "app|42")
    assert node.opened == [sleeping.id]


WAYS: list[dict[str, str]] = [
    {"sslmode": "disable"},
    {"sslmode": "require"},
    {"sslmode": "require", "channel_binding": "require"},
    {"sslmode": "require", "channel_binding": "disable"},
    {"sslmode": "require", "sslnegotiation": "direct"},
    {"sslmode": "disable", "max_protocol_version": "3.2"},
    {"sslmode": "prefer", "gssencmode": "prefer"},
]


async def test_psycopg_connects_in_every_way(node: Node, sleeping: EngineProcess) -> None:
    for options in WAYS:
        dsn = node.dsn(sleeping, **options)
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            assert await (await connection.execute("SELECT 42")).fetchone() == (42,), options


async def test_the_server_certificate_is_checked(node: Node, sleeping: EngineProcess) -> None:
    dsn = node.dsn(sleeping, sslmode="verify-full", sslrootcert=node.certificate)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        assert connection.pgconn.ssl_in_use


LABELS: list[dict[str, str]] = [
    {"host": "db--main--newsroom.localhost", "hostaddr": "127.0.0.1", "sslmode": "require"},
    {"host": "newsroom.localhost", "hostaddr": "127.0.0.1", "sslmode": "require"},
    {"options": "endpoint=main--newsroom"},
    {"options": "-c endpoint=newsroom -c work_mem=5MB"},
    {"user": "app@newsroom"},
    {"dbname": "app@main--newsroom"},
    {"dbname": "app@newsroom", "options": "endpoint=newsroom"},
]


async def test_a_label_selects_the_database(node: Node, sleeping: EngineProcess) -> None:
    for fields in LABELS:
        given = {"host": "127.0.0.1", "user": "app", "dbname": "app", "port": str(node.port)}
        given |= {"password": sleeping.keys.secret("password"), **fields}
        async with await psycopg.AsyncConnection.connect(**given) as connection:
            query = "SELECT current_database(), current_setting('work_mem')"
            work = "5MB" if "work_mem" in fields.get("options", "") else "4MB"
            assert await (await connection.execute(query)).fetchone() == ("app", work), fields


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"dbname": "app"}, "08004"),
        ({"dbname": "app@newsroom", "options": "endpoint=main--newsroom"}, "08004"),
        ({"options": "endpoint=A_B"}, "08004"),
        ({"dbname": "app@nowhere"}, "3D000"),
        ({"password": "wrong", "dbname": "app@newsroom"}, "28P01"),
        ({"user": "nobody", "dbname": "app@newsroom"}, "28P01"),
        ({"user": "skerry", "dbname": "app@newsroom"}, "28P01"),
    ],
)
async def test_a_refusal_has_its_sqlstate_and_wakes_nothing(
    node: Node, sleeping: EngineProcess, fields: dict[str, str], code: str
) -> None:
    password = sleeping.keys.secret("password")
    if fields.get("user") == "skerry":
        password = sleeping.keys.shared("superuser")
    given = {"host": "127.0.0.1", "user": "app", "dbname": "app", "port": str(node.port)}
    given |= {"password": password, "sslmode": "disable", **fields}
    with pytest.raises(psycopg.OperationalError) as caught:
        await psycopg.AsyncConnection.connect(**given)
    assert caught.value.pgconn is not None
    asked = {key.replace("dbname", "database"): value for key, value in given.items()}
    asked.pop("sslmode")
    options = asked.pop("options", None)
    settings = {"options": options} if options else {}
    with pytest.raises(asyncpg.PostgresError) as native:
        await asyncpg.connect(**asked, ssl=False, server_settings=settings)
    assert native.value.sqlstate == code
    assert node.opened == []


async def test_one_name_two_meanings_is_refused_only_if_both_exist(
    node: Node, sleeping: EngineProcess
) -> None:
    given = {"host": "node7.localhost", "hostaddr": "127.0.0.1", "port": str(node.port)}
    given |= {"user": "app", "password": sleeping.keys.secret("password"), "sslmode": "require"}
    given |= {"dbname": "app@newsroom"}
    async with await psycopg.AsyncConnection.connect(**given):
        pass
    given["host"] = "main--newsroom.localhost"
    with pytest.raises(psycopg.OperationalError, match="inconsistent"):
        await psycopg.AsyncConnection.connect(**given)


async def test_a_copy_that_never_ran_takes_its_own_password_only(
    node: Node, sleeping: EngineProcess, tmp_path: Any
) -> None:
    copy = sleeping.clone(tmp_path / "two", "00000000000000bb")
    node.add(copy, branch="pr-1")
    old = node.dsn(sleeping, "pr-1--newsroom")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(old)
    assert node.opened == []
    connection = await asyncpg.connect(node.dsn(copy, "pr-1--newsroom"))
    assert node.opened == [copy.id]
    await connection.close()


async def test_a_failure_to_wake_reaches_the_client(node: Node, sleeping: EngineProcess) -> None:
    node.refusal = ENGINE_FAILED("The disk is full.", why="0 bytes are left.")
    with pytest.raises(asyncpg.PostgresError, match="The disk is full") as caught:
        await asyncpg.connect(node.dsn(sleeping))
    assert caught.value.sqlstate == "57P03"


async def test_roles_that_the_application_makes_can_log_in(
    node: Node, sleeping: EngineProcess
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping))
    await connection.execute("CREATE ROLE editor LOGIN PASSWORD 'pencil'")
    given = {"host": "127.0.0.1", "port": node.port, "user": "editor", "password": "pencil"}
    other = await asyncpg.connect(**given, database="app@newsroom")
    assert await other.fetchval("SELECT current_user") == "editor"
    await connection.execute("ALTER ROLE editor PASSWORD 'rubber'")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**given, database="app@newsroom")
    given["password"] = "rubber"
    third = await asyncpg.connect(**given, database="app@newsroom")
    for each in (connection, other, third):
        await each.close()


async def test_copy_listen_and_prepared_statements_pass(
    node: Node, sleeping: EngineProcess
) -> None:
    async with await psycopg.AsyncConnection.connect(
        node.dsn(sleeping), autocommit=True, prepare_threshold=0
    ) as connection:
        await connection.execute("CREATE TABLE t (n int, s text)")
        async with connection.cursor().copy("COPY t FROM STDIN") as copy:
            for number in range(20_000):
                await copy.write_row((number, "x" * 50))
        total = 0
        async with connection.cursor().copy("COPY t TO STDOUT") as copy:
            async for block in copy:
                total += len(block)
        assert total > 20_000 * 52
        await connection.execute("LISTEN news")
        await connection.execute("SELECT pg_notify('news', 'flood')")
        heard = [note async for note in connection.notifies(timeout=5, stop_after=1)]
        assert heard[0].payload == "flood"


async def cancel(connection: psycopg.AsyncConnection[Any], running: asyncio.Task[Any]) -> None:
    """Cancel until the statement ends: a request that overtakes it does nothing."""
    while not running.done():
        await connection.cancel_safe(timeout=20)
        await asyncio.wait({running}, timeout=0.2)


async def test_a_cancel_request_finds_its_session(node: Node, sleeping: EngineProcess) -> None:
    for more in ({"sslmode": "disable"}, {"sslmode": "require", "max_protocol_version": "3.2"}):
        dsn = node.dsn(sleeping, **more)
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            running = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
            await cancel(connection, running)
            with pytest.raises(psycopg.errors.QueryCanceled):
                await running


async def test_a_guessed_cancel_key_does_nothing(node: Node, sleeping: EngineProcess) -> None:
    async with await psycopg.AsyncConnection.connect(node.dsn(sleeping)) as connection:
        process = connection.pgconn.backend_pid
        running = asyncio.create_task(connection.execute("SELECT pg_sleep(0.5)"))
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        packet = (80877102).to_bytes(4, "big") + process.to_bytes(4, "big") + b"\x00" * 4
        writer.write((len(packet) + 4).to_bytes(4, "big") + packet)
        assert await reader.read() == b""
        writer.close()
        await running


async def test_pgbench_runs(node: Node, sleeping: EngineProcess) -> None:
    pgbench = find("", 18).program("pgbench")
    at = ["-h", "127.0.0.1", "-p", str(node.port), "-U", "app"]
    password = {"PGPASSWORD": sleeping.keys.secret("password")}
    code, said = await run(pgbench, "-i", "-q", "-s", "1", *at, "app@newsroom", **password)
    assert code == 0, said
    for mode in ("simple", "extended", "prepared"):
        work = ["-n", "-c", "4", "-t", "50", "-M", mode]
        code, said = await run(pgbench, *work, *at, "app@newsroom", **password)
        assert code == 0, said
        assert "processed: 200/200" in said


async def test_an_idle_session_outlives_the_servers_sleep(
    node: Node, sleeping: EngineProcess
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping))
    statement = await connection.prepare("SELECT $1::int + 1")
    assert await statement.fetchval(1) == 2
    await connection.execute("SET work_mem = '5MB'; SET search_path = 'it''s', public")
    await connection.execute("PREPARE twice (int) AS SELECT $1 * 2")
    await doze(node)
    await node.sleep(sleeping)
    assert await statement.fetchval(2) == 3
    assert await connection.fetchval("SHOW work_mem") == "5MB"
    assert await connection.fetchval("SHOW search_path") == '"it\'s", public'
    assert await connection.fetchval("EXECUTE twice(21)") == 42
    assert len(node.opened) == 2
    await connection.close()


async def test_a_statement_sent_while_the_server_goes_to_sleep_is_not_lost(
    node: Node, sleeping: EngineProcess
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping))
    await connection.execute("CREATE TABLE t (n int)")
    await doze(node)
    async with node.lock:
        going = asyncio.create_task(node.sleep(sleeping))
        await asyncio.sleep(0)
        writing = asyncio.create_task(connection.execute("INSERT INTO t VALUES (1)"))
        await going
    await writing
    assert await connection.fetchval("SELECT count(*) FROM t") == 1
    await connection.close()


async def test_an_idle_session_outlives_a_crash_of_the_engine(
    node: Node, sleeping: EngineProcess
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping))
    await connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    await doze(node)
    await sleeping.kill()
    node.awake.clear()
    await until(lambda: all(session.closed for session in node.sessions))
    assert await connection.fetchval("SELECT n FROM t") == 7
    await connection.close()


async def test_leaving_while_the_server_sleeps_does_not_wake_it(
    node: Node, sleeping: EngineProcess
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping))
    await doze(node)
    await node.sleep(sleeping)
    await connection.close()
    await until(lambda: not node.front.lobby.clients)
    assert len(node.opened) == 1


@pytest.mark.parametrize("statement", ["LISTEN news", "SELECT pg_advisory_lock(7)"])
async def test_a_session_that_waits_or_locks_keeps_the_server_awake(
    node: Node, sleeping: EngineProcess, statement: str
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping))
    await connection.execute(statement)
    await until(lambda: not node.front.lobby.lively)
    assert node.sessions[0].is_active
    await connection.close()


async def test_an_open_transaction_keeps_the_server_awake(
    node: Node, sleeping: EngineProcess
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping))
    await connection.execute("BEGIN")
    await asyncio.sleep(1.6)
    assert node.sessions[0].is_active
    await connection.execute("COMMIT")
    await doze(node)
    await connection.close()


async def test_a_session_with_a_temporary_table_ends_with_the_server(
    node: Node, sleeping: EngineProcess
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping))
    await connection.execute("CREATE TEMPORARY TABLE t (n int)")
    await doze(node)
    await node.sleep(sleeping)
    await until(connection.is_closed)
    assert node.sessions[0].closed


async def test_asking_an_idle_session_changes_nothing_that_the_client_sees(
    node: Node, sleeping: EngineProcess
) -> None:
    async with await psycopg.AsyncConnection.connect(
        node.dsn(sleeping), autocommit=True
    ) as connection:
        for round_ in (0, 4, 8, 9):
            count = 200 + round_
            rows = await connection.execute("SELECT n FROM generate_series(1, %s) AS n", [count])
            assert len(await rows.fetchall()) == count
            await asyncio.sleep(0.13 * round_)


@pytest.mark.parametrize("ssl", [False, True])
async def test_a_session_that_was_relayed_raw_outlives_a_sleep(
    node: Node, sleeping: EngineProcess, ssl: bool
) -> None:
    connection = await asyncpg.connect(node.dsn(sleeping), ssl="require" if ssl else False)
    (client,) = node.front.lobby.clients
    while not client._relay._raw:  # type: ignore[attr-defined]
        await connection.fetchval("SELECT 1")
    statement = await connection.prepare("SELECT $1::int + 1")
    assert await statement.fetchval(1) == 2
    for _ in range(2):
        await doze(node)
        await node.sleep(sleeping)
        assert await statement.fetchval(41) == 42
    await connection.close()


async def raw_session(node: Node, engine: EngineProcess) -> Upstream:
    """Return a session whose bytes the test writes itself, in the raw gear."""
    loop = asyncio.get_running_loop()
    _, session = await loop.create_connection(Upstream, "127.0.0.1", node.port)
    verifier = roles.application_verifier(engine.keys)
    credential = make_credential(roles.password(engine.keys), verifier.salt)
    await session.log_in({"user": "app", "database": "app@newsroom"}, credential)
    (client,) = node.front.lobby.clients
    for _ in range(10_000):
        await session.ask(messages.query("SELECT 1"))
        if client._relay._raw:  # type: ignore[attr-defined]
            return session
    raise AssertionError("it is not relayed raw")


async def test_a_session_that_falls_silent_as_it_becomes_raw_is_idle(
    node: Node, sleeping: EngineProcess
) -> None:
    session = await raw_session(node, sleeping)
    (client,) = node.front.lobby.clients
    assert len(client._relay._raw.kept) == 1  # type: ignore[attr-defined]
    await doze(node)
    await node.sleep(sleeping)
    assert b"again" in (await session.ask(messages.query("SELECT 'again'")))[1][1]
    session.close()


async def test_a_raw_session_that_awaits_more_answers_is_not_idle(
    node: Node, sleeping: EngineProcess
) -> None:
    session = await raw_session(node, sleeping)
    await session.ask(messages.query("SELECT 1") + messages.query("SELECT 'slept', pg_sleep(2)"))
    await asyncio.sleep(1.5)
    assert node.sessions[0].is_active
    assert b"slept" in (await session.ask(b""))[1][1]
    await doze(node)
    session.close()


async def test_a_raw_session_in_the_middle_of_a_message_is_not_idle(
    node: Node, sleeping: EngineProcess
) -> None:
    session = await raw_session(node, sleeping)
    half = messages.query("SELECT 'whole'")
    await session.ask(messages.query("SELECT 1") + half[:9])
    await asyncio.sleep(1.5)
    assert node.sessions[0].is_active
    assert b"whole" in (await session.ask(half[9:]))[1][1]
    await doze(node)
    session.close()


async def test_many_callers_wake_it_once(node: Node, sleeping: EngineProcess) -> None:
    async def one(number: int) -> int:
        connection = await asyncpg.connect(node.dsn(sleeping))
        value: int = await connection.fetchval("SELECT $1::int", number)
        await connection.close()
        return value

    assert await asyncio.gather(*map(one, range(20))) == list(range(20))


async def test_garbage_kills_nothing(node: Node, sleeping: EngineProcess) -> None:
    chance = random.Random(7)
    packets = [
        b"",
        b"\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x00\x00\x00\x04",
        b"\x00\x00\x00\x07\x00\x03\x00",
        b"\xff\xff\xff\xff" + b"x" * 100,
        b"\x00\x00\x00\x08\x00\x03\x00\x00",
        b"\x00\x00\x00\x09\x00\x03\x00\x00\x00",
        b"\x00\x00\x00\x10\x00\x03\x00\x00user\x00ap",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f" + b"not tls at all",
        b"\x00\x00\x00\x08\x04\xd2\x16\x30" * 20,
        b"\x00\x00\x00\x0c\x04\xd2\x16\x2e\x00\x00\x00\x01",
        *(chance.randbytes(chance.randrange(1, 400)) for _ in range(40)),
    ]
    for packet in packets:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(packet)
        if writer.can_write_eof():
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer[:1] in (b"", b"E", b"N", b"S", b"\x15"), (packet, answer)
        writer.close()
    await until(lambda: not node.front.lobby.clients)
    assert node.opened == []
    connection = await asyncpg.connect(node.dsn(sleeping))
    await connection.close()


async def test_bytes_smuggled_before_tls_are_refused(node: Node, sleeping: EngineProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"\x00\x00\x00\x08\x04\xd2\x16\x2f" + b"Q\x00\x00\x00\x0dSELECT 1\x00")
    answer = await reader.read()
    assert b"unencrypted data after SSL request" in answer
    writer.close()


async def test_a_silent_client_is_shown_the_door(sleeping: EngineProcess) -> None:
    async with Node(Limits(handshake_seconds=0.2)) as node:
        node.add(sleeping)
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        began = time.monotonic()
        answer = await reader.read()
        assert time.monotonic() - began < 10
        assert b"C08006" in answer
        writer.close()


async def test_limits_are_refused_natively(sleeping: EngineProcess) -> None:
    async with Node(Limits(connections=1)) as node:
        node.add(sleeping)
        first = await asyncpg.connect(node.dsn(sleeping), ssl=False)
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(node.dsn(sleeping), ssl=False)
        await first.close()
    async with Node(Limits(burst=2, connections_per_second=0.001)) as node:
        node.add(sleeping)
        node.refusal = ENGINE_FAILED("no")
        codes = []
        for _ in range(3):
            with pytest.raises(asyncpg.PostgresError) as caught:
                await asyncpg.connect(node.dsn(sleeping), ssl=False)
            codes.append(caught.value.sqlstate)
        assert codes == ["57P03", "57P03", "53300"]


async def test_a_slow_reader_neither_fills_memory_nor_blocks_others(
    node: Node, sleeping: EngineProcess
) -> None:
    slow = await asyncpg.connect(node.dsn(sleeping), ssl=False)
    transport = slow._transport
    reading = asyncio.create_task(
        slow.fetch("SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
    )
    await asyncio.sleep(0.05)
    transport.pause_reading()
    other = await asyncpg.connect(node.dsn(sleeping))
    for number in range(20):
        assert await other.fetchval("SELECT $1::int", number) == number
    buffered = [client.transport.get_write_buffer_size() for client in node.front.lobby.clients]
    assert max(buffered) < 4 << 20
    transport.resume_reading()
    assert len(await reading) == 100_000
    await slow.close()
    await other.close()
