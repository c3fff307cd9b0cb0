"""What was acknowledged is there again, whatever became of the process or the disk."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import CORRUPT, DISK_FULL, INTERNAL, INVALID, TOO_LARGE, SkerryError
from skerry.kernel.ledger import Account, Transfer, TransferStatus
from skerry.kernel.ledger.records import pack
from skerry.kinds.ledger import keeper as keeper_module
from skerry.kinds.ledger import snapshot
from skerry.kinds.ledger.journal import HEAD_BYTES, TAIL, Journal
from skerry.kinds.ledger.keeper import Keeper
from skerry.kinds.ledger.operations import Operation, join, one_batch
from skerry.kinds.ledger.questions import Questions
from skerry.testing.hosts import Tally


class Open:
    """A keeper that is open for the length of a block, and its digest at the end."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.keeper = Keeper(directory, SystemClock(), **{"machine": "plain", **options})

    async def __aenter__(self) -> Questions:
        await asyncio.to_thread(self.keeper.open)

        async def carry(operation: Operation, body: bytes) -> bytes:
            return (await self.keeper.submit(operation, body)).body

        return Questions(carry)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.keeper.close)


def accounts(*ids: int) -> list[Account]:
    return [Account(id_, ledger=1, code=1) for id_ in ids]


def transfers(start: int, count: int) -> list[Transfer]:
    return [Transfer(start + at, 1, 2, 1, ledger=1, code=1) for at in range(count)]


async def fill(directory: Path, batches: int = 5) -> int:
    opened = Open(directory)
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))
        for at in range(batches):
            await ledger.create_transfers(transfers(1 + 10 * at, 10))
    return opened.keeper.book.digest


async def posted(directory: Path) -> tuple[int, int]:
    opened = Open(directory)
    async with opened as ledger:
        found = await ledger.lookup_accounts([1])
    return (found[0].debits_posted if found else 0), opened.keeper.book.digest


def log(directory: Path) -> Path:
    (path,) = (directory / TAIL).glob("*.log")
    return path


async def test_a_start_carries_out_the_log_again(tmp_path: Path) -> None:
    digest = await fill(tmp_path)
    assert [each.sequence for each in snapshot.marks(tmp_path)] == [0]
    assert await posted(tmp_path) == (50, digest)


async def test_a_snapshot_and_the_rest_of_the_log_are_the_whole(tmp_path: Path) -> None:
    await fill(tmp_path)
    opened = Open(tmp_path)
    async with opened as ledger:
        await ledger.create_transfers(
            [Transfer(900, 1, 2, 7, ledger=1, code=1, flags=2, timeout=3600)]
        )
        await asyncio.to_thread(opened.keeper.look, lambda _: opened.keeper.save())
        await ledger.create_transfers(transfers(1000, 3))
        await ledger.create_transfers([Transfer(5, 1, 99, 1, ledger=1, code=1)])
        burned = await ledger.create_transfers([Transfer(2000, 1, 99, 1, ledger=1, code=1)])
        assert burned[0].status == TransferStatus.CREDIT_ACCOUNT_NOT_FOUND
    digest = opened.keeper.book.digest
    assert [each.sequence > 0 for each in snapshot.marks(tmp_path)] == [True]
    again = Open(tmp_path)
    async with again as ledger:
        assert again.keeper.book.digest == digest
        results = await ledger.create_transfers([Transfer(2000, 1, 2, 1, ledger=1, code=1)])
        assert results[0].status == TransferStatus.ID_ALREADY_FAILED
        post = Transfer(901, amount=7, pending_id=900, flags=4)
        assert (await ledger.create_transfers([post]))[0].status == TransferStatus.CREATED


async def test_rows_that_fill_a_file_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "FILE_ROWS", 16)
    opened = Open(tmp_path, snapshot_bytes=1000)
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))
        for at in range(10):
            await ledger.create_transfers(transfers(1 + 10 * at, 10))
    files = sorted((tmp_path / snapshot.ROWS).iterdir())
    assert {path.name.split("-")[0] for path in files} == {"transfers", "moments"}
    written = {path: path.stat().st_mtime_ns for path in files}
    assert await posted(tmp_path) == (100, opened.keeper.book.digest)
    again = Open(tmp_path, snapshot_bytes=1)
    async with again as ledger:
        await ledger.create_transfers(transfers(500, 20))
    assert {path: path.stat().st_mtime_ns for path in files} == written
    with files[0].open("r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    with pytest.raises(SkerryError) as told:
        await posted(tmp_path)
    assert told.value.problem is CORRUPT


@pytest.mark.parametrize("cut", [1, 40, HEAD_BYTES, HEAD_BYTES + 700])
async def test_a_torn_end_is_cut_off(tmp_path: Path, cut: int) -> None:
    await fill(tmp_path)
    path = log(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    assert (await posted(tmp_path))[0] == 40
    assert (await posted(tmp_path))[0] == 40


async def test_garbage_at_the_end_is_cut_off(tmp_path: Path) -> None:
    await fill(tmp_path)
    size = log(tmp_path).stat().st_size
    for garbage in (bytes(1000), random.Random(1).randbytes(5000), b"SKLEDGR1" * 200):
        with log(tmp_path).open("ab") as file:
            file.write(garbage)
        assert (await posted(tmp_path))[0] == 50
        assert log(tmp_path).stat().st_size == size


async def test_damage_in_the_middle_is_told_and_nothing_is_cut(tmp_path: Path) -> None:
    await fill(tmp_path)
    path = log(tmp_path)
    whole = path.read_bytes()
    for at in (3, 100, HEAD_BYTES + 5, len(whole) // 2):
        changed = bytearray(whole)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(SkerryError) as told:
            await posted(tmp_path)
        assert told.value.problem is CORRUPT
        assert path.read_bytes() == bytes(changed)


async def test_a_record_that_was_cut_out_is_found(tmp_path: Path) -> None:
    await fill(tmp_path)
    path = log(tmp_path)
    journal = Journal(tmp_path)
    records = list(journal.read(0, bytes(32)))
    journal.close()
    size = HEAD_BYTES + len(records[0].body)
    path.write_bytes(path.read_bytes()[size:])
    with pytest.raises(SkerryError) as told:
        await posted(tmp_path)
    assert told.value.problem is CORRUPT


async def test_a_state_that_the_log_does_not_lead_to_is_found(tmp_path: Path) -> None:
    await fill(tmp_path)
    opened = Open(tmp_path)
    async with opened as ledger:
        opened.keeper._state = (opened.keeper._state[0], 12345)
        await ledger.create_transfers(transfers(700, 1))
    with pytest.raises(SkerryError) as told:
        await posted(tmp_path)
    assert told.value.problem is CORRUPT


async def test_a_full_disk_refuses_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Open(tmp_path)
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))
        before = opened.keeper.book.digest
        whole = os.writev

        def full(file: int, parts: list[bytes]) -> int:
            whole(file, [bytes(parts[0])])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "writev", full)
            with pytest.raises(SkerryError) as told:
                await ledger.create_transfers(transfers(1, 5))
        assert told.value.problem is DISK_FULL
        assert opened.keeper.book.digest == before
        await ledger.create_transfers(transfers(1, 3))
    assert (await posted(tmp_path))[0] == 3


async def test_what_is_no_request_is_refused_before_the_log(tmp_path: Path) -> None:
    opened = Open(tmp_path)
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))
        size = log(tmp_path).stat().st_size
        whole = one_batch(Operation.CREATE_TRANSFERS, pack(transfers(1, 1)[0]))
        wrong = {
            b"": INVALID,
            bytes(100): INVALID,
            bytes(128): INVALID,
            b"\xff" * 256: INVALID,
            whole[:-2] + b"\x02\x00": INVALID,
            whole[:200] + b"\x00" + whole[201:]: INVALID,
            bytes(1 << 20): TOO_LARGE,
        }
        for body, problem in wrong.items():
            with pytest.raises(SkerryError) as told:
                await opened.keeper.submit(Operation.CREATE_TRANSFERS, body)
            assert told.value.problem is problem, body[:10]
        with pytest.raises(SkerryError) as told:
            await opened.keeper.submit(99, whole)
        assert told.value.problem is INVALID
        much = join([bytes(16 * 8190)], 16)
        with pytest.raises(SkerryError) as told:
            await opened.keeper.submit(Operation.LOOKUP_ACCOUNTS, much)
        assert told.value.problem is TOO_LARGE
        assert log(tmp_path).stat().st_size == size


async def test_a_freeze_holds_writers_and_keeps_the_files_as_they_are(tmp_path: Path) -> None:
    opened = Open(tmp_path)
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))
        await asyncio.to_thread(opened.keeper.hold)
        size = log(tmp_path).stat().st_size
        waiting = asyncio.create_task(ledger.create_transfers(transfers(1, 5)))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert log(tmp_path).stat().st_size == size
        opened.keeper.release()
        assert len(await waiting) == 5


async def test_use_is_metered(tmp_path: Path) -> None:
    tally = Tally()
    keeper = Keeper(tmp_path, SystemClock(), meter=tally, machine="plain")
    await asyncio.to_thread(keeper.open)
    body = one_batch(Operation.CREATE_ACCOUNTS, [pack(each) for each in accounts(1, 2, 3)])
    await keeper.submit(Operation.CREATE_ACCOUNTS, body)
    await keeper.submit(Operation.LOOKUP_ACCOUNTS, join([bytes(32)], 16))
    await asyncio.to_thread(keeper.close)
    assert tally.counts == {"accounts": 3, "bytes_written": len(body), "lookups": 2}


_VICTIM = """
import asyncio, sys
from pathlib import Path
from typing import Any
from skerry.kernel.clock import SystemClock
from skerry.kernel.ledger.records import pack, Account, Transfer
from skerry.kinds.ledger.keeper import Keeper
from skerry.kinds.ledger.operations import Operation, one_batch

async def main():
    keeper = Keeper(Path(sys.argv[1]), SystemClock(), machine="plain")
    keeper.open()
    two = b"".join(pack(Account(id_, ledger=1, code=1)) for id_ in (1, 2))
    await keeper.submit(Operation.CREATE_ACCOUNTS, one_batch(Operation.CREATE_ACCOUNTS, two))
    start = int(sys.argv[2])

    async def write(first):
        batch = b"".join(
            pack(Transfer(first + at, 1, 2, 1, ledger=1, code=1)) for at in range(200))
        body = one_batch(Operation.CREATE_TRANSFERS, batch)
        await keeper.submit(Operation.CREATE_TRANSFERS, body)
        print(first, flush=True)

    while True:
        await asyncio.gather(*(write(start + 200 * at) for at in range(4)))
        start += 800

asyncio.run(main())
"""


@pytest.mark.slow
async def test_kill_9_in_the_middle_of_batches_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    chance = random.Random(7)
    for round_ in range(4):
        start = 1 + round_ * 1_000_000
        with subprocess.Popen(
            [sys.executable, "-c", _VICTIM, str(tmp_path), str(start)],
            stdout=subprocess.PIPE,
            text=True,
        ) as victim:
            assert victim.stdout is not None
            acknowledged.add(int(victim.stdout.readline()))
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            victim.send_signal(signal.SIGKILL)
            acknowledged |= {int(line) for line in victim.stdout if line.endswith("\n")}
    opened = Open(tmp_path)
    async with opened as ledger:
        for first in acknowledged:
            found = await ledger.lookup_transfers(list(range(first, first + 200)))
            assert len(found) == 200, "a batch is there whole"
        (debit,) = await ledger.lookup_accounts([1])
    assert debit.debits_posted % 200 == 0
    assert debit.debits_posted >= 200 * len(acknowledged)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_ledger_that_gets_busy_is_moved_to_the_compiled_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba", reason="NOT TESTED: numba is not installed")
    monkeypatch.setattr(keeper_module, "BUSY_FROM", 20)
    opened = Open(tmp_path, machine="auto")
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))
        assert opened.keeper.book.name == "plain"
        done = 0
        while opened.keeper.book.name == "plain":
            await ledger.create_transfers(transfers(1 + done, 10))
            done += 10
            await asyncio.sleep(0.05)
        await ledger.create_transfers(transfers(1 + done, 10))
        (debit,) = await ledger.lookup_accounts([1])
        assert debit.debits_posted == done + 10
    assert await posted(tmp_path) == (done + 10, opened.keeper.book.digest)
    monkeypatch.setattr(keeper_module, "COMPILED_FROM", 5)
    again = Open(tmp_path, machine="auto")
    async with again as ledger:
        await asyncio.to_thread(again.keeper.look, lambda _: again.keeper.save())
    third = Open(tmp_path, machine="auto")
    async with third as ledger:
        assert third.keeper.book.name == "compiled"
        assert third.keeper.book.digest == opened.keeper.book.digest


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_full_rows_are_written_while_the_ledger_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba", reason="NOT TESTED: numba is not installed")
    monkeypatch.setattr(snapshot, "FILE_ROWS", 64)
    opened = Open(tmp_path, machine="compiled", snapshot_bytes=1 << 30)
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))
        for at in range(60):
            await ledger.create_transfers(transfers(1 + 100 * at, 100))
        wanted = 2 * (6000 // 64)
        for _ in range(500):
            if len(list((tmp_path / snapshot.ROWS).glob("*.rows"))) == wanted:
                break
            await asyncio.sleep(0.02)
        assert len(list((tmp_path / snapshot.ROWS).glob("*.rows"))) == wanted
        await asyncio.to_thread(opened.keeper.hold)
        opened.keeper.release()
        await asyncio.to_thread(opened.keeper.look, lambda _: opened.keeper.save())
    assert await posted(tmp_path) == (6000, opened.keeper.book.digest)


async def test_chains_and_timeouts_at_once(tmp_path: Path) -> None:
    """Timeouts are looked for in one thread while another is in the middle of a chain."""
    opened = Open(tmp_path)
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))

        async def some(start: int) -> None:
            chain = [
                Transfer(
                    start + at, 1, 2, 1, ledger=1, code=1, flags=3 if at < 400 else 2, timeout=1
                )
                for at in range(401)
            ]
            results = await ledger.create_transfers(chain)
            assert {each.status for each in results} == {TransferStatus.CREATED}

        await asyncio.gather(*(some(1 + 1000 * at) for at in range(30)))
        await asyncio.sleep(1.1)
        await opened.keeper.expire()
        while opened.keeper.book.next_expiry is not None:
            await asyncio.sleep(0.1)
            await opened.keeper.expire()
        (debit,) = await ledger.lookup_accounts([1])
        assert (debit.debits_pending, debit.debits_posted) == (0, 0)


async def test_a_log_that_fails_stops_the_ledger_and_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Open(tmp_path)
    async with opened as ledger:
        await ledger.create_accounts(accounts(1, 2))

        def broken(_: object) -> list[object]:
            raise MemoryError

        monkeypatch.setattr(opened.keeper.journal, "append", broken)
        for _ in range(2):
            with pytest.raises(SkerryError) as told:
                await ledger.create_transfers(transfers(1, 2))
            assert told.value.problem is INTERNAL
    assert (await posted(tmp_path))[0] == 0
