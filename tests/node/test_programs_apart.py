"""Programs apart: what the node refuses to start, and what it keeps of what a program says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from skerry.kernel.apart import Program
from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import DENIED, INVALID, SkerryError
from skerry.node.aparts import Aparts
from skerry.node.cell.said import LINE_BYTES_MAX, Said
from skerry.node.cell.spec import ApartCall
from skerry.testing.hosts import ManualClock


def program(folder: str) -> Program:
    return Program(("/bin/true",), {}, folder, 1.0, 1, 1, 1)


class Policed:
    """A workshop that decides as it is told, and prepares nothing."""

    def __init__(self, *, allowed: bool = True) -> None:
        self.allowed = allowed

    def decide(self, branch: Any, record: Any) -> None:
        if not self.allowed:
            raise DENIED("not here")

    def run(self, record: Any) -> Path:
        return Path("/run")


async def start(folder: str, *, resource: str = "qpu", allowed: bool = True) -> str:
    running: Any = SimpleNamespace(resources={"qpu": "1"}, instance="i")
    branch: Any = SimpleNamespace(record=lambda name: name)
    workshop = cast("Any", Policed(allowed=allowed))
    aparts = Aparts(cast("Any", None), workshop, ManualClock(), SystemEntropy())
    handlers = aparts.handlers(branch, lambda: running, lambda line: None)
    asked: Any = msgspec.to_builtins(ApartCall(resource, program(folder)))
    return str(await handlers["apart_start"](cast("Any", SimpleNamespace(params=asked))))


@pytest.mark.parametrize("folder", ["", "/etc", "../other", "a/../../b"])
async def test_a_program_starts_below_the_folder_of_its_resource_or_not_at_all(folder: str) -> None:
    with pytest.raises(SkerryError) as raised:
        await start(folder)
    assert raised.value.problem is INVALID


async def test_policy_and_the_process_that_asks_decide_whose_program_starts() -> None:
    for refused in (start("a", resource="other"), start("a", allowed=False)):
        with pytest.raises(SkerryError) as raised:
            await refused
        assert raised.value.problem is DENIED


def test_a_log_has_whole_lines_times_that_do_not_go_back_and_an_end(tmp_path: Path) -> None:
    clock = ManualClock()
    said = Said(tmp_path / "log", 400, clock)
    said.take(b"one\ntw")
    said.take(b"o\n" + b"x" * 50 + b"\nlast")
    said.close()
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert [each.partition(b" ")[2] for each in lines] == [b"one", b"two", b"x" * 50, b"last"]
    times = [int(each.partition(b" ")[0]) for each in lines]
    assert times == sorted(times)


def test_a_log_is_bounded_and_says_so(tmp_path: Path) -> None:
    said = Said(tmp_path / "log", 3 * LINE_BYTES_MAX, ManualClock())
    for _ in range(100):
        said.take(b"y" * LINE_BYTES_MAX)
    said.close()
    data = (tmp_path / "log").read_bytes()
    assert len(data) < 4 * LINE_BYTES_MAX
    assert data.splitlines()[-1].endswith(b"its log is full.")
