"""Back to any moment of the retention; nothing of the way there touches the ledger it came from."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.kernel.kind import RECOVER_FILE, Recover
from skerry.kernel.ledger.records import Account, Transfer, pack
from skerry.kinds.ledger import snapshot, transfer
from skerry.kinds.ledger.journal import SEALED
from skerry.kinds.ledger.keeper import Keeper
from skerry.kinds.ledger.operations import Operation, one_batch

DAY = 86_400.0
CLOCK = SystemClock()
Past = list[tuple[int, int, int]]
"""Moments, the digest of the state then, and how many transfers there were."""


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "FILE_ROWS", 16)


def opened(folder: Path, retention: float = DAY, snapshot_bytes: int = 6000) -> Keeper:
    keeper = Keeper(
        folder,
        CLOCK,
        machine="plain",
        retention_seconds=retention,
        snapshot_bytes=snapshot_bytes,
    )
    keeper.journal._segment_bytes = 4000
    keeper.open()
    return keeper


async def write(keeper: Keeper, rounds: int, start: int = 1) -> Past:
    """Write transfers, a few at a time; return how the ledger stood in between."""
    past: Past = []
    for at in range(start, start + rounds):
        if at == 1:
            two = b"".join(pack(Account(id_, ledger=1, code=1)) for id_ in (1, 2))
            await keeper.submit(
                Operation.CREATE_ACCOUNTS, one_batch(Operation.CREATE_ACCOUNTS, two)
            )
        rows = [Transfer(at * 100 + n, 1, 2, 1, ledger=1, code=1) for n in range(5)]
        body = one_batch(Operation.CREATE_TRANSFERS, b"".join(map(pack, rows)))
        await keeper.submit(Operation.CREATE_TRANSFERS, body)
        digest, count = keeper.look(lambda book: (book.digest, book.count("transfers")))
        past.append((CLOCK.now(), digest, count))
        await asyncio.sleep(0.001)
    return past


def branch(source: Path, target: Path, moment: int) -> Path:
    """Copy a ledger as a volume does: files that never change are shared, the rest is copied."""
    shutil.copytree(source, target)
    for folder in (SEALED, snapshot.ROWS):
        for path in (source / folder).glob("*"):
            (target / folder / path.name).unlink()
            os.link(path, target / folder / path.name)
    (target / RECOVER_FILE).write_bytes(msgspec.json.encode(Recover(moment)))
    return target


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


async def test_any_moment_is_reached_and_the_origin_is_left_alone(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    began = CLOCK.now()
    keeper = opened(origin)
    past = await write(keeper, 40)
    keeper.close()
    before = contents(origin)
    assert len(list((origin / SEALED).iterdir())) > 3
    assert 3 < len(snapshot.marks(origin)) <= 9
    for number, (moment, digest, count) in enumerate(past[::3]):
        folder = branch(origin, tmp_path / str(number), moment)
        back = opened(folder)
        assert (back.book.digest, back.book.count("transfers")) == (digest, count)
        more = await write(back, 9, start=1000)
        back.close()
        again = opened(folder)
        assert again.book.digest == more[-1][1]
        assert not (folder / RECOVER_FILE).exists()
        again.close()
    assert contents(origin) == before
    first = branch(origin, tmp_path / "first", past[0][0] - (past[0][0] - began) // 2)
    for moment in (began - 1_000_000_000, CLOCK.now() + 60_000_000_000):
        (first / RECOVER_FILE).write_bytes(msgspec.json.encode(Recover(moment)))
        was = contents(first)
        with pytest.raises(SkerryError) as told:
            opened(first)
        assert told.value.problem is CONFLICT
        assert contents(first) == was


async def test_a_branch_of_a_branch_goes_further_back(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    keeper = opened(origin)
    past = await write(keeper, 30)
    keeper.close()
    nearer = opened(branch(origin, tmp_path / "nearer", past[20][0]))
    nearer.close()
    farther = opened(branch(tmp_path / "nearer", tmp_path / "farther", past[4][0]))
    assert farther.book.digest == past[4][1]
    farther.close()


async def test_a_way_back_that_is_cut_off_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    keeper = opened(origin)
    past = await write(keeper, 24)
    keeper.close()
    moment, digest, _ = past[7]
    whole = Path.unlink
    for steps in range(30):
        folder = branch(origin, tmp_path / f"cut-{steps}", moment)
        left = [steps]

        def unlink(path: Path, missing_ok: bool = False, left: list[int] = left) -> None:
            if not left[0]:
                raise OSError("the power is gone")
            left[0] -= 1
            whole(path, missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            try:
                opened(folder).close()
            except OSError:
                done = False
            else:
                done = True
        again = opened(folder)
        assert again.book.digest == digest
        again.close()
        if done:
            break
    assert steps > 5


async def test_what_no_moment_needs_is_removed(tmp_path: Path) -> None:
    keeper = opened(tmp_path, retention=0.0)
    past = await write(keeper, 40)
    await asyncio.to_thread(keeper.look, lambda _: keeper.save())
    assert len(snapshot.marks(tmp_path)) == 1
    assert list((tmp_path / SEALED).iterdir()) == []
    since = keeper.history.since(keeper.journal)
    assert since is not None
    assert past[-2][0] < since <= past[-1][0]
    keeper.close()
    again = opened(tmp_path)
    assert again.book.digest == past[-1][1]
    again.close()


async def test_an_import_begins_a_new_past_beside_the_old(tmp_path: Path) -> None:
    origin, other = tmp_path / "origin", tmp_path / "other"
    for folder in (origin, other, tmp_path / "export"):
        folder.mkdir()
    given = opened(other)
    await write(given, 20)
    given.look(lambda book: transfer.export(book, tmp_path / "export"))
    given.close()
    keeper = opened(origin)
    before = await write(keeper, 20)
    rows, timestamp = transfer.read(tmp_path / "export")
    await asyncio.to_thread(keeper.replace, rows, timestamp)
    imported = (CLOCK.now(), keeper.look(lambda book: book.digest))
    after = await write(keeper, 12, start=500)
    keeper.close()
    wanted = [before[9][:2], before[-1][:2], imported, after[5][:2], after[-1][:2]]
    for number, (moment, digest) in enumerate(wanted):
        back = opened(branch(origin, tmp_path / str(number), moment))
        assert back.book.digest == digest, number
        back.close()
