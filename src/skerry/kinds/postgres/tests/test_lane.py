"""Hot sessions in the lane: they are carried there, and nothing is lost on the way in or out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.scram import make_credential
from skerry.kinds.postgres import lane, roles
from skerry.kinds.postgres.answers import Answers, Expected, Fate
from skerry.kinds.postgres.pooled_passage import is_plain_query
from skerry.kinds.postgres.tests.harness import EngineProcess
from skerry.kinds.postgres.tests.node import Node
from skerry.kinds.postgres.tests.test_front import doze, until
from skerry.kinds.postgres.upstream import Upstream

POOLER = "newsroom-pooler"
READY = messages.message(b"Z", b"I")
ONE = messages.query("SELECT 1")
PID = messages.query("SELECT pg_backend_pid()")
ROW_BYTES = 1000
ROWS = 100_000
BIG = messages.query(f"SELECT repeat('x', {ROW_BYTES}) FROM generate_series(1, {ROWS})")


def carried(node: Node) -> int:
    """Return how many sessions are in the lane."""
    return len(node.front.lobby.lane._ways) // 2


def is_carried(node: Node, one: Upstream) -> bool:
    """Tell whether a session is in the lane."""
    name = one.transport.get_extra_info("sockname")
    passages = [way.passage for *_, way in list(node.front.lobby.lane._ways.values())]
    return any(each.client.transport.get_extra_info("peername") == name for each in passages)


async def session(node: Node, engine: EngineProcess, label: str = "newsroom") -> Upstream:
    """Return a session whose bytes the test writes itself."""
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(Upstream, "127.0.0.1", node.port)
    verifier = roles.application_verifier(engine.keys)
    credential = make_credential(roles.password(engine.keys), verifier.salt)
    await made.log_in({"user": "app", "database": f"app@{label}"}, credential)
    return made


async def hot(node: Node, engine: EngineProcess, label: str = "newsroom") -> Upstream:
    """Return a session that is in the lane."""
    made = await session(node, engine, label)
    for _ in range(5000):
        await ask(made, ONE)
        if is_carried(node, made):
            return made
    raise AssertionError("it is not in the lane")


async def ask(of: Upstream, query: bytes | str) -> list[tuple[bytes, bytes]]:
    """Return the next answer, up to ReadyForQuery."""
    of.transport.write(messages.query(query) if isinstance(query, str) else query)
    answer = [await of.message(60_000)]
    while answer[-1][0] != b"Z":
        answer.append(await of.message(60_000))
    return answer


async def value(of: Upstream, query: bytes | str) -> str | None:
    """Return the first value that a query answers with."""
    rows = [body for kind, body in await ask(of, query) if kind == b"D"]
    return messages.row(rows[0])[0]


async def emptied(node: Node) -> None:
    await until(lambda: carried(node) == 0)


async def test_a_session_leaves_the_lane_as_it_falls_silent_and_outlives_a_sleep(
    node: Node, sleeping: EngineProcess
) -> None:
    one = await hot(node, sleeping)
    assert await value(one, "SET work_mem = '5MB'; SELECT 'in'") == "in"
    await doze(node)
    assert carried(node) == 0
    await node.sleep(sleeping)
    assert await value(one, "SHOW work_mem") == "5MB"
    for _ in range(5000):
        await ask(one, ONE)
        if is_carried(node, one):
            break
    assert is_carried(node, one), "it is hot again"
    one.close()
    await emptied(node)


async def test_an_open_transaction_in_the_lane_keeps_the_server_awake(
    node: Node, sleeping: EngineProcess
) -> None:
    one = await hot(node, sleeping)
    await ask(one, "BEGIN")
    await asyncio.sleep(1.6)
    assert node.sessions[0].is_active
    assert carried(node) == 0
    await ask(one, "COMMIT")
    await doze(node)
    one.close()


@pytest.mark.parametrize("label", ["newsroom", POOLER])
@pytest.mark.parametrize("room_bytes", [lane._ROOM_BYTES, 1 << 20])
async def test_a_slow_reader_gets_all_and_neither_fills_memory_nor_blocks_others(
    node: Node,
    sleeping: EngineProcess,
    label: str,
    room_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane, "_ROOM_BYTES", room_bytes)
    slow, other = [await hot(node, sleeping, label) for _ in range(2)]
    slow.transport.pause_reading()
    slow.transport.write(BIG)
    await until(lambda: not is_carried(node, slow))
    for number in range(200):
        assert await value(other, f"SELECT {number}") == str(number)
    buffered = [client.transport.get_write_buffer_size() for client in node.front.lobby.clients]
    assert max(buffered) < 4 << 20
    rows = 0
    kind, body = b"", b""
    while kind != b"Z":
        kind, body = await slow.message(60_000)
        rows += kind == b"D" and len(body) == 6 + ROW_BYTES
    assert rows == ROWS
    assert body == b"I"
    slow.close()
    other.close()
    await emptied(node)


@pytest.mark.parametrize("label", ["newsroom", POOLER])
async def test_whoever_dies_in_the_lane_takes_nobody_along(
    node: Node, sleeping: EngineProcess, label: str
) -> None:
    leaving, dying, staying = [await hot(node, sleeping, label) for _ in range(3)]
    process = await value(dying, PID)
    dying.transport.write(messages.query("SELECT pg_sleep(60)"))
    await value(staying, f"SELECT pg_terminate_backend({process})")
    await until(lambda: dying.lost)
    assert b"57P01" in bytes(dying.buffer)
    leaving.transport.write(messages.query("BEGIN; CREATE TABLE half (n int)"))
    leaving.transport.abort()
    await until(lambda: len(node.front.lobby.clients) == 1)
    assert await value(staying, "SELECT count(*) FROM pg_class WHERE relname = 'half'") == "0"
    staying.close()
    await emptied(node)
    await until(lambda: not node.front.lobby.clients)


async def test_more_hot_sessions_than_the_lane_bears(
    node: Node, sleeping: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SESSIONS_MAX", 2)
    sessions = [await session(node, sleeping) for _ in range(4)]

    most = 0

    async def work(one: Upstream, number: int) -> None:
        nonlocal most
        for step in range(300):
            assert await value(one, f"SELECT {number * 1000 + step}") == str(number * 1000 + step)
            most = max(most, carried(node))

    await asyncio.gather(*(work(one, number) for number, one in enumerate(sessions)))
    assert most == 2
    for one in sessions:
        one.close()
    await emptied(node)


async def test_a_copy_and_a_stop_under_hot_sessions_lose_no_acknowledged_write(
    node: Node, sleeping: EngineProcess, tmp_path: Path
) -> None:
    writers = [await hot(node, sleeping) for _ in range(2)]
    await ask(writers[0], "CREATE TABLE t (writer int, n int)")
    acknowledged = [0, 0]

    async def write(number: int) -> None:
        with contextlib.suppress(ConnectionResetError):
            for step in range(1, 1_000_000):
                insert = messages.query(f"INSERT INTO t VALUES ({number}, {step})")
                answer = await ask(writers[number], insert)
                if answer[-1][0] != b"Z" or answer[0][0] != b"C":
                    return
                acknowledged[number] = step

    writing = [asyncio.create_task(write(number)) for number in range(2)]
    await until(lambda: min(acknowledged) > 20)
    before = list(acknowledged)
    await sleeping.call("freeze", atomic=False)
    copy = await asyncio.to_thread(sleeping.clone, tmp_path / "two", "00000000000000bb")
    await sleeping.call("thaw")
    node.add(copy, branch="pr-1")
    after = list(acknowledged)
    await until(lambda: min(acknowledged) > max(after))
    await node.sleep(sleeping)
    await asyncio.gather(*writing)
    await emptied(node)
    count = "SELECT count(*) FROM t WHERE writer = {0} AND n <= {1}"
    for place, least in (("newsroom", acknowledged), ("pr-1--newsroom", before)):
        read = await session(node, copy if place != "newsroom" else sleeping, place)
        for number in range(2):
            assert await value(read, count.format(number, least[number])) == str(least[number])
        read.close()


async def test_a_cancel_request_finds_a_session_in_the_lane(
    node: Node, sleeping: EngineProcess
) -> None:
    for label in ("newsroom", POOLER):
        one = await hot(node, sleeping, label)
        running = asyncio.create_task(ask(one, messages.query("SELECT pg_sleep(60)")))
        while not running.done():
            await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(messages.cancel_request(one.process, one.key))
            await reader.read()
            writer.close()
        errors = [body for kind, body in running.result() if kind == b"E"]
        assert [messages.parse_error(each)["C"] for each in errors] == ["57014"]
        assert await value(one, "SELECT 2") == "2"
        one.close()
        await until(lambda: not node.front.lobby.clients)


async def test_hot_pooled_clients_make_room_for_others(node: Node, sleeping: EngineProcess) -> None:
    sleeping.config["pooler_size"] = 2
    one, two = [await hot(node, sleeping, POOLER) for _ in range(2)]
    assert await value(one, PID) != await value(two, PID)
    await ask(one, "BEGIN")
    inside = await value(one, PID)
    third = await session(node, sleeping, POOLER)
    for _ in range(3):
        assert await value(third, PID) != inside
        assert await value(two, PID) != inside
    assert await value(one, PID) == inside
    await ask(one, "COMMIT")
    assert sum(not each.closed for each in node.sessions) == 2
    for each in (one, two, third):
        each.close()
    await until(lambda: not node.front.lobby.clients)
    await emptied(node)


async def test_what_a_hot_pooled_client_leaves_behind_pins_it(
    node: Node, sleeping: EngineProcess
) -> None:
    sleeping.config["pooler_size"] = 2
    one = await hot(node, sleeping, POOLER)
    other = await session(node, sleeping, POOLER)
    for keep, show, kept in (
        ("SET work_mem = '5MB'", "SHOW work_mem", "5MB"),
        ("SELECT pg_advisory_lock(7)", "SELECT pg_try_advisory_lock(7)", "t"),
    ):
        await ask(one, keep)
        for _ in range(150):
            assert await value(one, show) == kept
            assert await value(other, "SHOW work_mem") == "4MB"
    one.close()
    other.close()
    await until(lambda: not node.front.lobby.clients)


async def test_a_hot_pooled_client_goes_on_with_all_that_is_not_plain(
    node: Node, sleeping: EngineProcess
) -> None:
    one = await hot(node, sleeping, POOLER)
    await ask(one, "CREATE TABLE t (n int)")
    assert (await ask(one, "SELECT nothing"))[0][0] == b"E"
    copied = messages.message(b"d", b"7\n") + messages.message(b"c")
    await ask(one, messages.query("COPY t FROM STDIN") + copied)
    assert await value(one, "SELECT n FROM t") == "7"
    for _ in range(2):
        several = await ask(one, ONE + messages.query("SELECT 2"))
        several += await ask(one, b"")
        assert [messages.row(body)[0] for kind, body in several if kind == b"D"] == ["1", "2"]
    parse = messages.parse_statement("mine", "SELECT $1::int + 1", [])
    bind = messages.message(b"B", b"\x00mine\x00\x00\x00\x00\x01\x00\x00\x00\x0241\x00\x00")
    run = messages.message(b"E", b"\x00\x00\x00\x00\x00")
    assert await value(one, parse + bind + run + messages.SYNC) == "42"
    one.close()
    one = await hot(node, sleeping, POOLER)
    half = messages.query("SELECT 'whole'")
    one.transport.write(half[:9])
    await until(lambda: not is_carried(node, one))
    assert await value(one, half[9:]) == "whole"
    one.close()
    await until(lambda: not node.front.lobby.clients)


async def test_a_hot_pooled_client_outlives_a_sleep(node: Node, sleeping: EngineProcess) -> None:
    one = await hot(node, sleeping, POOLER)
    await node.sleep(sleeping)
    assert await value(one, "SELECT 7") == "7"
    other = await hot(node, sleeping, POOLER)
    await emptied(node)
    assert not any(each.is_active for each in node.sessions if not each.closed)
    one.close()
    other.close()


TEXTS = st.one_of(st.binary(max_size=40), st.from_regex(rb"(te|m|p|1|set_|config|x){,5}"))


@given(TEXTS, st.sampled_from([0, 2000]), st.binary(max_size=10))
@example(b"set_1CONFIG", 0, b"")
def test_only_one_whole_query_is_plain(text: bytes, longer: int, more: bytes) -> None:
    query = messages.message(b"Q", b"SELECT '" + text + b" " * longer + b"'\x00")
    read = text.lower() if longer else text.lower().translate(None, b"0123456789")
    traces = any(word in read for word in (b"temp", b"set_config", b"advisory"))
    assert is_plain_query(query) is not traces
    assert not is_plain_query(query[:-1])
    assert not is_plain_query(query + messages.SYNC + more)
    assert not is_plain_query(messages.message(b"P", query))
    assert not is_plain_query(query[: len(more) % 5])


@pytest.mark.parametrize("label", ["newsroom", POOLER])
@pytest.mark.parametrize("size", [lane._PIECE_BYTES - 40, lane._PIECE_BYTES, 3000, 9000])
async def test_long_questions_and_answers_stay_in_the_lane(
    node: Node, sleeping: EngineProcess, label: str, size: int
) -> None:
    one = await hot(node, sleeping, label)
    for letter in "ab":
        text = letter * size
        assert await value(one, f"SELECT '{text}'") == text
        assert is_carried(node, one)
    one.close()
    await emptied(node)


@pytest.mark.skipif(sys.platform != "linux", reason="the lane is for Linux")
def test_the_lane_waits_for_its_turn_in_a_crowd_only() -> None:
    policies = []

    def poll(seconds: float, most: int) -> list[tuple[int, int]]:
        policies.append(os.sched_getscheduler(0))
        return [(1, 1)]

    def run() -> None:
        patience = lane._Patience(poll)
        for sessions in (1, (os.cpu_count() or 1) + 1, 1):
            patience.wait(sessions)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert policies == [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_OTHER]


@given(st.data())
def test_what_was_passed_on_in_the_lane_is_not_said_again(data: st.DataObject) -> None:
    row = messages.message(b"D", b"\x00\x01\x00\x00\x00\x011")
    whole = b"".join(
        (*[row] * data.draw(st.integers(0, 3)), messages.message(b"C", b"SELECT 1\x00"), READY)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
    left = data.draw(st.integers(0, len(pieces)))
    answers = Answers()
    answers.expect(Expected(Fate.QUERY))
    for piece in pieces[:left]:
        answers.note(piece)
    said = b"".join(answers.read(piece) for piece in pieces[left:])
    assert b"".join(pieces[:left]) + said == whole
    assert answers.idle
