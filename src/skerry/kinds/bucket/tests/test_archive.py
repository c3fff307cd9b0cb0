"""Export and import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds.bucket.binding import bind
from skerry.kinds.bucket.engine import BucketEngine
from skerry.kinds.bucket.messages import Nothing, UserParams
from skerry.kinds.bucket.state import buckets
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.records import pack
from skerry.kinds.bucket.wire.encrypting import Default

KEYS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)
ODD = st.sampled_from(["a", "a/b", "../x", "/", "a//b", "./", "x" * 300])
NAMES = st.one_of(KEYS, ODD).filter(lambda key: len(key.encode()) <= 1024)


async def contents(engine: BucketEngine) -> Any:
    """Return everything that a client could see, without ids of users and times of writing."""

    def read(db: Db) -> list[Any]:
        return db.execute(
            "SELECT b.name, key, version, latest, marker, modified, size, etag FROM versions v"
            " JOIN buckets b ON b.id = v.bucket ORDER BY sequence"
        ).fetchall()

    bucket = await bind(engine.context)
    found: dict[str, Any] = {}
    cursor = ""
    while True:
        page = await bucket.list(cursor=cursor)
        for each in page.objects:
            got = await bucket.get(each.key)
            assert got is not None
            found[each.key] = (await got.read(), each.metadata, each.headers)
        cursor = page.cursor
        if not cursor:
            break
    await bucket.close()
    return await engine.account.store.read(read), found


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(NAMES, st.binary()), max_size=8),
    st.sampled_from(["", "AES256", "aws:kms"]),
)
async def test_what_is_exported_comes_back(
    contexts: Callable[..., Context],
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[str, bytes]],
    mode: str,
) -> None:
    root = tmp_path_factory.mktemp("archive")
    for name in ("one", "two", "export"):
        (root / name).mkdir()
    one = BucketEngine(contexts(root / "one"))
    await one.start()
    await one.word_grant(UserParams("press", "press@example.com"))

    def prepare(db: Db) -> None:
        bucket = buckets.find(db, "media")
        assert bucket is not None
        buckets.set_versioning(db, bucket.id, "Enabled")
        if mode:
            buckets.set_setting(db, bucket.id, "encryption", pack(Default(mode)))

    await one.account.store.write(prepare)
    bucket = await bind(one.context)
    for key, body in writes:
        await bucket.put(key, body, metadata={"n": str(len(body))}, content_type="a/b")
    if writes:
        await bucket.delete(writes[0][0])
    await bucket.put("last", b"x" * 10_000)
    await bucket.close()
    await one.export(root / "export")
    two = BucketEngine(contexts(root / "two", own=b"2", lineage=b"other"))
    await two.start()
    await two.restore(root / "export")
    assert await contents(two) == await contents(one)
    keys = {key.name: key for key in await two.word_keys(Nothing())}
    assert set(keys) == {"owner", "press"}
    assert keys["owner"].secret_key != (await one.word_keys(Nothing()))[0].secret_key
    await one.stop()
    await two.stop()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("buckets.ndjson", ""),
        ("buckets.ndjson", "{}\n"),
        ("objects.ndjson", "garbage\n"),
        ("objects.ndjson", None),
        ("objects/media/k", "other size"),
        ("objects/media/k", None),
    ],
)
async def test_what_is_no_export_changes_nothing(
    context: Context, tmp_path: Path, name: str, text: str | None
) -> None:
    engine = BucketEngine(context)
    await engine.start()
    bucket = await bind(context)
    await bucket.put("k", b"value")
    target = tmp_path / "export"
    target.mkdir()
    await engine.export(target)
    assert (target / "objects/media/k").read_bytes() == b"value"
    await bucket.put("k", b"newer")
    if text is None:
        (target / name).unlink()
    else:
        (target / name).write_text(text)
    with pytest.raises(SkerryError) as caught:
        await engine.restore(target)
    assert caught.value.problem is INVALID
    found = await bucket.get("k")
    assert found is not None
    assert await found.read() == b"newer"
    await bucket.close()
    await engine.stop()


async def test_an_export_cannot_reach_outside(context: Context, tmp_path: Path) -> None:
    engine = BucketEngine(context)
    await engine.start()
    bucket = await bind(context)
    await bucket.put("k", b"value")
    target = tmp_path / "export"
    target.mkdir()
    await engine.export(target)
    (tmp_path / "secret").write_bytes(b"value")
    lines = (target / "objects.ndjson").read_text()
    for outside in ("../secret", str(tmp_path / "secret")):
        (target / "objects.ndjson").write_text(lines.replace("objects/media/k", outside))
        with pytest.raises(SkerryError) as caught:
            await engine.restore(target)
        assert caught.value.problem is INVALID
    await bucket.close()
    await engine.stop()
