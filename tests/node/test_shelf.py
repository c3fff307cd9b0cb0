"""What is kept on disk is what memory would have kept, and memory does not grow with it."""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel import events
from skerry.kernel.branch import Branch, MemoryShelf, ResourceRecord, Shelf
from skerry.kernel.catalogue import Catalogue
from skerry.kernel.ledger import Balance, Ledger, Posted, Reading, SourcesClosed, encode
from skerry.kernel.ledger.metering import MemoryBalances
from skerry.node import shelf
from skerry.node.shelf import DiskBalances, DiskShelf

APPS = st.sampled_from(["news", "shop"])
NAMES = st.sampled_from(["main", "pr-1", "pr-2", "pr-3"])
IDS = st.sampled_from(["1", "2", "3", "4"])
BRANCHES = st.builds(
    Branch,
    app=APPS,
    name=NAMES,
    directory=IDS,
    parent=st.none(),
    version=st.integers(1, 3),
    created=st.just(1),
    deployed=st.just(2),
    resources=st.just({}),
).map(
    lambda made: msgspec.structs.replace(
        made, resources={"db": ResourceRecord(made.app + made.name, "l", "kv", "db")}
    )
)
STEPS = st.one_of(
    st.tuples(st.just("put"), BRANCHES),
    st.tuples(st.just("put"), BRANCHES.map(lambda made: made.without("db", "rock"))),
    st.tuples(st.just("remove"), APPS, NAMES),
    st.tuples(st.just("note_elsewhere"), APPS, st.lists(IDS, max_size=2)),
)


@given(st.lists(STEPS, max_size=25))
def test_branches_on_disk_are_those_of_memory(steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "RECENT_MAX", 2)
        disk, memory = DiskShelf(Path(folder)), MemoryShelf()
        for word, *values in steps:
            for each in (disk, memory):
                getattr(each, word)(*values)
        assert list(seen(disk)) == list(seen(memory))
        assert list(Path(folder).iterdir()) == [], "nobody finds a file, not even after a crash"
        disk.close()


def seen(kept: Shelf) -> Iterator[object]:
    """Yield all that a shelf can be asked."""
    for app in ("news", "shop", "other"):
        yield kept.names(app), kept.count(app)
        for name in ("main", "pr-1", "pr-2", "pr-3", "gone"):
            yield kept.get(app, name), kept.place_of(f"{app}{name}")
    for each in ("1", "2", "3", "4"):
        yield kept.has_directory(each), kept.app_elsewhere(each)


KEYS = st.tuples(
    st.sampled_from(["a", "a/b", "a/b/c", "a-b", "a0", "ab", "é"]), st.sampled_from(["x", "y"])
)


@given(st.dictionaries(KEYS, st.integers(0, 2**80), max_size=12), st.integers(1, 4))
def test_balances_on_disk_are_those_of_memory(
    amounts: dict[tuple[str, str], int], page: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "PAGE_ROWS", page)
        disk, memory = DiskBalances(Path(folder)), MemoryBalances()
        for (account, unit), amount in amounts.items():
            for each in (disk, memory):
                each.put(account, unit, Balance(amount, 1))
        for prefix in ("", "a", "a/b", "nobody"):
            assert list(disk.below(prefix)) == list(memory.below(prefix))
        for account, unit in [*amounts, ("nobody", "x")]:
            assert disk.get(account, unit) == memory.get(account, unit)
        disk.close()


def test_sleeping_branches_take_no_memory(tmp_path: Path) -> None:
    """A branch that was used and sleeps again leaves nothing in the folds over the logs."""
    branches, balances = DiskShelf(tmp_path), DiskBalances(tmp_path)
    catalogue, ledger = Catalogue(branches), Ledger(balances)
    catalogue.apply(events.encode(events.AppCreated("shop", 0)))

    def add(count: int) -> None:
        for number in range(count):
            made = catalogue.apps["shop"].branches
            name = f"b{len(made)}"
            records = tuple(
                ResourceRecord(f"{name}{kind}", "l", kind, kind) for kind in ("kv", "sqlite")
            )
            created = events.BranchCreated("shop", name, f"d{name}", "main", 1, records, number)
            catalogue.apply(events.encode(created))
            read = tuple(Reading(name, f"shop/{name}/{unit}", unit, 5) for unit in ("x", "y"))
            ledger.apply(encode(Posted(read, number)))
            ledger.apply(encode(SourcesClosed((name,))))

    add(300)
    tracemalloc.start()
    try:
        before = _traced()
        add(900)
        grown = _traced() - before
    finally:
        tracemalloc.stop()
    assert grown < 900 * 40, f"{grown} bytes more for 900 branches more"
    assert ledger.balanced()
    assert catalogue.branch("shop", "b700").resources["kv"].id == "b700kv"
    assert list(ledger.used("shop/b900")) == [("shop/b900/x", "x", 5), ("shop/b900/y", "y", 5)]
    branches.close()
    balances.close()


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
