"""The verbs: sleep, kill, freeze and branch, export and import; and the binding."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import INVALID, NOT_FOUND, SkerryError
from skerry.kernel.kind import Context
from skerry.kernel.usage import NoMeter
from skerry.kinds.kv.binding import bind
from skerry.kinds.kv.engine import KvEngine
from skerry.kinds.kv.manifest import MANIFEST, KeyParams, ListParams, PutParams
from skerry.kinds.kv.store import FILE, Store, new_entry
from skerry.kinds.kv.surface import Namespace

WRITER = """
import sys
from pathlib import Path
from skerry.kernel.clock import SystemClock
from skerry.kernel.usage import NoMeter
from skerry.kinds.kv.store import Store, new_entry
store = Store(Path(sys.argv[1]), SystemClock(), NoMeter())
for number in range(1_000_000):
    store.put([new_entry(str(number), b"x", store.now())])
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
async def namespace(engine: KvEngine, context: Context) -> Namespace:
    return await bind(context)


@pytest.fixture
def writer(engine: KvEngine) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER, str(engine.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_words(engine: KvEngine) -> None:
    await engine.word_put(PutParams("a", "text", expiration_ttl=60, metadata={"n": 1}))
    value = await engine.word_get(KeyParams("a"))
    assert (value.value, value.base64, value.metadata) == ("text", False, {"n": 1})
    page = await engine.word_list(ListParams("a"))
    assert [key.name for key in page.keys] == ["a"]
    assert (await engine.word_delete(KeyParams("a"))).changed
    assert not (await engine.word_delete(KeyParams("a"))).changed
    with pytest.raises(SkerryError) as caught:
        await engine.word_get(KeyParams("a"))
    assert caught.value.problem is NOT_FOUND
    for word in MANIFEST.words:
        assert hasattr(engine, f"word_{word.name}")


async def test_a_file_that_is_no_database_is_told_and_can_be_stopped(context: Any) -> None:
    (context.directory / "kv.sqlite").write_bytes(b"not a database" * 1000)
    engine = KvEngine(context)
    with pytest.raises(SkerryError) as caught:
        await engine.start()
    assert caught.value.code == "CORRUPT"
    await engine.stop()


async def test_binding(namespace: Namespace, context: Any) -> None:
    namespace.put("u1", {"cart": [1]}, metadata={"seen": 2})
    namespace.put("u2", b"\xff\x00", expiration_ttl=10)
    assert namespace.get("u1", "json") == {"cart": [1]}
    assert namespace.get_with_metadata("u1").metadata == {"seen": 2}
    assert namespace.get("u2", "bytes") == b"\xff\x00"
    with pytest.raises(SkerryError) as caught:
        namespace.get("u2")
    assert caught.value.problem is INVALID
    context.clock.seconds += 10
    assert namespace.get("u2", "bytes") is None
    namespace.put_many({"a": "1", "b": "2"})
    assert namespace.get_many(["a", "b", "c"]) == {"a": "1", "b": "2", "c": None}
    assert [key.name for key in namespace.list("u").keys] == ["u1"]
    await namespace.aio.put("c", "3")
    assert await namespace.aio.get("c") == "3"
    await namespace.aio.delete("c", "nothing")
    assert namespace.get("c") is None
    assert context.meter.counts["writes"] == 5
    assert context.meter.counts["bytes_written"] > 20


async def test_the_binding_is_used_from_many_threads(namespace: Namespace) -> None:
    def work(number: int) -> None:
        for step in range(5):
            namespace.put(f"{number}-{step}", str(step))
            assert namespace.get(f"{number}-{step}") == str(step)

    await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(6)))
    assert len(namespace.list().keys) == 30


async def test_acknowledged_writes_survive_a_kill(
    engine: KvEngine, writer: subprocess.Popen[str], namespace: Namespace
) -> None:
    assert writer.stdout is not None
    seen = [writer.stdout.readline().strip() for _ in range(20)]
    writer.kill()
    seen += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert all(namespace.get(key) == "x" for key in seen)


async def test_a_freeze_holds_off_writers_of_other_processes(
    engine: KvEngine, writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert writer.stdout is not None
    await asyncio.to_thread(writer.stdout.readline)
    await engine.prepare()
    await engine.freeze(atomic=False)
    before = await engine.reads.run(Store.count)
    clone = tmp_path / "clone"
    clone.mkdir()
    subprocess.run(["cp", *engine.path.parent.iterdir(), clone], check=True)
    await asyncio.sleep(0.05)
    assert await engine.reads.run(Store.count) == before
    pending = asyncio.create_task(engine.word_put(PutParams("later", "x")))
    await asyncio.sleep(0.02)
    assert not pending.done()
    await engine.thaw()
    assert (await pending).changed
    copy = Store(clone / FILE, SystemClock(), NoMeter())
    assert copy.count() == before
    copy.close()


async def test_export_and_import_are_the_identity(engine: KvEngine, tmp_path: Path) -> None:
    def fill(store: Store) -> None:
        now = store.now()
        store.put(
            [
                new_entry(
                    f"k{number}",
                    os.urandom(number * 3),
                    now,
                    expiration_ttl=100 if number % 2 else None,
                    metadata=[number, "é"],
                )
                for number in range(50)
            ]
        )

    await engine.writes.run(fill)
    before = await engine.reads.run(lambda store: list(store.entries()))
    target = tmp_path / "export"
    target.mkdir()
    await engine.export(target)
    await engine.word_put(PutParams("extra", "x"))
    await engine.restore(target)
    assert await engine.reads.run(lambda store: list(store.entries())) == before


@pytest.mark.parametrize(
    "text", ["{", '{"key":"a"}', '{"key":"","value":"x"}', '{"key":"a","value":"!","base64":true}']
)
async def test_a_bad_export_changes_nothing(engine: KvEngine, tmp_path: Path, text: str) -> None:
    await engine.word_put(PutParams("a", "kept"))
    (tmp_path / "x.ndjson").write_text('{"key":"b","value":"1"}\n' + text)
    with pytest.raises(SkerryError) as caught:
        await engine.restore(tmp_path)
    assert caught.value.problem is INVALID
    assert "ine 2" in caught.value.what
    assert (await engine.word_get(KeyParams("a"))).value == "kept"
    assert (await engine.status())["keys"] == 1


async def test_expired_values_are_removed_in_the_background(context: Any) -> None:
    engine = KvEngine(context)
    await engine.start()
    await engine.word_put(PutParams("a", "x", expiration_ttl=5))
    await engine.stop()
    context.clock.seconds += 6
    await engine.start()
    async with asyncio.timeout(5):
        while (await engine.status())["keys"]:
            await asyncio.sleep(0.01)
    await engine.stop()
    assert not list(context.directory.glob("*-wal"))
