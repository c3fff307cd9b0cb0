"""What holds when processes race, die, or are cloned."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds.bucket.binding import bind
from skerry.kinds.bucket.engine import BucketEngine

MAKE_CONTEXT = """
import asyncio, hashlib, os, sys
from pathlib import Path
from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import SkerryError
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kernel.names import ResourceRef
from skerry.kernel.usage import NoMeter
from skerry.kinds.bucket.binding import bind
root = Path(sys.argv[1])
context = Context(
    ref=ResourceRef("app", "main", "bucket", "media"), id="0123456789abcdef",
    directory=root / "state", run=root / "run", code=root, config=None,
    keys=Keys(b"own", b"lineage"), meter=NoMeter(), clock=SystemClock(), host=None,
)
"""

RACE = """
async def main():
    bucket = await bind(context)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(40):
        body = sys.argv[2] * (1 if number % 2 else 10_000)
        try:
            await bucket.put(f"k{number}", body, if_none_match="*")
            print(number, flush=True)
        except SkerryError as error:
            assert error.code == "CONFLICT", error.code
    await bucket.close()
asyncio.run(main())
"""

WRITE = """
async def main():
    bucket = await bind(context)
    for number in range(100_000):
        body = hashlib.sha256(str(number).encode()).digest() * (1 if number % 2 else 1000)
        await bucket.put(f"k{number}", body)
        print(number, flush=True)
asyncio.run(main())
"""


def child(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE_CONTEXT + script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_conditional_put_has_one_winner_over_processes(context: Context) -> None:
    children = [child(RACE, str(context.code), str(name)) for name in range(3)]
    for each in children:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    wins: list[list[int]] = []
    for each in children:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in children:
        output, _ = each.communicate(timeout=40)
        assert each.returncode == 0
        wins.append([int(line) for line in output.split()])
    assert sorted(number for won in wins for number in won) == list(range(40))

    async def check() -> None:
        bucket = await bind(context)
        for name, won in enumerate(wins):
            for number in won:
                found = await bucket.get(f"k{number}")
                assert found is not None
                assert await found.read() == str(name).encode() * (1 if number % 2 else 10_000)
        await bucket.close()

    asyncio.run(check())


async def test_kill_loses_nothing_that_was_acknowledged(context: Context) -> None:
    with child(WRITE, str(context.code)) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(60)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    (context.directory / "running").touch()
    stray = context.directory / "blobs" / "ab" / ("ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"left between two steps")
    engine = BucketEngine(context)
    await engine.start()
    bucket = await bind(context)
    for number in acknowledged:
        found = await bucket.get(f"k{number}")
        assert found is not None, number
        right = hashlib.sha256(str(number).encode()).digest() * (1 if number % 2 else 1000)
        assert await found.read() == right
    async with asyncio.timeout(10):
        while stray.exists() or list((context.directory / "incoming").iterdir()):
            await asyncio.sleep(0.02)
    await bucket.close()
    await engine.stop()


async def test_writers_of_all_processes_wait_while_frozen(context: Context) -> None:
    engine = BucketEngine(context)
    await engine.start()
    bucket = await bind(context)
    await bucket.put("before", "1")
    await engine.prepare()
    await engine.freeze(False)
    writing = asyncio.create_task(bucket.put("after", "2"))
    await asyncio.sleep(0.2)
    assert not writing.done()
    found = await bucket.get("before")
    assert found is not None
    assert await found.text() == "1"
    await engine.thaw()
    await writing
    assert await bucket.head("after") is not None
    await bucket.close()
    await engine.stop()


async def test_a_clone_made_while_frozen_is_whole_and_apart(
    context: Context, contexts: Callable[..., Context], tmp_path: Path
) -> None:
    engine = BucketEngine(context)
    await engine.start()
    bucket = await bind(context)
    big = os.urandom(100_000)
    await bucket.put("big", big)
    await bucket.put("small", b"s", metadata={"a": "b"})
    await engine.freeze(False)
    other = tmp_path / "other"
    other.mkdir()

    def copy(source: str, target: str) -> None:
        if "/blobs/" in source:
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(context.directory, other / "state", copy_function=copy)
    await engine.thaw()
    branch = contexts(other, resource_id="f" * 16, own=b"other")
    clone = BucketEngine(branch)
    await clone.start()
    copied = await bind(branch)
    await copied.put("only", "here")
    await bucket.delete("big")
    await bucket.put("small", b"changed")
    found = await copied.get("big")
    assert found is not None
    assert await found.read() == big
    small = await copied.get("small")
    assert small is not None
    assert (await small.read(), small.info.metadata) == (b"s", {"a": "b"})
    assert await bucket.head("only") is None
    assert clone.account.owner.access_key != engine.account.owner.access_key
    assert clone.account.owner.id == engine.account.owner.id
    for each in (bucket, copied):
        await each.close()
    await clone.stop()
    await engine.stop()


async def test_deleted_content_goes_but_never_under_a_reader(context: Context) -> None:
    engine = BucketEngine(context)
    await engine.start()
    bucket = await bind(context)
    body = os.urandom(3_000_000)
    await bucket.put("k", body)
    reader = await bucket.get("k")
    assert reader is not None
    stream = reader.stream()
    taken = await anext(stream)
    await bucket.delete("k")
    engine.account.store.rubbish()
    async with asyncio.timeout(10):
        while any(each.is_file() for each in (context.directory / "blobs").rglob("*")):
            await asyncio.sleep(0.05)
    rest = [chunk async for chunk in stream]
    assert taken + b"".join(rest) == body
    assert (await engine.status())["stored_bytes"] == 0
    await bucket.close()
    await engine.stop()


async def test_a_condition_that_fails_keeps_no_content(context: Context) -> None:
    bucket = await bind(context)
    await bucket.put("k", b"x" * 100_000)
    with pytest.raises(SkerryError) as caught:
        await bucket.put("k", b"y" * 100_000, if_none_match="*")
    assert caught.value.problem is CONFLICT
    assert not list((context.directory / "incoming").iterdir())
    await bucket.close()
