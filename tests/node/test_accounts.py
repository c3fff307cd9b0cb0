"""What processes count is posted once, to whom it belongs, whatever they put in their files."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from skerry.kernel import events
from skerry.kernel.app import AppSpec
from skerry.kernel.catalogue import Catalogue, ResourceRecord
from skerry.kernel.clock import SystemClock
from skerry.kernel.ledger import Ledger
from skerry.kinds.hello.manifest import MANIFEST
from skerry.node.accountant import Accountant, _note
from skerry.node.cells import Cell, Running
from skerry.node.counters import COUNT_MAX, FileMeter, file_name, parse_file_name, read_counters
from skerry.node.log_file import LogFile

NEWS, SHOP = "1" * 16, "2" * 16
UNITS = ["greetings"]


def test_a_meter_counts_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / file_name("abc", NEWS)
    meter = FileMeter(path, ["a", "b"])
    meter.add("a")
    meter.add("b", 5)
    meter.add("a", 2)
    assert read_counters(path, ["a", "b"]) == {"a": 3, "b": 5}
    assert read_counters(path, ["a", "b", "c"]) == {"a": 3, "b": 5, "c": 0}
    assert parse_file_name(path.name) == ("abc", NEWS)
    assert parse_file_name("meter-a") is parse_file_name("other-a-b") is None
    FileMeter(path, ["a", "b"]).add("a")
    assert read_counters(path, ["a", "b"])["a"] == 4


def a_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def too_much(path: Path) -> None:
    path.write_bytes(struct.pack("=Q", COUNT_MAX + 1))


@pytest.mark.parametrize("make", [a_link, a_pipe, Path.mkdir, too_much])
@pytest.mark.timeout(5)
def test_what_is_no_counter_is_refused_at_once(tmp_path: Path, make: Any) -> None:
    path = tmp_path / file_name("abc", NEWS)
    make(path)
    with pytest.raises(OSError, match=r".+"):
        read_counters(path, UNITS)


def test_a_huge_file_is_read_no_further_than_its_counters(tmp_path: Path) -> None:
    path = tmp_path / file_name("abc", NEWS)
    with path.open("wb") as file:
        file.truncate(1 << 42)
    assert read_counters(path, UNITS) == {"greetings": 0}


class Books:
    """An accountant over a catalogue of two apps with one resource each."""

    def __init__(self, home: Path) -> None:
        self.run = home / "run"
        catalogue = Catalogue()
        for index, (app, record_id) in enumerate({"news": NEWS, "shop": SHOP}.items()):
            (self.run / record_id).mkdir(parents=True)
            record = ResourceRecord(record_id, record_id, "hello", "guests")
            for event in (
                events.AppCreated(app, index),
                events.VersionAdded(app, 1, AppSpec(app, (), None), ""),
                events.BranchCreated(app, "main", "d", None, 1, (record,), 0),
            ):
                catalogue.apply(events.encode(event))
        (home / "log").mkdir()
        self.ledger = Ledger()
        self.log = LogFile(home / "log", SystemClock(), self.ledger.apply)
        self.cells: list[Cell] = []
        self.accountant = Accountant(
            run=self.run,
            catalogue=catalogue,
            manifests={"hello": MANIFEST},
            ledger=self.ledger,
            log=self.log,
            clock=SystemClock(),
            awake=lambda: self.cells,
        )

    def meter(self, home: str, resource: str, instance: str) -> FileMeter:
        return FileMeter(self.run / home / file_name(instance, resource), UNITS)

    def process(self, instance: str = "abc") -> tuple[Cell, Running]:
        cell = Cell("news", "main")
        usage = SimpleNamespace(cpu_ms=7, memory_bytes=0)
        running = Running(
            key="",
            instance=instance,
            version=1,
            child=cast(Any, SimpleNamespace(pid=0)),
            channel=cast(Any, None),
            group=cast(Any, SimpleNamespace(usage=lambda: usage)),
            started=0,
            resources={"guests": NEWS},
            bound={},
        )
        cell.processes[""] = running
        self.cells = [cell]
        return cell, running

    def used(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for app in ("news", "shop"):
            found |= {(account, unit): n for account, unit, n in self.ledger.used(app)}
        return found


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


async def test_growth_is_posted_once_even_while_a_process_ends(books: Books) -> None:
    """Its counters are closed while it still stands in its cell; they are not posted anew."""
    cell, running = books.process()
    meter = books.meter(NEWS, NEWS, "abc")
    for _ in range(3):
        meter.add("greetings", 5)
        await asyncio.gather(books.accountant.post(), books.accountant.post())
    await asyncio.gather(
        books.accountant.post(), books.accountant.on_end(cell, running), books.accountant.post()
    )
    await books.accountant.post()
    assert books.used() == {("news/main", "cpu_ms"): 7, ("news/main/guests", "greetings"): 15}
    assert books.ledger.counters == {}
    assert not list((books.run / NEWS).iterdir())
    await books.log.close()


async def test_leftovers_are_settled_for_their_own_branch_only(books: Books) -> None:
    books.meter(NEWS, NEWS, "abc").add("greetings", 3)
    books.meter(NEWS, SHOP, "abc").add("greetings", 1000)
    os.mkfifo(books.run / NEWS / file_name("def", NEWS))
    (books.run / NEWS / file_name("dir", NEWS)).mkdir()
    await books.accountant.settle_leftovers()
    await books.accountant.settle_leftovers()
    assert books.used() == {("news/main/guests", "greetings"): 3}
    await books.log.close()


def test_memory_adds_up_however_often_it_is_sampled(books: Books) -> None:
    _, running = books.process()
    for number in range(1, 1001):
        _note(running, 0, 5 * 1024 * 1024, number / 100)
    assert int(running.memory_mib_s) == pytest.approx(50, abs=1)
