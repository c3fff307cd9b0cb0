"""The plain ledger: its rules by example, and what holds of it whatever it is given."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.ledger import (
    Account,
    AccountFilter,
    AccountFlag,
    AccountStatus,
    Change,
    ChangesFilter,
    FilterFlag,
    Machine,
    QueryFilter,
    Transfer,
    TransferFlag,
    TransferStatus,
    records,
)
from skerry.kernel.ledger.records import U128_MAX

SECOND = 1_000_000_000


class Books:
    """A machine whose time runs by itself, and short ways to say things."""

    def __init__(self, *accounts: Account) -> None:
        self.machine = Machine()
        self.now = 1_000
        if accounts:
            assert set(self.open(*accounts)) == {AccountStatus.CREATED}

    def open(self, *accounts: Account) -> list[int]:
        self.now += 1_000
        return [each.status for each in self.machine.create_accounts(accounts, self.now)]

    def transfer(self, *transfers: Transfer) -> list[int]:
        self.now += 1_000
        return [each.status for each in self.machine.create_transfers(transfers, self.now)]

    def balances(self, account: int) -> tuple[int, int, int, int]:
        (found,) = self.machine.lookup_accounts([account])
        return (
            found.debits_pending,
            found.debits_posted,
            found.credits_pending,
            found.credits_posted,
        )


def account(id_: int, flags: int = 0, ledger: int = 1) -> Account:
    return Account(id_, ledger=ledger, code=10, flags=flags)


def move(
    id_: int, amount: int, flags: int = 0, *, pending_id: int = 0, timeout: int = 0
) -> Transfer:
    if pending_id:
        return Transfer(id_, amount=amount, flags=flags, pending_id=pending_id)
    return Transfer(id_, 1, 2, amount, ledger=1, code=7, flags=flags, timeout=timeout)


def test_a_transfer_debits_one_account_and_credits_the_other_once() -> None:
    books = Books(account(1), account(2))
    assert books.transfer(move(5, 30)) == [TransferStatus.CREATED]
    assert books.transfer(move(5, 30)) == [TransferStatus.EXISTS]
    assert books.transfer(move(5, 31)) == [TransferStatus.EXISTS_WITH_DIFFERENT_AMOUNT]
    assert books.balances(1) == (0, 30, 0, 0)
    assert books.balances(2) == (0, 0, 0, 30)


def test_a_chain_that_breaks_leaves_nothing_and_tells_which_event_broke_it() -> None:
    books = Books(account(1), account(2))
    linked = TransferFlag.LINKED
    before = books.machine.digest
    statuses = books.transfer(
        move(5, 1),
        move(6, 10, linked | TransferFlag.PENDING, timeout=1),
        move(7, 20, linked),
        Transfer(8, 1, 99, 5, ledger=1, code=7, flags=linked),
        move(9, 1),
        move(10, 2),
    )
    failed = TransferStatus.LINKED_EVENT_FAILED
    created = TransferStatus.CREATED
    assert statuses == [
        created,
        failed,
        failed,
        TransferStatus.CREDIT_ACCOUNT_NOT_FOUND,
        failed,
        created,
    ]
    assert books.balances(1) == (0, 3, 0, 0)
    assert books.machine.lookup_transfers([6, 7, 8, 9]) == []
    assert books.machine.next_expiry is None
    assert books.machine.digest != before
    assert books.transfer(move(6, 1, linked), move(7, 1, linked)) == [
        failed,
        TransferStatus.LINKED_EVENT_CHAIN_OPEN,
    ]
    assert books.transfer(move(6, 1), move(8, 1)) == [created, TransferStatus.ID_ALREADY_FAILED]


def test_a_pending_transfer_is_posted_in_part_voided_or_expires() -> None:
    books = Books(account(1), account(2, AccountFlag.HISTORY))
    pending = TransferFlag.PENDING
    books.transfer(*(move(id_, 100, pending, timeout=5) for id_ in (5, 6, 7)))
    assert books.balances(1) == (300, 0, 0, 0)
    post, void = TransferFlag.POST_PENDING_TRANSFER, TransferFlag.VOID_PENDING_TRANSFER
    assert books.transfer(
        move(15, 101, post, pending_id=5),
        move(15, 60, post, pending_id=5),
        move(16, 0, void, pending_id=6),
        move(17, U128_MAX, post, pending_id=5),
    ) == [
        TransferStatus.EXCEEDS_PENDING_TRANSFER_AMOUNT,
        TransferStatus.CREATED,
        TransferStatus.CREATED,
        TransferStatus.PENDING_TRANSFER_ALREADY_POSTED,
    ]
    assert books.balances(2) == (0, 0, 100, 60)
    due = books.machine.next_expiry
    assert due is not None
    assert due - 5 * SECOND < books.now
    books.now = due
    assert books.machine.expire(books.now) == 1
    assert books.transfer(move(18, 100, post, pending_id=7)) == [
        TransferStatus.PENDING_TRANSFER_EXPIRED
    ]
    assert books.balances(1) == (0, 60, 0, 0)
    events = books.machine.get_change_events(ChangesFilter())
    assert [each.type for each in events] == [
        *[Change.TWO_PHASE_PENDING] * 3,
        Change.TWO_PHASE_POSTED,
        Change.TWO_PHASE_VOIDED,
        Change.TWO_PHASE_EXPIRED,
    ]
    assert events[-1].timestamp == due
    history = books.machine.get_account_balances(AccountFilter(2))
    assert [(each.credits_pending, each.credits_posted) for each in history] == [
        (100, 0),
        (200, 0),
        (300, 0),
        (200, 60),
        (100, 60),
    ]
    assert books.machine.get_account_balances(AccountFilter(1)) == []


DEBITS_LIMITED = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS
CREDITS_LIMITED = AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
S = TransferStatus


def changed(transfer: Transfer, **fields: int) -> Transfer:
    return msgspec.structs.replace(transfer, **fields)


def test_of_several_mistakes_the_first_in_the_order_of_precedence_is_told() -> None:
    """Begins with a transfer that has every mistake, and mends one after the other."""
    books = Books(account(1), account(2), account(3, ledger=2))
    wrong = Transfer(
        0,
        0,
        0,
        5,
        pending_id=9,
        timeout=7,
        flags=(1 << 12) | TransferFlag.CLOSING_DEBIT,
        timestamp=5,
    )
    steps: list[tuple[int, dict[str, int]]] = [
        (S.TIMESTAMP_MUST_BE_ZERO, {"timestamp": 0}),
        (S.RESERVED_FLAG, {"flags": TransferFlag.CLOSING_DEBIT}),
        (S.ID_MUST_NOT_BE_ZERO, {"id": U128_MAX}),
        (S.ID_MUST_NOT_BE_INT_MAX, {"id": 50}),
        (S.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, {"debit_account_id": U128_MAX}),
        (S.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, {"debit_account_id": 77}),
        (S.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, {"credit_account_id": U128_MAX}),
        (S.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, {"credit_account_id": 77}),
        (S.ACCOUNTS_MUST_BE_DIFFERENT, {"credit_account_id": 78}),
        (S.PENDING_ID_MUST_BE_ZERO, {"pending_id": 0}),
        (S.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, {"timeout": 0}),
        (S.CLOSING_TRANSFER_MUST_BE_PENDING, {"flags": 0}),
        (S.LEDGER_MUST_NOT_BE_ZERO, {"ledger": 9}),
        (S.CODE_MUST_NOT_BE_ZERO, {"code": 1}),
        (S.DEBIT_ACCOUNT_NOT_FOUND, {"id": 51, "debit_account_id": 1}),
        (S.CREDIT_ACCOUNT_NOT_FOUND, {"id": 52, "credit_account_id": 3}),
        (S.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER, {"credit_account_id": 2}),
        (S.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS, {"ledger": 1}),
        (S.CREATED, {}),
    ]
    for status, mended in steps:
        assert books.transfer(wrong) == [status], TransferStatus(status).name
        wrong = changed(wrong, **mended)


def test_a_transfer_that_is_sent_again_is_told_how_it_differs() -> None:
    books = Books(account(1), account(2))
    first = move(5, 30, TransferFlag.PENDING, timeout=9)
    assert books.transfer(first) == [S.CREATED]
    for status, fields in (
        (S.EXISTS, {}),
        (S.EXISTS_WITH_DIFFERENT_FLAGS, {"flags": 0, "pending_id": 4, "timeout": 0}),
        (S.EXISTS_WITH_DIFFERENT_PENDING_ID, {"pending_id": 4, "timeout": 0}),
        (S.EXISTS_WITH_DIFFERENT_TIMEOUT, {"timeout": 0, "debit_account_id": 7}),
        (S.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID, {"debit_account_id": 7, "amount": 1}),
        (S.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID, {"credit_account_id": 7, "amount": 1}),
        (S.EXISTS_WITH_DIFFERENT_AMOUNT, {"amount": 1, "user_data_128": 1}),
        (S.EXISTS_WITH_DIFFERENT_USER_DATA_128, {"user_data_128": 1, "user_data_64": 1}),
        (S.EXISTS_WITH_DIFFERENT_USER_DATA_64, {"user_data_64": 1, "user_data_32": 1}),
        (S.EXISTS_WITH_DIFFERENT_USER_DATA_32, {"user_data_32": 1, "ledger": 2}),
        (S.EXISTS_WITH_DIFFERENT_LEDGER, {"ledger": 2, "code": 2}),
        (S.EXISTS_WITH_DIFFERENT_CODE, {"code": 2}),
    ):
        assert books.transfer(changed(first, **fields)) == [status]


def test_limits_balancing_and_closing() -> None:
    books = Books(account(1, DEBITS_LIMITED), account(2), account(4, CREDITS_LIMITED))
    back = changed(move(90, 50), debit_account_id=2, credit_account_id=1)
    assert books.transfer(back, move(5, 51), move(6, 20)) == [
        S.CREATED,
        S.EXCEEDS_CREDITS,
        S.CREATED,
    ]
    balancing = TransferFlag.BALANCING_DEBIT
    assert books.transfer(move(7, 1000, balancing), move(7, 999, balancing)) == [
        S.CREATED,
        S.EXISTS,
    ]
    assert books.transfer(move(7, 29, balancing)) == [S.EXISTS_WITH_DIFFERENT_AMOUNT]
    assert books.balances(1) == (0, 50, 0, 50)
    assert books.transfer(move(8, 0, balancing)) == [S.CREATED], "nothing is left, and that is fine"
    limited = changed(move(9, 1), debit_account_id=2, credit_account_id=4)
    assert books.transfer(limited) == [S.EXCEEDS_DEBITS]
    close = changed(move(20, 0, TransferFlag.PENDING | TransferFlag.CLOSING_CREDIT))
    void = TransferFlag.VOID_PENDING_TRANSFER
    reopened = changed(move(24, 3), debit_account_id=2, credit_account_id=1)
    assert books.transfer(
        close,
        move(21, 0),
        move(22, 0, void, pending_id=20),
        reopened,
    ) == [S.CREATED, S.CREDIT_ACCOUNT_ALREADY_CLOSED, S.CREATED, S.CREATED]


def test_what_failed_for_a_reason_that_may_pass_fails_for_ever() -> None:
    books = Books(account(1, DEBITS_LIMITED), account(2))
    assert books.transfer(move(5, 1)) == [S.EXCEEDS_CREDITS]
    back = changed(move(6, 10), debit_account_id=2, credit_account_id=1)
    assert books.transfer(back, move(5, 1), move(7, 1)) == [
        S.CREATED,
        S.ID_ALREADY_FAILED,
        S.CREATED,
    ]
    post = move(8, 1, TransferFlag.POST_PENDING_TRANSFER, pending_id=99)
    assert books.transfer(post, post) == [S.PENDING_TRANSFER_NOT_FOUND, S.ID_ALREADY_FAILED]


def test_balances_never_overflow() -> None:
    books = Books(account(1), account(2), account(3))
    pending = TransferFlag.PENDING
    assert books.transfer(
        move(5, U128_MAX - 1), move(6, 2), move(7, 1, pending), move(8, 1, pending)
    ) == [
        S.CREATED,
        S.OVERFLOWS_DEBITS_POSTED,
        S.CREATED,
        S.OVERFLOWS_DEBITS,
    ]
    far = changed(move(9, 0, pending, timeout=2**32 - 1), debit_account_id=3)
    books.now = 2**63 - 10_000
    assert books.transfer(far) == [S.OVERFLOWS_TIMEOUT]


def test_a_past_is_imported_in_order_and_beside_nothing_new() -> None:
    books = Books()
    imported = AccountFlag.IMPORTED
    old = [
        Account(id_, ledger=1, code=1, flags=imported, timestamp=at)
        for id_, at in ((1, 100), (2, 200))
    ]
    assert books.open(*old, account(3)) == [
        AccountStatus.CREATED,
        AccountStatus.CREATED,
        AccountStatus.IMPORTED_EVENT_EXPECTED,
    ]
    flag = TransferFlag.IMPORTED
    steps = ((5, 150), (6, 200), (7, 300), (8, 300), (9, 250), (10, 10**6), (11, 0))
    moves = [changed(move(id_, 1, flag), timestamp=at) for id_, at in steps]
    assert books.transfer(*moves, move(12, 1)) == [
        S.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        S.CREATED,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE,
        S.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE,
        S.IMPORTED_EVENT_EXPECTED,
    ]
    (found,) = books.machine.lookup_transfers([7])
    assert found.timestamp == 300


def test_filters_find_pages_by_a_cursor() -> None:
    books = Books(account(1), account(2), account(3))
    for at in range(10):
        books.transfer(changed(move(10 + at, at), user_data_64=at % 2, code=1 + at % 3))
    page = books.machine.get_account_transfers(AccountFilter(1, limit=4))
    rest = books.machine.get_account_transfers(
        AccountFilter(1, timestamp_min=page[-1].timestamp + 1, limit=100)
    )
    assert [each.id for each in page + rest] == list(range(10, 20))
    backwards = AccountFilter(2, limit=3, flags=FilterFlag.CREDITS | FilterFlag.REVERSED)
    assert [each.id for each in books.machine.get_account_transfers(backwards)] == [19, 18, 17]
    assert books.machine.get_account_transfers(AccountFilter(2, flags=FilterFlag.DEBITS)) == []
    both = QueryFilter(user_data_64=1, code=2)
    assert [each.id for each in books.machine.query_transfers(both)] == [11, 17]
    for nonsense in (
        AccountFilter(1, limit=0),
        AccountFilter(1, flags=0),
        AccountFilter(0),
        AccountFilter(1, timestamp_min=9, timestamp_max=8),
        AccountFilter(1, timestamp_min=2**63),
        AccountFilter(1, reserved=b"\x01".ljust(58, b"\0")),
    ):
        assert books.machine.get_account_transfers(nonsense) == []


def test_packed_records_come_back_whole() -> None:
    books = Books(account(1, AccountFlag.HISTORY), account(2))
    books.transfer(changed(move(2**100, 2**70), user_data_128=2**127, user_data_32=2**32 - 1))
    (transfer,) = books.machine.lookup_transfers([2**100])
    assert records.unpack(Transfer, records.pack(transfer)) == [transfer]
    events = books.machine.get_change_events(ChangesFilter())
    packed = b"".join(map(records.pack_change, events))
    (event,) = records.unpack_changes(packed)
    assert (event.transfer.id, event.debit_account.debits_posted) == (2**100, 2**70)
    assert records.pack_change(event) == packed
    asked = AccountFilter(7, 1, 2, 3, 4, 5, 6, 7, 3)
    assert records.unpack_account_filter(records.pack_account_filter(asked)) == asked
    query = QueryFilter(1, 2, 3, 4, 5, 6, 7, 8, 1)
    assert records.unpack_query_filter(records.pack_query_filter(query)) == query
    with pytest.raises(OverflowError):
        records.pack(Transfer(2**128))


def test_time_must_rise() -> None:
    books = Books(account(1), account(2))
    with pytest.raises(AssertionError, match="timestamps rise"):
        books.machine.create_transfers([move(5, 1), move(6, 1)], books.now + 1)


TRANSFERS = st.builds(
    move,
    st.integers(1, 40),
    st.integers(0, 30),
    st.sampled_from([0, 0, 0, 1, 2, 2, 16, 32, 66]),
)
SECONDS = st.builds(
    lambda id_, flags, pending: move(id_, 0 if flags == 8 else U128_MAX, flags, pending_id=pending),
    st.integers(41, 80),
    st.sampled_from([4, 8]),
    st.integers(1, 40),
)
SIDES = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(st.lists(st.lists(st.tuples(st.one_of(TRANSFERS, SECONDS), SIDES), max_size=12), max_size=8))
def test_whatever_is_tried_money_is_conserved_and_a_replay_is_the_same(
    history: list[list[tuple[Transfer, tuple[int, int]]]],
) -> None:
    digests = []
    for _ in range(2):
        books = Books(
            account(1), account(2, DEBITS_LIMITED), account(3, CREDITS_LIMITED), account(4)
        )
        for batch in history:
            moves = [
                each if each.pending_id else changed(each, debit_account_id=a, credit_account_id=b)
                for each, (a, b) in batch
            ]
            books.transfer(*moves)
            found = books.machine.lookup_accounts([1, 2, 3, 4])
            assert sum(each.debits_posted for each in found) == sum(
                each.credits_posted for each in found
            )
            assert sum(each.debits_pending for each in found) == sum(
                each.credits_pending for each in found
            )
            second, third = found[1], found[2]
            assert second.debits_posted + second.debits_pending <= second.credits_posted
            assert third.credits_posted + third.credits_pending <= third.debits_posted
        digests.append(books.machine.digest)
    assert digests[0] == digests[1]
