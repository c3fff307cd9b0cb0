"""The channel between the node and its processes, whoever is at the other end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest

from skerry.kernel.errors import BUSY, ENGINE_FAILED, INTERNAL, TIMED_OUT, SkerryError
from skerry.node import channel as channel_module
from skerry.node.channel import CALL, ERROR, PROGRESS, Call, Channel

Ends = tuple[Channel, Channel]


async def double(call: Call) -> object:
    call.progress("half-way")
    return call.params * 2


async def refuse(call: Call) -> object:
    raise BUSY("Not now.", why="Because.")


async def fail(call: Call) -> object:
    raise KeyError("defect")


async def wait(call: Call) -> object:
    await asyncio.sleep(60)
    return None


HANDLERS = {"double": double, "refuse": refuse, "fail": fail, "wait": wait}


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    one, other = socket.socketpair()
    made = (await Channel.open(one, HANDLERS), await Channel.open(other, {}))
    yield made
    for each in made:
        each.close()
    await asyncio.sleep(0.01)


async def test_calls_results_errors_and_progress(ends: Ends) -> None:
    _, caller = ends
    seen: list[object] = []
    assert await caller.call("double", 21, on_progress=seen.append) == 42
    assert seen == ["half-way"]
    assert await asyncio.gather(*(caller.call("double", n) for n in range(100))) == [
        2 * n for n in range(100)
    ]
    for method, problem in (("refuse", BUSY), ("fail", INTERNAL), ("unknown", INTERNAL)):
        with pytest.raises(SkerryError) as told:
            await caller.call(method)
        assert told.value.problem is problem
    with pytest.raises(SkerryError) as told:
        await caller.call("wait", seconds=0.05)
    assert told.value.problem is TIMED_OUT
    assert await caller.call("double", 1) == 2


async def test_the_end_of_a_process_fails_what_waits_for_it(ends: Ends) -> None:
    served, caller = ends
    waiting = asyncio.create_task(caller.call("wait"))
    await asyncio.sleep(0.01)
    served.close()
    for call in (waiting, caller.call("double", 1)):
        with pytest.raises(SkerryError) as told:
            await call
        assert told.value.problem is ENGINE_FAILED
    assert caller.closed.done()


def frame(value: object) -> bytes:
    data = msgspec.msgpack.encode(value)
    return len(data).to_bytes(4) + data


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff",
        (1).to_bytes(4) + b"\xc1",
        frame([]),
        frame(3),
        frame([CALL]),
        frame([ERROR, 0, "not an error"]),
        frame([PROGRESS, 0, {}]),
        frame(["what", {}, []]),
    ],
)
async def test_garbage_closes_the_channel_and_nothing_else(garbage: bytes) -> None:
    one, other = socket.socketpair()
    other.setblocking(False)
    channel = await Channel.open(one, HANDLERS)

    def report(value: dict[str, str]) -> None:
        assert value["text"]

    waiting = asyncio.create_task(channel.call("anything", on_progress=report))
    await asyncio.sleep(0.01)
    await asyncio.get_running_loop().sock_sendall(other, garbage)
    with pytest.raises(SkerryError) as told:
        await asyncio.wait_for(waiting, 2)
    assert told.value.problem is ENGINE_FAILED
    other.close()


async def test_a_flood_of_calls_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "CALLS_MAX", 20)
    one, other = socket.socketpair()
    other.setblocking(False)
    channel = await Channel.open(one, HANDLERS)
    flood = b"".join(frame([CALL, n, "wait", None]) for n in range(30))
    await asyncio.get_running_loop().sock_sendall(other, flood)
    await asyncio.wait_for(channel.closed, 2)
    assert len(channel._tasks) <= 20
    for task in list(channel._tasks):
        task.cancel()
    other.close()


async def test_an_end_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "UNREAD_BYTES_MAX", 1 << 20)
    one, other = socket.socketpair()
    channel = await Channel.open(one, HANDLERS)
    for _ in range(100):
        channel.note("anything", bytes(100_000))
    await asyncio.wait_for(channel.closed, 2)
    other.close()
