"""The same calls on a bucket here and on one elsewhere; and what a broken way does."""

from __future__ import annotations

import asyncio
import hashlib
import urllib.request
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import (
    CONFLICT,
    INVALID,
    NODE_UNREACHABLE,
    NOT_FOUND,
    UNAUTHENTICATED,
    Problem,
    SkerryError,
)
from skerry.kernel.keys import Keys
from skerry.kinds._shared.http.pool import CONNECTIONS_MAX
from skerry.kinds.bucket import remote
from skerry.kinds.bucket.binding import bind
from skerry.kinds.bucket.remote import PART_BYTES, RemoteBucket
from skerry.kinds.bucket.surface import Bucket
from skerry.testing.faults import FaultProxy
from skerry.testing.tunnels import Tunnelled, tunnel

LARGE = bytes(range(256)) * (PART_BYTES // 256) * 2 + b"and a little more"
KEYS = ["a", "a/b é?&#%+ x", "a/c", "a/\x01", "//..//.", "z" * 1024]


@pytest.fixture
async def proxy(served: Any, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    async with tunnel(tmp_path / "away.sock", served.port) as made:
        yield made


@pytest.fixture
async def away(served: Any, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[RemoteBucket]:
    context = replace(
        served.engine.context,
        host=Tunnelled(tmp_path / "away.sock"),
        directory=tmp_path / "nothing",
        url=f"http://127.0.0.1:{served.port}",
    )
    made = await remote.bind(context)
    assert isinstance(made, RemoteBucket)
    yield made
    await made.close()


@pytest.fixture(params=["here", "elsewhere"])
async def bucket(request: Any, served: Any, away: RemoteBucket) -> AsyncIterator[Bucket]:
    if request.param == "elsewhere":
        yield away
        return
    made = await bind(replace(served.engine.context, url=f"http://127.0.0.1:{served.port}"))
    yield made
    await made.close()


async def refused(problem: Problem, call: Awaitable[Any]) -> SkerryError:
    with pytest.raises(SkerryError) as caught:
        await call
    assert caught.value.problem is problem, caught.value
    return caught.value


async def stream(data: bytes, step: int = 1_000_003) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


async def test_objects_are_the_same(bucket: Bucket) -> None:
    for key in KEYS:
        info = await bucket.put(key, key)
        assert (info.key, info.size, info.version) == (key, len(key.encode()), "null")
        assert info.etag == hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
        found = await bucket.get(key)
        assert found is not None
        assert await found.text() == key
        assert found.info.etag == info.etag
    info = await bucket.put(
        "photo",
        memoryview(b'{"n": 1}'),
        content_type="application/json",
        metadata={"by": "aná", "who": "\u0142 \U0001f600", "empty": ""},
        headers={"Cache-Control": "no-store"},
    )
    head = await bucket.head("photo")
    assert head is not None
    (entry,) = (await bucket.list(prefix="photo")).objects
    for each in (info, head, entry):
        assert each.content_type == "application/json"
        assert each.metadata == {"by": "aná", "who": "\u0142 \U0001f600", "empty": ""}
        assert each.headers == {"cache-control": "no-store", "content-type": "application/json"}
        assert (each.size, each.etag) == (8, info.etag)
        assert abs((each.uploaded - info.uploaded).total_seconds()) < 1
    found = await bucket.get("photo")
    assert found is not None
    assert await found.json() == {"n": 1}
    plain = await bucket.put("empty", b"")
    assert (plain.size, plain.content_type, plain.headers) == (0, "binary/octet-stream", {})
    assert await bucket.head("none") is None
    assert await bucket.get("none") is None
    assert await bucket.get("") is None


async def test_ranges_are_the_same(bucket: Bucket) -> None:
    await bucket.put("k", b"0123456789")
    ranges: list[tuple[int, int | None, bytes]] = [
        (0, None, b"0123456789"), (3, 4, b"3456"), (8, 9, b"89"), (9, None, b"9"),
        (10, None, b""), (99, 5, b""), (0, 0, b""), (4, 0, b""),
    ]  # fmt: skip
    for offset, length, expected in ranges:
        found = await bucket.get("k", offset=offset, length=length)
        assert found is not None
        assert (found.size, found.length) == (10, len(expected))
        assert await found.read() == expected
    await bucket.put("empty", b"")
    found = await bucket.get("empty", offset=1)
    assert found is not None
    assert (await found.read(), found.size) == (b"", 0)


async def test_lists_are_the_same(bucket: Bucket) -> None:
    for key in ("a/1", "a/2", "b", "c/\x01", "c d+e", "é"):
        await bucket.put(key, b"x")
    keys: list[str] = []
    prefixes: list[str] = []
    cursor = ""
    while not keys or cursor:
        page = await bucket.list(delimiter="/", limit=2, cursor=cursor)
        keys += [each.key for each in page.objects]
        prefixes += page.prefixes
        cursor = page.cursor
    assert (keys, prefixes) == (["b", "c d+e", "é"], ["a/", "c/"])
    assert (await bucket.list(prefix="a/", limit=1)).cursor == "a/1"
    await bucket.delete("b")
    await bucket.delete("a/1", "c/\x01", "none", "é")
    await bucket.delete()
    assert [each.key for each in (await bucket.list()).objects] == ["a/2", "c d+e"]


async def test_conditions_and_refusals_are_the_same(bucket: Bucket) -> None:
    made = await bucket.put("k", b"1", if_none_match="*")
    await refused(CONFLICT, bucket.put("k", b"2", if_none_match="*"))
    await refused(CONFLICT, bucket.put("k", b"2", if_match="0" * 32))
    await refused(NOT_FOUND, bucket.put("none", b"2", if_match=made.etag))
    await bucket.put("k", b"3", if_match=made.etag)
    await refused(INVALID, bucket.put("", b""))
    await refused(INVALID, bucket.put("k" * 1025, b""))
    await refused(INVALID, bucket.put("k", b"", metadata={"m": "v" * 2048}))
    await refused(INVALID, bucket.get("k", offset=-1))
    await refused(INVALID, bucket.list(limit=0))
    other = bucket.bucket("other")
    for call in (other.get("k"), other.head("k"), other.list(), other.put("k", b""),
                 other.delete("k"), other.delete("k", "l")):  # fmt: skip
        assert "other" in (await refused(NOT_FOUND, call)).what
    found = await bucket.get("k")
    assert found is not None
    assert await found.read() == b"3"


async def test_streams_are_the_same(bucket: Bucket) -> None:
    for data in (b"", b"small", LARGE[:PART_BYTES], LARGE):
        info = await bucket.put("k", stream(data), content_type="x/y", metadata={"m": "1"})
        assert info.size == len(data)
        found = await bucket.get("k")
        assert found is not None
        assert (found.info.etag, found.info.metadata) == (info.etag, {"m": "1"})
        pieces = [piece async for piece in found.stream()]
        assert b"".join(pieces) == data
        assert max(map(len, pieces), default=0) <= 1 << 20
    await refused(CONFLICT, bucket.put("k", stream(LARGE), if_none_match="*"))

    async def failing() -> AsyncIterator[bytes]:
        yield LARGE
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await bucket.put("other", failing())
    assert [each.key for each in (await bucket.list()).objects] == ["k"]


async def test_urls_are_the_same(bucket: Bucket) -> None:
    await bucket.put("k é", b"hello")

    def fetch() -> bytes:
        with urllib.request.urlopen(bucket.presigned_url("k é", 60)) as answer:
            return bytes(answer.read())

    assert await asyncio.to_thread(fetch) == b"hello"
    with pytest.raises(SkerryError):
        bucket.presigned_url("k", 0)


async def test_a_failed_upload_leaves_no_parts(away: Bucket, served: Any) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield LARGE
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await away.put("other", failing())
    assert served.do(served.engine.status())["uploads"] == 0


async def test_versions_have_their_names(away: Bucket, served: Any, s3: Any) -> None:
    enabled = {"Status": "Enabled"}
    await asyncio.to_thread(
        s3.put_bucket_versioning, Bucket="media", VersioningConfiguration=enabled
    )
    made = [await away.put("k", body) for body in (b"1", stream(LARGE))]
    head = await away.head("k")
    assert head is not None
    assert head.version == made[1].version != made[0].version != "null"
    assert (await away.list()).objects[0].version == head.version
    await away.delete("k")
    assert await away.head("k") is None


async def test_what_s3_would_change_is_refused(away: Bucket) -> None:
    await refused(INVALID, away.put("k", b"", headers={"x-own": "1"}))
    await refused(INVALID, away.put("k", b"", metadata={"By": "ana"}))
    await refused(INVALID, away.put("k", b"", metadata={"by": "a\nb"}))
    await refused(INVALID, away.put("k", b"", metadata={"by": " a"}))
    assert (await away.list()).objects == []


async def test_a_wrong_key_is_told(served: Any, proxy: FaultProxy, tmp_path: Path) -> None:
    host = Tunnelled(tmp_path / "away.sock")
    other = replace(served.engine.context, keys=Keys(b"x", b"y"), host=host)
    stranger = await remote.bind(other)
    await refused(UNAUTHENTICATED, stranger.get("k"))
    await refused(UNAUTHENTICATED, stranger.head("k"))
    await refused(UNAUTHENTICATED, stranger.put("k", LARGE[:500_000]))
    await stranger.close()


async def test_connections_are_kept_and_what_is_unread_is_let_go(
    away: Bucket, proxy: FaultProxy
) -> None:
    await away.put("k", LARGE[: 3 << 20])
    await asyncio.gather(*(away.head("k") for _ in range(40)))
    assert proxy.accepted <= CONNECTIONS_MAX
    for _ in range(2 * CONNECTIONS_MAX):
        found = await away.get("k")
        assert found is not None
        del found
    found = await away.get("k")
    assert found is not None
    async for _ in found.stream():
        break
    head = await away.head("k")
    assert head is not None


async def test_a_node_that_vanishes_is_an_error_and_no_wait(
    away: RemoteBucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await away.put("k", LARGE)
    found = await away.get("k")
    assert found is not None
    proxy.refuses = True
    proxy.cut_now()
    error = await refused(NODE_UNREACHABLE, found.read())
    assert error.hint == "skerry nodes"
    await refused(NODE_UNREACHABLE, away.get("k"))
    error = await refused(NODE_UNREACHABLE, away.put("k", b"2"))
    assert "may have been carried out" in error.why
    proxy.refuses, proxy.delay_seconds = False, 60.0
    monkeypatch.setattr(away._line._pool, "seconds", 0.1)
    await refused(NODE_UNREACHABLE, away.head("k"))
    proxy.cut_now()


async def test_a_write_that_breaks_off_leaves_nothing(away: Bucket, proxy: FaultProxy) -> None:
    for data in (LARGE, stream(LARGE)):
        await away.head("k")
        proxy.cut_after = PART_BYTES + PART_BYTES // 2
        before = proxy.cuts
        await refused(NODE_UNREACHABLE, away.put("k", data))
        assert proxy.cuts > before
        proxy.cut_after = None
        assert await away.head("k") is None
