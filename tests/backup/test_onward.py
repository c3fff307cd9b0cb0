"""Going on from a backup: never past a moment, never over a gap, and through no link."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.catalogue import ResourceRecord
from skerry.kernel.errors import SkerryError
from skerry.node.backup import changes, gather
from skerry.node.backup.changes import Changed, ChangedBranch, Changes
from skerry.node.backup.index import Held, HeldBranch
from skerry.node.backup.onward import Onward, lay_over, onward
from skerry.node.backup.repository import Shipment, Span

RECORDS = tuple(ResourceRecord(each, each, each, each) for each in ("log", "state"))


def changed(base: int, began: int, cut: int) -> ChangedBranch:
    resources = tuple(
        Changed(Held(each, 1, 1, f"{each.name}-{cut}"), journal=each.name == "log")
        for each in RECORDS
    )
    return ChangedBranch("shop", "main", "d", base, began, cut, 1, RECORDS, resources)


def backup(began: int) -> HeldBranch:
    return HeldBranch("shop", "main", "d", None, 1, 0, began, began + 1, RECORDS, ())


class Kept:
    """A store that holds changes."""

    def __init__(self, sent: list[ChangedBranch]) -> None:
        self._sent = sent

    async def shipments(self) -> list[Shipment]:
        return [
            Shipment(str(number), {each.directory: Span(each.base, each.began, each.cut)})
            for number, each in enumerate(self._sent)
        ]

    async def changes(self, snapshot: str) -> Changes:
        return Changes(changes.FORMAT, "n", "0", (self._sent[int(snapshot)],))


def chosen(sent: list[ChangedBranch], last: HeldBranch, at: int | None) -> dict[str, Onward]:
    store: Any = Kept(sent)
    return asyncio.run(onward(store, last, at))


moments = st.integers(0, 200)


@given(
    st.lists(st.tuples(moments, st.integers(0, 5), st.integers(0, 100)), max_size=8),
    moments,
    moments | st.none(),
)
def test_no_change_after_the_moment_and_none_after_a_gap(
    given_: list[tuple[int, int, int]], began: int, at: int | None
) -> None:
    sent = [changed(base, start, start + took) for start, took, base in sorted(given_)]
    found = chosen(sent, backup(began), at)
    for name, after in found.items():
        source = sent[int(after.fetch.snapshot)]
        assert source.base <= began <= source.began, "what changed in between is in it"
        if name == "state":
            assert at is None or source.cut <= at
            assert after.moment == source.cut and not after.journal
        else:
            assert after.moment == (at if after.reached else source.began)
            assert after.reached == (at is not None and source.began >= at)
    good = [each for each in sent if each.base <= began <= each.began]
    if at is None and good:
        assert found["state"].fetch.held.digest == f"state-{good[-1].cut}", "the newest"


def test_what_is_between_the_last_change_and_the_moment_is_told() -> None:
    sent = [changed(5, 10, 11), changed(5, 20, 21)]
    found = chosen(sent, backup(5), 15)
    assert (found["log"].reached, found["log"].moment) == (True, 15)
    assert found["state"].moment == 11
    late = chosen(sent, backup(5), 30)
    assert (late["log"].reached, late["log"].moment) == (False, 20)
    assert chosen([changed(9, 20, 21)], backup(5), None) == {}, "it goes on from a later backup"
    encoded = changes.encode(Changes(changes.FORMAT, "n", "0", tuple(sent[:1])))
    assert changes.decode(encoded).branch("d") == sent[0]
    for wrong in (b"", encoded.replace(b'"format": 1', b'"format": 9')):
        with pytest.raises(SkerryError):
            changes.decode(wrong)


def test_journals_are_read_through_no_link_and_by_their_pattern(tmp_path: Path) -> None:
    state, away = tmp_path / "state", tmp_path / "away"
    for folder in (state / "log", away):
        folder.mkdir(parents=True)
        (folder / "A1").write_bytes(b"one")
    (state / "log" / "temporary").write_bytes(b"no")
    (state / "log" / "B2").symlink_to(away / "A1")
    (state / "other").symlink_to(away)
    patterns = ("log/[0-9A-F]*", "other/[0-9A-F]*", "missing/*")
    found = frozenset(gather._written(state, patterns, 0))
    assert [name for name, _, _ in found] == ["log/A1"]
    assert not list(gather._written(state, patterns, max(each[2] for each in found) + 1))
    gather._copy_journal(state, tmp_path / "copy", found | {("log/gone", 1, 1)}, 3)
    copied = tmp_path / "copy" / "log" / "A1"
    assert copied.read_bytes() == b"one"
    assert copied.stat().st_mtime_ns == next(iter(found))[2] + 3
    assert list((tmp_path / "copy" / "log").iterdir()) == [copied]
    lay_over(tmp_path / "copy", state)
    assert (state / "log" / "temporary").exists()


def test_a_state_is_too_large_to_be_sent_every_few_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "a-shm").write_bytes(b"x" * 9000)
    before = gather._signature(tmp_path)
    assert before is not None
    (tmp_path / "a-shm").write_bytes(b"y")
    assert gather._signature(tmp_path) == before
    monkeypatch.setattr(gather, "STATE_BYTES_MAX", 99)
    assert gather._signature(tmp_path) is None
