"""The compiled machine and the plain one agree, whatever they are given."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kernel.ledger.records import (
    Account,
    Transfer,
    pack,
    pack_account_filter,
    pack_changes_filter,
    pack_ids,
    pack_query_filter,
    unpack_results,
)
from skerry.kernel.ledger.rows import ROW_BYTES, Rows
from skerry.kernel.ledger.statuses import AccountStatus, TransferStatus
from skerry.kinds.ledger.book import AnyBook, open_book
from skerry.kinds.ledger.tests import histories
from skerry.kinds.ledger.tests.histories import Batch, history

pytest.importorskip("numba", reason="NOT TESTED: numba is not installed")
pytestmark = pytest.mark.timeout(300)
CHANCE = st.randoms(use_true_random=True)
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def both() -> tuple[Any, Any]:
    return open_book(None, 0, compiled=False), open_book(None, 0, compiled=True)


def rows_of(book: AnyBook) -> Rows:
    tables = {table: book.rows(table, 0, book.count(table)) for table in ROW_BYTES}
    return Rows(accounts=book.accounts(), fates=book.fates(), **tables)


def play(book: AnyBook, batches: list[Batch], now: int = 1000) -> list[bytes]:
    """Carry out a history; return what was answered, and the digest after each batch."""
    told: list[bytes] = []
    for batch in batches:
        now += batch.later + 8200
        due = book.next_expiry
        if batch.kind == "expire" or (due is not None and due <= now):
            told.append(book.expire(now).to_bytes(8, "little"))
            now += 8200
        events = memoryview(b"".join(map(pack, batch.events)))
        if batch.kind == "accounts":
            told.append(book.create_accounts(events, now))
        elif batch.kind == "transfers":
            told.append(book.create_transfers(events, now))
        told.append(book.digest.to_bytes(8, "little"))
        told.append((book.next_expiry or 0).to_bytes(8, "little"))
    return told


@pytest.mark.slow
@settings(max_examples=1500, **QUIET)  # type: ignore[arg-type]
@given(CHANCE)
def test_both_machines_answer_alike_and_come_to_the_same_rows(random: Random) -> None:
    plain, compiled = both()
    batches = history(random)
    assert play(plain, batches) == play(compiled, batches)
    assert rows_of(plain) == rows_of(compiled)


def test_the_histories_meet_nearly_every_status() -> None:
    seen: dict[str, set[int]] = {"accounts": set(), "transfers": set()}
    for seed in range(400):
        book = open_book(None, 0, compiled=False)
        batches = history(Random(seed))
        told = (each for each in play(book, batches) if len(each) != 8)
        for batch in batches:
            if batch.events:
                seen[batch.kind] |= {each.status for each in unpack_results(next(told))}
    unseen = [each.name for each in TransferStatus if each not in seen["transfers"]]
    assert len(unseen) <= 4, unseen
    unseen = [each.name for each in AccountStatus if each not in seen["accounts"]]
    assert len(unseen) <= 2, unseen


@pytest.mark.slow
@settings(max_examples=300, **QUIET)  # type: ignore[arg-type]
@given(CHANCE)
def test_both_machines_find_the_same(random: Random) -> None:
    plain, compiled = both()
    batches = history(random)
    for book in (plain, compiled):
        play(book, batches)
    ids = memoryview(pack_ids([*histories.IDS, 0, 99]))
    assert plain.lookup_accounts(ids) == compiled.lookup_accounts(ids)
    assert plain.lookup_transfers(ids) == compiled.lookup_transfers(ids)
    for _ in range(15):
        asked = memoryview(pack_account_filter(histories.account_filter(random)))
        assert plain.get_account_transfers(asked) == compiled.get_account_transfers(asked)
        assert plain.get_account_balances(asked) == compiled.get_account_balances(asked)
        asked = memoryview(pack_query_filter(histories.query_filter(random)))
        assert plain.query_accounts(asked) == compiled.query_accounts(asked)
        assert plain.query_transfers(asked) == compiled.query_transfers(asked)
    for _ in range(4):
        asked = memoryview(pack_changes_filter(histories.changes_filter(random)))
        assert plain.get_change_events(asked) == compiled.get_change_events(asked)


@pytest.mark.slow
@settings(max_examples=200, **QUIET)  # type: ignore[arg-type]
@given(CHANCE, st.booleans(), st.booleans())
def test_a_book_of_the_rows_of_another_goes_on_alike(
    random: Random, from_compiled: bool, to_compiled: bool
) -> None:
    first = open_book(None, 0, compiled=from_compiled)
    play(first, history(random))
    second = open_book(rows_of(first), first.timestamp, compiled=to_compiled)
    assert second.digest == first.digest
    after, now = history(random), first.timestamp
    assert play(second, after, now) == play(first, after, now)
    assert rows_of(second) == rows_of(first)


def test_tables_grow_and_keep_what_they_hold() -> None:
    plain, compiled = both()
    now = 10_000
    for round_ in range(6):
        start = 1 + round_ * 700
        accounts = [Account(start + at, ledger=1 + at, code=1) for at in range(700)]
        moves = [
            Transfer(start * 2 + at, start + at, 1 + at, 3, ledger=1 + at, code=1, flags=2)
            for at in range(700)
        ]
        moves += [
            Transfer(start * 2 + at, 1, 99_999, 3, ledger=1, code=1) for at in range(700, 1400)
        ]
        answers = []
        for book in (plain, compiled):
            book.create_accounts(memoryview(b"".join(map(pack, accounts))), now + 10_000)
            packed = memoryview(b"".join(map(pack, moves)))
            answers.append(book.create_transfers(packed, now + 20_000))
        assert answers[0] == answers[1]
        now += 20_000
    assert plain.digest == compiled.digest
    assert rows_of(plain) == rows_of(compiled)


def test_what_cannot_be_is_found_by_the_audit() -> None:
    """Spoils rows behind the back of each machine; the next batch that touches them stops."""
    accounts = b"".join(pack(Account(id_, ledger=1, code=1)) for id_ in (1, 2))
    for book in both():
        book.create_accounts(memoryview(accounts), 100)
        rows = rows_of(book)
        spoiled = bytearray(rows.accounts)
        spoiled[32] = 7
        with pytest.raises(AssertionError, match="debits equal"):
            open_book(rows._replace(accounts=bytes(spoiled)), 100, compiled=book.name == "compiled")
