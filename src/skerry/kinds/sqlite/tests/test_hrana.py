"""Hrana over HTTP and WebSocket, by hand and by official clients."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from cloudflare import AsyncCloudflare
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kernel.kind import Head
from skerry.kinds.sqlite.claim import claim
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.hrana import value
from skerry.kinds.sqlite.manifest import SqliteConfig
from skerry.kinds.sqlite.values import bytes_of
from skerry.kinds.sqlite.wire import make
from skerry.testing.turns import turns


class Client:
    """Speaks Hrana over HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def run(self, *sql: str, baton: str | None = None, close: bool = True) -> Any:
        requests: list[Any] = [{"type": "execute", "stmt": {"sql": each}} for each in sql]
        requests += [{"type": "close"}] if close else []
        return await self.post("/v3/pipeline", {"baton": baton, "requests": requests})


@pytest.fixture
async def client(engine: SqliteEngine, bearer: str) -> Any:
    headers = {"authorization": f"Bearer {bearer}"}
    transport = httpx.ASGITransport(make(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as http:
        yield Client(http)


def error_code(result: Any) -> str:
    assert result["type"] == "error", result
    return str(result["error"]["code"])


async def output_of(*command: str, text: str, folder: Path | None = None) -> str:
    """Run a client that reads the token from its input; return what it prints."""
    pipe, merged = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=merged, cwd=folder
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(text.encode()), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_a_pipeline_goes_on_after_an_error(client: Client, context: Any) -> None:
    body = await client.run(
        "create table t (a integer primary key)",
        "insert into t values (1), (2)",
        "insert into t values (1)",
        "selec",
        "select a from t",
    )
    kinds = [each["type"] for each in body["results"]]
    assert kinds == ["ok", "ok", "error", "error", "ok", "ok"]
    assert body["baton"] is None
    assert body["results"][1]["response"]["result"]["affected_row_count"] == 2
    assert body["results"][2]["error"]["code"] == "SQLITE_CONSTRAINT"
    assert body["results"][2]["error"]["extended_code"] == "SQLITE_CONSTRAINT_PRIMARYKEY"
    rows = body["results"][4]["response"]["result"]["rows"]
    assert rows == [[{"type": "integer", "value": "1"}], [{"type": "integer", "value": "2"}]]
    assert context.meter.counts["queries"] == 5
    assert context.meter.counts["rows_written"] == 2


async def test_a_baton_works_once(client: Client) -> None:
    first = await client.run("create temp table mine (a)", close=False)
    second = await client.run("select * from mine", baton=first["baton"], close=False)
    assert second["results"][0]["type"] == "ok"
    assert second["baton"] != first["baton"]
    for stale in (first["baton"], "forged"):
        body: Any = {"baton": stale, "requests": []}
        assert (await client.post("/v3/pipeline", body, 404))["code"] == "STREAM_EXPIRED"
    await client.run(baton=second["baton"])
    other = await client.run("select * from mine")
    assert error_code(other["results"][0]) == "SQLITE_ERROR"


async def test_an_abandoned_transaction_is_undone(limited: Any, bearer: str) -> None:
    engine = await limited(SqliteConfig(transaction_seconds=0.2))
    headers = {"authorization": f"Bearer {bearer}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(make(engine)), base_url="http://x", headers=headers
    ) as http:
        client = Client(http)
        await client.run("create table t (a)")
        held = await client.run("begin immediate", "insert into t values (1)", close=False)
        assert "open" in await engine.busy()
        after = await client.run("insert into t values (2)", "select a from t")
        assert after["results"][1]["response"]["result"]["rows"] == [
            [{"type": "integer", "value": "2"}]
        ]
        body: Any = {"baton": held["baton"], "requests": []}
        assert (await client.post("/v3/pipeline", body, 404))["code"] == "STREAM_EXPIRED"
        assert await engine.busy() == ""


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("", "SQL_NO_STATEMENT"),
        ("-- nothing", "SQL_NO_STATEMENT"),
        ("select 1; select 2", "SQL_MANY_STATEMENTS"),
        ("select ?", "ARGS_INVALID"),
        ("attach '/etc/passwd' as p", "SQLITE_AUTH"),
        ("attach 'a' || 'b' as p", "SQLITE_AUTH"),
        ("vacuum into 'copy.db'", "SQLITE_AUTH"),
        ("select load_extension('x')", "SQLITE_ERROR"),
        ("pragma journal_mode = off", "SQLITE_AUTH"),
        ("pragma synchronous = off", "SQLITE_AUTH"),
        ("pragma writable_schema = on", "SQLITE_AUTH"),
        ("pragma database_list", "SQLITE_AUTH"),
        ("pragma locking_mode = exclusive", "SQLITE_AUTH"),
        ("select cast(x'ff' as text)", "TEXT_NOT_UTF8"),
    ],
)
async def test_what_is_refused(client: Client, sql: str, code: str) -> None:
    body = await client.run(sql, "select 1")
    assert error_code(body["results"][0]) == code
    assert body["results"][1]["type"] == "ok"


async def test_full_text_search(client: Client) -> None:
    body = await client.run(
        "create virtual table pages using fts5(title, body)",
        "insert into pages values ('Skerry', 'a rock in the sea')",
        "select title from pages where pages match 'sea'",
    )
    rows = body["results"][2]["response"]["result"]["rows"]
    assert rows == [[{"type": "text", "value": "Skerry"}]]


async def test_limits(limited: Any, bearer: str) -> None:
    engine = await limited(
        SqliteConfig(
            statement_seconds=0.2,
            rows_max=100,
            result_bytes_max=10_000,
            streams_max=3,
            database_bytes_max=1 << 20,
        )
    )
    headers = {"authorization": f"Bearer {bearer}"}
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select sum(i) from n"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(make(engine)), base_url="http://x", headers=headers
    ) as http:
        client = Client(http)
        body = await client.run(
            endless,
            "select * from generate_series(1, 101)",
            "select zeroblob(20000)",
            "create table t as select zeroblob(9 << 20) as b",
            "select 1",
        )
        codes = [error_code(each) for each in body["results"][:4]]
        assert codes == ["SQLITE_INTERRUPT"] + ["RESPONSE_TOO_LARGE"] * 2 + ["SQLITE_FULL"]
        assert body["results"][4]["type"] == "ok"
        for _ in range(3):
            await client.run("begin", close=False)
        refused = await http.post("/v3/pipeline", json={"requests": []})
        assert refused.status_code == 503


async def test_a_cursor_streams_a_batch(client: Client) -> None:
    steps = [
        {"stmt": {"sql": "select value from generate_series(1, 5000)"}},
        {"stmt": {"sql": "select nothing"}},
        {"stmt": {"sql": "select 2"}, "condition": {"type": "ok", "step": 1}},
        {
            "stmt": {"sql": "select 3"},
            "condition": {"type": "not", "cond": {"type": "ok", "step": 1}},
        },
    ]
    answer = await client.http.post("/v3/cursor", json={"batch": {"steps": steps}})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0]["baton"]
    kinds = [line["type"] for line in lines[1:]]
    assert kinds.count("row") == 5001
    assert [each for each in kinds if each != "row"] == [
        "step_begin", "step_end", "step_error", "step_begin", "step_end",
    ]  # fmt: skip
    assert (await client.run("select 1", baton=lines[0]["baton"]))["results"][0]["type"] == "ok"


async def test_named_arguments_and_describe(client: Client) -> None:
    named = [
        {"name": "a", "value": {"type": "integer", "value": "7"}},
        {"name": "$b", "value": {"type": "float", "value": 0.5}},
    ]
    statement = {"sql": "select :a, $b, ?", "named_args": named}
    text = {"type": "text", "value": "x"}
    null = {"type": "null"}
    good = {**statement, "args": [null, null, text]}
    body = await client.post(
        "/v3/pipeline",
        {
            "requests": [
                {"type": "execute", "stmt": good},
                {"type": "execute", "stmt": statement},
                {"type": "describe", "sql": "select :a as n, ?"},
                {"type": "store_sql", "sql_id": 4, "sql": "select 4"},
                {"type": "execute", "stmt": {"sql_id": 4}},
                {"type": "close_sql", "sql_id": 4},
                {"type": "execute", "stmt": {"sql_id": 4}},
                {"type": "get_autocommit"},
                {"type": "sequence", "sql": "create table s(a); insert into s values (1);"},
                {"type": "dance"},
                {"type": "close"},
            ]
        },
    )
    results = body["results"]
    assert results[0]["response"]["result"]["rows"] == [
        [named[0]["value"], named[1]["value"], text]
    ]
    assert error_code(results[1]) == "ARGS_INVALID"
    assert [each["name"] for each in results[2]["response"]["result"]["params"]] == [":a", None]
    assert results[4]["type"] == "ok"
    assert error_code(results[6]) == "SQL_NOT_FOUND"
    assert results[7]["response"]["is_autocommit"] is True
    assert results[8]["type"] == "ok"
    assert error_code(results[9]) == "PROTOCOL_ERROR"


async def test_version_1(client: Client) -> None:
    body = await client.post(
        "/", {"statements": ["create table t(a)", {"q": "insert into t values (?)", "params": [5]}]}
    )
    assert [list(each) for each in body] == [["results"], ["results"]]
    body = await client.post("/", {"statements": ["delete from t", "selec"]})
    assert "error" in body[1]
    result = await client.post("/v1/execute", {"stmt": {"sql": "select a from t"}})
    assert result["result"]["rows"] == [[{"type": "integer", "value": "5"}]]


async def test_only_the_token_opens(client: Client, bearer: str) -> None:
    for wrong in ("", "Bearer", f"Basic {bearer}", f"Bearer {bearer}x"):
        answer = await client.http.post("/v2/pipeline", headers={"authorization": wrong})
        assert answer.status_code == 401
    assert (await client.http.get("/v3", headers={"authorization": ""})).status_code == 200


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"{", b"[]", b'{"requests": 5}'])
async def test_garbage_gets_an_error(client: Client, body: bytes) -> None:
    answer = await client.http.post("/v2/pipeline", content=body)
    assert answer.status_code == 400
    assert (await client.run("select 1"))["results"][0]["type"] == "ok"


VALUES = (
    st.none()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary(max_size=50)
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.lists(VALUES, min_size=1, max_size=8))
async def test_values_come_back_as_they_went(client: Client, values: list[Any]) -> None:
    marks = ", ".join("?" for _ in values)
    statement = {"sql": f"select {marks}", "args": [value(each) for each in values]}
    result = (await client.post("/v1/execute", {"stmt": statement}))["result"]
    for sent, got in zip(values, result["rows"][0], strict=True):
        if isinstance(sent, bytes):
            assert bytes_of(got) == sent
        elif isinstance(sent, int):
            assert int(got["value"]) == sent
        elif isinstance(sent, float):
            assert math.copysign(1, got["value"]) == math.copysign(1, sent)
            assert got["value"] == sent
        else:
            assert got.get("value") == sent


async def test_two_writers_wait_for_each_other(client: Client) -> None:
    await client.run("create table t (a)")
    held = await client.run("begin immediate", close=False)
    waiting = [asyncio.create_task(client.run("insert into t values (1)")) for _ in range(20)]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    assert (await client.run("select 1"))["results"][0]["type"] == "ok"
    await client.run("commit", baton=held["baton"])
    for body in await asyncio.gather(*waiting):
        assert body["results"][0]["type"] == "ok"


async def test_a_quick_statement_that_turns_slow_starts_over_in_a_thread(
    client: Client, engine: SqliteEngine, context: Any
) -> None:
    await client.run("create table t (a)", "insert into t values (1)")
    sql = "select count(*) from t as x, t as y, t as z"
    for _ in range(300):
        await client.run(sql)
        if engine.streams.pace.quick(sql):
            break
    assert engine.streams.pace.quick(sql)
    await client.run("insert into t select value from generate_series(2, 400)")
    before = context.meter.counts["queries"]
    async with turns() as loop:
        rows = (await client.run(sql))["results"][0]["response"]["result"]["rows"]
    assert rows == [[{"type": "integer", "value": "64000000"}]]
    assert loop.longest < 0.1
    assert not engine.streams.pace.quick(sql)
    assert context.meter.counts["queries"] == before + 1


async def test_web_socket(port: int, bearer: str) -> None:
    url = f"ws://127.0.0.1:{port}"

    async def ask(socket: Any, number: int, **request: Any) -> None:
        message = {"type": "request", "request_id": number, "request": request}
        await socket.send(json.dumps(message))

    options: Any = {"subprotocols": ["hrana3", "hrana2"], "proxy": None}
    async with websockets.connect(url, **options) as socket:
        assert socket.subprotocol == "hrana3"
        await socket.send(json.dumps({"type": "hello", "jwt": bearer}))
        await ask(socket, 1, type="open_stream", stream_id=1)
        await ask(socket, 2, type="store_sql", sql_id=9, sql="select 42")
        await ask(socket, 3, type="execute", stream_id=1, stmt={"sql_id": 9})
        await ask(socket, 4, type="close_sql", sql_id=9)
        batch = {"steps": [{"stmt": {"sql": "select value from generate_series(1, 9)"}}]}
        await ask(socket, 5, type="open_cursor", stream_id=1, cursor_id=2, batch=batch)
        await ask(socket, 6, type="fetch_cursor", cursor_id=2, max_count=4)
        await ask(socket, 7, type="fetch_cursor", cursor_id=2, max_count=100)
        await ask(socket, 8, type="close_cursor", cursor_id=2)
        await ask(socket, 9, type="execute", stream_id=5, stmt={"sql": "select 1"})
        await ask(socket, 10, type="close_stream", stream_id=1)
        replies: dict[int, Any] = {}
        while len(replies) < 11:
            reply = json.loads(await asyncio.wait_for(socket.recv(), 5))
            replies[reply.get("request_id", 0)] = reply
        assert replies[3]["response"]["result"]["rows"] == [[{"type": "integer", "value": "42"}]]
        assert len(replies[6]["response"]["entries"]) == 4
        assert replies[9]["error"]["code"] == "STREAM_NOT_FOUND"
        assert replies[10]["type"] == "response_ok"
    for text in ("garbage", json.dumps({"type": "hello", "jwt": "wrong"})):
        async with websockets.connect(url, **options) as socket:
            await socket.send(text)
            with pytest.raises(websockets.ConnectionClosed):
                for _ in range(2):
                    await asyncio.wait_for(socket.recv(), 5)


async def test_a_transaction_ends_with_its_web_socket(
    port: int, bearer: str, engine: SqliteEngine
) -> None:
    options: Any = {"subprotocols": ["hrana2"], "proxy": None}
    async with websockets.connect(f"ws://127.0.0.1:{port}", **options) as socket:
        await socket.send(json.dumps({"type": "hello", "jwt": bearer}))
        for number, request in enumerate(
            (
                {"type": "open_stream", "stream_id": 1},
                {"type": "execute", "stream_id": 1, "stmt": {"sql": "begin immediate"}},
            )
        ):
            message = {"type": "request", "request_id": number, "request": request}
            await socket.send(json.dumps(message))
        for _ in range(3):
            await socket.recv()
        assert await engine.busy() == "a transaction is open"
    async with asyncio.timeout(5):
        while await engine.busy():
            await asyncio.sleep(0.01)


PYTHON_CLIENT = """
import sys
import libsql
database = libsql.connect(sys.argv[1], auth_token=sys.stdin.read())
database.execute("create table t (a integer primary key, b text)")
database.execute("insert into t (b) values (?)", ("\u00e9",))
database.commit()
for _ in range(200):  # goes on with the stream at once
    assert database.execute("select a, b from t").fetchall() == [(1, "\u00e9")]
sys.stdout.write("done")
"""


async def test_the_official_python_client(port: int, bearer: str) -> None:
    # In a process of its own: the client blocks every thread of the one that it runs in.
    command = (sys.executable, "-c", PYTHON_CLIENT, f"http://127.0.0.1:{port}")
    assert (await output_of(*command, text=bearer)).endswith("done")


async def test_d1_by_the_official_client(port: int, bearer: str) -> None:
    identifier = "00000000-0000-0000-0000-0000deadbeef"
    async with httpx.AsyncClient(trust_env=False) as http:
        client = AsyncCloudflare(
            base_url=f"http://127.0.0.1:{port}/client/v4", api_token=bearer, http_client=http
        )

        async def query(sql: str, params: list[str] | None = None) -> list[Any]:
            options: Any = {} if params is None else {"params": params}
            pages = client.d1.database.query(identifier, account_id="a", sql=sql, **options)
            return [each async for each in pages]

        made = await query("create table t (a, b); insert into t values (1, x'01ff');")
        assert [each.success for each in made] == [True, True]
        assert made[1].meta.changes == 1
        found = await query("select * from t where a = ?", ["1"])
        assert found[0].results == []
        assert (await query("select * from t"))[0].results == [{"a": 1, "b": [1, 255]}]


NODE = Path(__file__).with_name("client.mjs")


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_the_official_javascript_client(
    port: int, bearer: str, scheme: str, javascript: Path
) -> None:
    script = NODE.read_text(encoding="utf-8")
    command = ("node", "--input-type=module", "-e", script, "", f"{scheme}://127.0.0.1:{port}")
    printed = await output_of(*command, text=bearer, folder=javascript)
    assert printed.strip().endswith("done")


def test_a_request_is_claimed_by_its_token() -> None:
    def head(token: bytes) -> Head:
        return Head(b"POST", b"/v2/pipeline", b"", ((b"authorization", token),))

    assert claim(head(b"Bearer skt_00000000deadbeef_abc")) == "00000000deadbeef"
    for wrong in (b"Bearer skt_0_abc", b"Basic skt_00000000deadbeef_abc", b"\xff"):
        assert claim(head(wrong)) is None
