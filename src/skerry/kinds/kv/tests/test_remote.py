"""The same calls on a namespace here and on one elsewhere; and what a broken way does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import (
    INVALID,
    NODE_UNREACHABLE,
    TOO_LARGE,
    UNAUTHENTICATED,
    Problem,
    SkerryError,
)
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kinds._shared.http.pool import CONNECTIONS_MAX
from skerry.kinds.kv import remote
from skerry.kinds.kv.binding import bind
from skerry.kinds.kv.remote import RemoteNamespace
from skerry.kinds.kv.surface import Namespace, WithMetadata
from skerry.testing.faults import FaultProxy
from skerry.testing.hosts import Tally
from skerry.testing.tunnels import Tunnelled, tunnel

LARGE = bytes(range(256)) * (25 << 12)


@pytest.fixture
async def proxy(port: int, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    async with tunnel(tmp_path / "away.sock", port) as made:
        yield made


@pytest.fixture
async def away(proxy: FaultProxy, context: Context, tmp_path: Path) -> AsyncIterator[Any]:
    host = Tunnelled(tmp_path / "away.sock")
    gone = replace(context, host=host, directory=tmp_path / "nothing", meter=Tally())
    made = await remote.bind(gone)
    assert isinstance(made, RemoteNamespace)
    yield made
    made.close()


@pytest.fixture(params=["here", "elsewhere"])
async def namespace(request: Any, context: Context, away: Namespace) -> Namespace:
    return await bind(context) if request.param == "here" else away


def refused(problem: Problem, call: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(SkerryError) as caught:
        call(*arguments, **options)
    assert caught.value.problem is problem, caught.value


def check(namespace: Namespace, clock: Any) -> None:
    for key in ("a", "a/b é?&#%", "..x", " "):
        namespace.put(key, f"value of {key}")
        assert namespace.get(key) == f"value of {key}"
    namespace.put("json", {"n": [1, None, "é"]}, metadata={"who": "é\n", "n": [1]})
    assert namespace.get("json", "json") == {"n": [1, None, "é"]}
    assert namespace.get_with_metadata("json", "json").metadata == {"who": "é\n", "n": [1]}
    namespace.put("raw", b"\xff\r\n--\x00", metadata=0, expiration_ttl=10)
    assert namespace.get_with_metadata("raw", "bytes") == WithMetadata(b"\xff\r\n--\x00", 0)
    namespace.put("late", "", expiration=int(clock.seconds) + 20)
    assert namespace.get_with_metadata("none") == WithMetadata(None, None)
    found = namespace.get_many(["raw", "none", "a"], "bytes")
    assert list(found.items()) == [("raw", b"\xff\r\n--\x00"), ("none", None), ("a", b"value of a")]
    assert namespace.get_many([]) == {}
    page = namespace.list("ra")
    assert [(each.name, each.metadata) for each in page.keys] == [("raw", 0)]
    assert page.keys[0].expiration == int(clock.seconds) + 10
    clock.seconds += 10
    assert namespace.get("raw") is None
    assert namespace.get("late") == ""
    namespace.put_many({f"k{number:03}": b"\xfe" for number in range(250)}, expiration_ttl=60)
    many = namespace.get_many([f"k{number:03}" for number in range(251)], "bytes")
    assert [each for each in many.values() if each != b"\xfe"] == [None]
    names: list[str] = []
    cursor = ""
    while not names or cursor:
        page = namespace.list("k", 100, cursor)
        names += [each.name for each in page.keys]
        cursor = page.cursor
    assert names == [f"k{number:03}" for number in range(250)]
    namespace.delete("a")
    namespace.delete("a", "none", *names)
    namespace.delete()
    assert [each.name for each in namespace.list().keys] == [
        " ",
        "..x",
        "a/b é?&#%",
        "json",
        "late",
    ]


def check_refusals(namespace: Namespace) -> None:
    namespace.put("k", b"\xff")
    refused(INVALID, namespace.get, "k")
    refused(INVALID, namespace.get_many, ["k"])
    refused(INVALID, namespace.get, "k", "xml")
    refused(INVALID, namespace.get, "")
    refused(INVALID, namespace.get_with_metadata, ".")
    refused(TOO_LARGE, namespace.get, "k" * 513)
    refused(INVALID, namespace.delete, "x", "\ud800")
    refused(INVALID, namespace.put, "x", object())
    refused(INVALID, namespace.put, "x", "y", expiration_ttl=0)
    refused(INVALID, namespace.put, "x", "y", expiration=1)
    refused(TOO_LARGE, namespace.put, "x", "y", metadata="m" * 1024)
    refused(TOO_LARGE, namespace.put, "x", bytes((25 << 20) + 1))
    refused(INVALID, namespace.put_many, dict.fromkeys(map(str, range(10_001)), ""))
    refused(INVALID, namespace.list, limit=0)
    refused(INVALID, namespace.list, limit=1001)
    refused(INVALID, namespace.list, cursor="?")
    assert [each.name for each in namespace.list().keys] == ["k"]


async def test_the_calls_are_the_same(namespace: Namespace, context: Any) -> None:
    await asyncio.to_thread(check, namespace, context.clock)
    await namespace.aio.put("aio", "1", metadata="m")
    assert await namespace.aio.get_with_metadata("aio") == WithMetadata("1", "m")
    assert (await namespace.aio.list("ai")).keys[0].name == "aio"
    await namespace.aio.delete("aio")
    assert await namespace.aio.get("aio") is None


async def test_the_refusals_are_the_same(namespace: Namespace) -> None:
    await asyncio.to_thread(check_refusals, namespace)


async def test_the_largest_values_pass(away: Namespace) -> None:
    value = LARGE[: 25 << 20]
    await away.aio.put("large", value, metadata=1)
    assert await away.aio.get("large", "bytes") == value
    assert (await away.aio.get_with_metadata("large", "bytes")).value == value
    await away.aio.put("other", value)
    both = await asyncio.to_thread(away.get_many, ["large", "none", "other"], "bytes")
    assert both == {"large": value, "none": None, "other": value}


async def test_connections_are_kept_and_bounded(away: Namespace, proxy: FaultProxy) -> None:
    await asyncio.gather(*(away.aio.put(str(number), "x") for number in range(60)))
    await asyncio.gather(*(away.aio.get(str(number)) for number in range(60)))
    assert proxy.accepted <= CONNECTIONS_MAX


async def test_a_wrong_token_is_told(proxy: FaultProxy, context: Context, tmp_path: Path) -> None:
    other = replace(
        context, keys=Keys(b"x" * 32, b"y" * 32), host=Tunnelled(tmp_path / "away.sock")
    )
    stranger = RemoteNamespace(other, str(tmp_path / "away.sock"))
    with pytest.raises(SkerryError) as caught:
        await stranger.aio.get("k")
    assert caught.value.problem is UNAUTHENTICATED
    stranger.close()


async def test_a_node_that_vanishes_is_an_error_and_no_wait(
    away: Namespace, proxy: FaultProxy
) -> None:
    await away.aio.put("k", "1")
    proxy.cut_now()
    await asyncio.sleep(0.05)
    assert await away.aio.get("k") == "1"
    proxy.refuses = True
    proxy.cut_now()
    for call in (away.aio.get("k"), away.aio.put("k", "2")):
        with pytest.raises(SkerryError) as caught:
            await call
        assert caught.value.problem is NODE_UNREACHABLE
        assert caught.value.hint == "skerry nodes"
    proxy.refuses = False
    assert await away.aio.get("k") == "1"


async def test_a_write_is_not_sent_twice(away: Namespace, proxy: FaultProxy) -> None:
    await away.aio.get("k")
    proxy.cut_after, before = 50_000, proxy.passed
    with pytest.raises(SkerryError, match="does not answer") as caught:
        await away.aio.put("k", LARGE[:1_000_000])
    assert "may have been carried out" in caught.value.why
    assert proxy.passed - before < 100_000
    proxy.cut_after = None
    assert await away.aio.get("k") is None
    assert proxy.cuts == 1


async def test_a_silent_node_is_given_up(
    away: RemoteNamespace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, context: Any
) -> None:
    proxy.delay_seconds = 60.0
    monkeypatch.setattr(away._pool, "_seconds", 0.2)
    with pytest.raises(SkerryError) as caught:
        await away.aio.get("k")
    assert caught.value.problem is NODE_UNREACHABLE
    assert "in time" in caught.value.why
