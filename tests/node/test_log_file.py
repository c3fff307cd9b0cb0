"""The log file: nothing acknowledged is lost, and nothing damaged is taken for whole."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import CORRUPT, DISK_FULL, ENGINE_FAILED, TOO_LARGE, SkerryError
from skerry.kernel.log import GENESIS
from skerry.node import log_file
from skerry.node.log_file import Head, LogFile

CLOCK = SystemClock()


class Opened:
    """A log and the bodies that it folded."""

    def __init__(self, directory: Path, segment_bytes: int = 1 << 20) -> None:
        self.bodies: list[bytes] = []
        self.log = LogFile(directory, CLOCK, self.bodies.append, segment_bytes)


async def write(directory: Path, bodies: list[bytes], segment_bytes: int = 1 << 20) -> list[int]:
    """Append one after the other; return the size of the last segment after each."""
    opened = Opened(directory, segment_bytes)
    sizes = []
    for body in bodies:
        await opened.log.append(body)
        sizes.append(last_segment(directory).stat().st_size)
    await opened.log.close()
    return sizes


def last_segment(directory: Path) -> Path:
    return max(directory.glob("*.log"))


async def reopened(directory: Path) -> list[bytes]:
    opened = Opened(directory)
    await opened.log.close()
    return opened.bodies


async def test_entries_are_folded_in_order_and_chained(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    entries = [await opened.log.append(f"{number}".encode()) for number in range(5)]
    assert opened.bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert list(opened.log.read()) == entries
    assert list(opened.log.read(3)) == entries[3:]
    assert list(opened.log.read(5)) == []
    assert entries[0].previous == GENESIS
    assert [each.previous for each in entries[1:]] == [each.digest() for each in entries[:-1]]
    await opened.log.close()
    assert await reopened(tmp_path) == opened.bodies


async def test_entries_that_wait_are_synced_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)
    opened = Opened(tmp_path)
    entries = await asyncio.gather(*(opened.log.append(b"%d" % n) for n in range(500)))
    assert [each.sequence for each in entries] == list(range(500))
    assert syncs <= 3
    await opened.log.close()
    assert await reopened(tmp_path) == [b"%d" % n for n in range(500)]


async def test_a_batch_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "BATCH_BYTES_MAX", 1000)
    opened = Opened(tmp_path)
    await asyncio.gather(*(opened.log.append(bytes(300)) for _ in range(20)))
    await opened.log.close()
    frames = log_file._frames(last_segment(tmp_path), torn_tail_allowed=False)
    assert max(len(entries) for _, entries in frames) == 4
    assert await reopened(tmp_path) == [bytes(300)] * 20


async def test_a_tail_torn_at_any_byte_loses_only_itself(tmp_path: Path) -> None:
    sizes = await write(tmp_path, [b"first", b"second", b"the third, which is torn"])
    data = last_segment(tmp_path).read_bytes()
    for cut in range(sizes[1], sizes[2]):
        last_segment(tmp_path).write_bytes(data[:cut])
        opened = Opened(tmp_path)
        assert opened.bodies == [b"first", b"second"]
        assert last_segment(tmp_path).stat().st_size == sizes[1]
        await opened.log.append(b"again")
        await opened.log.close()
        assert await reopened(tmp_path) == [b"first", b"second", b"again"]


async def test_a_tail_of_zeros_or_garbage_is_a_torn_tail(tmp_path: Path) -> None:
    sizes = await write(tmp_path, [b"first", b"second"])
    data = last_segment(tmp_path).read_bytes()
    for tail in (bytes(5000), b"\xff" * 300, bytes(range(256)) * 20, data[sizes[0] : -1]):
        last_segment(tmp_path).write_bytes(data + tail)
        assert await reopened(tmp_path) == [b"first", b"second"]


async def test_any_flipped_byte_before_the_last_frame_is_found(tmp_path: Path) -> None:
    """Lengths and checksums included: what was acknowledged is never cut off as a torn tail."""
    sizes = await write(tmp_path, [b"first", b"second", b"third", b"fourth"])
    path = last_segment(tmp_path)
    data = path.read_bytes()
    for place in range(sizes[2]):
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        with pytest.raises(SkerryError) as found:
            Opened(tmp_path)
        assert found.value.problem is CORRUPT
        begin = max(size for size in (0, *sizes) if size <= place)
        assert f"byte {begin}" in found.value.what
        assert path.read_bytes() == damaged, "nothing is cut off"


async def test_a_damaged_older_segment_is_corrupt_even_at_its_tail(tmp_path: Path) -> None:
    await write(tmp_path, [bytes([n]) * 200 for n in range(10)], segment_bytes=800)
    older = sorted(tmp_path.glob("*.log"))[1]
    older.write_bytes(older.read_bytes()[:-1])
    with pytest.raises(SkerryError) as found:
        Opened(tmp_path)
    assert found.value.problem is CORRUPT


@pytest.mark.parametrize("which", [0, 1])
async def test_a_segment_that_is_gone_is_noticed(tmp_path: Path, which: int) -> None:
    await write(tmp_path, [bytes([n]) * 200 for n in range(10)], segment_bytes=800)
    sorted(tmp_path.glob("*.log"))[which].unlink()
    with pytest.raises(SkerryError) as found:
        Opened(tmp_path)
    assert found.value.problem is CORRUPT


async def test_segments_follow_each_other_and_are_read_from_any_entry(tmp_path: Path) -> None:
    bodies = [bytes([n]) * 200 for n in range(25)]
    await write(tmp_path, bodies, segment_bytes=800)
    segments = sorted(tmp_path.glob("*.log"))
    assert len(segments) > 5
    assert all(path.stat().st_size <= 800 for path in segments)
    opened = Opened(tmp_path, segment_bytes=800)
    assert opened.bodies == bodies
    for start in range(26):
        assert [entry.body for entry in opened.log.read(start)] == bodies[start:]
    await opened.log.append(b"more")
    await opened.log.close()
    assert await reopened(tmp_path) == [*bodies, b"more"]


async def test_a_crash_just_after_a_segment_was_begun(tmp_path: Path) -> None:
    await write(tmp_path, [b"one", b"two"])
    (tmp_path / f"{2:020d}.log").touch()
    opened = Opened(tmp_path)
    assert (await opened.log.append(b"three")).sequence == 2
    await opened.log.close()
    assert await reopened(tmp_path) == [b"one", b"two", b"three"]


async def test_a_full_disk_fails_the_batch_and_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(tmp_path)
    await opened.log.append(b"before")
    real = os.pwrite
    room = 40

    def short_then_full(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        room, part = 0, data[:room]
        return real(descriptor, part, offset)

    monkeypatch.setattr(os, "pwrite", short_then_full)
    results = await asyncio.gather(
        *(opened.log.append(bytes(100)) for _ in range(3)), return_exceptions=True
    )
    assert [each.problem for each in results if isinstance(each, SkerryError)] == [DISK_FULL] * 3
    monkeypatch.setattr(os, "pwrite", real)
    assert (await opened.log.append(b"after")).sequence == 1
    await opened.log.close()
    assert opened.bodies == [b"before", b"after"]
    assert await reopened(tmp_path) == [b"before", b"after"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
async def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        opened = Opened(tmp_path, segment_bytes=16 * 1024)
        kept = []
        failed = 0
        for number in range(40):
            body = bytes([number]) * 3000
            try:
                await opened.log.append(body)
                kept.append(body)
            except SkerryError as error:
                assert error.problem is DISK_FULL
                failed += 1
        assert kept
        assert failed
        await opened.log.close()
        assert await reopened(tmp_path) == kept
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


async def test_a_fold_that_fails_hurts_only_its_own_entry(tmp_path: Path) -> None:
    seen = []

    def apply(body: bytes) -> None:
        if body == b"bad":
            raise KeyError("bad")
        seen.append(body)

    log = LogFile(tmp_path, CLOCK, apply)
    results = await asyncio.gather(
        log.append(b"a"), log.append(b"bad"), log.append(b"b"), return_exceptions=True
    )
    assert isinstance(results[1], KeyError)
    assert (await log.append(b"c")).sequence == 3
    assert seen == [b"a", b"b", b"c"]
    await log.close()


async def test_an_entry_over_the_limit_is_refused(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    with pytest.raises(SkerryError) as refused:
        await opened.log.append(bytes(log_file.ENTRY_BYTES_MAX + 1))
    assert refused.value.problem is TOO_LARGE
    assert (await opened.log.append(b"a")).sequence == 0
    await opened.log.close()


async def test_a_closed_log_takes_nothing_and_keeps_what_was_on_its_way(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    on_its_way = [asyncio.ensure_future(opened.log.append(b"%d" % n)) for n in range(3)]
    await asyncio.sleep(0)
    await opened.log.close()
    await opened.log.close()
    assert [(await each).sequence for each in on_its_way] == [0, 1, 2]
    with pytest.raises(SkerryError) as refused:
        await opened.log.append(b"late")
    assert refused.value.problem is ENGINE_FAILED
    assert await reopened(tmp_path) == [b"0", b"1", b"2"]


_WRITER = """
import asyncio, sys
from pathlib import Path
from skerry.kernel.clock import SystemClock
from skerry.node.log_file import LogFile

async def main():
    log = LogFile(Path(sys.argv[1]), SystemClock(), lambda body: None, 4096)
    first = sum(1 for _ in log.read())
    async def one(number):
        await log.append(b"%d" % number)
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
    for start in range(first, first + 100_000, 7):
        await asyncio.gather(*(one(start + n) for n in range(7)))

asyncio.run(main())
"""


def test_kill_9_of_the_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    for round_number in range(3):
        command = [sys.executable, "-c", _WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(50 + 31 * round_number):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split("\n")
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1] if line)])
        bodies: list[bytes] = []
        log = LogFile(tmp_path, CLOCK, bodies.append)
        asyncio.run(log.close())
        assert bodies == [b"%d" % n for n in range(len(bodies))]
        assert len(bodies) > acknowledged


@given(
    st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=5), max_size=8),
    st.integers(100, 2000),
    st.data(),
)
@settings(max_examples=30, deadline=None)
def test_whatever_is_cut_off_the_tail_a_prefix_remains(
    batches: list[list[bytes]], segment_bytes: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)

        async def run() -> None:
            opened = Opened(directory, segment_bytes)
            for batch in batches:
                await asyncio.gather(*(opened.log.append(body) for body in batch))
            await opened.log.close()
            assert await reopened(directory) == [body for batch in batches for body in batch]
            path = last_segment(directory)
            whole = path.read_bytes()
            cut = data.draw(st.integers(0, len(whole)), label="cut")
            path.write_bytes(whole[:cut])
            left = await reopened(directory)
            assert left == opened.bodies[: len(left)]
            assert len(left) >= int(path.stem)
            assert cut < len(whole) or left == opened.bodies

        asyncio.run(run())


async def test_a_start_from_a_head_folds_what_came_after(tmp_path: Path) -> None:
    bodies = [f"{number:04}".encode() for number in range(40)]
    await write(tmp_path, bodies, segment_bytes=700)
    assert len(list(tmp_path.glob("*.log"))) > 3
    entries = list(Opened(tmp_path).log.read())
    for at in (0, 1, 7, 20, 39, 40):
        digest = entries[at - 1].digest() if at else GENESIS
        found: list[bytes] = []
        log = LogFile(tmp_path, CLOCK, found.append, start=Head(at, digest))
        assert found == bodies[at:]
        assert log.head == (40, entries[-1].digest())
        await log.close()
    for at, digest in ((7, entries[7].digest()), (41, entries[-1].digest())):
        with pytest.raises(SkerryError) as caught:
            LogFile(tmp_path, CLOCK, found.append, start=Head(at, digest))
        assert caught.value.code == CORRUPT.code


async def test_what_lies_before_the_frame_of_a_head_is_not_read(tmp_path: Path) -> None:
    bodies = [f"{number:04}".encode() for number in range(12)]
    heads: list[Head] = []
    opened = Opened(tmp_path)
    for body in bodies:
        await opened.log.append(body)
        heads.append(opened.log.position)
    await opened.log.close()
    (path,) = tmp_path.glob("*.log")
    whole = path.read_bytes()
    for head in heads:
        path.write_bytes(bytes(head.frame) + whole[head.frame :])
        found: list[bytes] = []
        log = LogFile(tmp_path, CLOCK, found.append, start=head)
        assert found == bodies[head.sequence :]
        assert log.position == heads[-1]
        await log.append(b"more")
        read = [entry.body for entry in log.read(head.sequence, head.frame)]
        assert read == [*bodies[head.sequence :], b"more"]
        await log.close()
        wrong = Head(head.sequence, bytes(32), head.frame)
        beyond = Head(head.sequence + 50, head.digest, len(whole) + 1000)
        for other in (wrong, beyond):
            with pytest.raises(SkerryError) as caught:
                LogFile(tmp_path, CLOCK, found.append, start=other)
            assert caught.value.code == CORRUPT.code
