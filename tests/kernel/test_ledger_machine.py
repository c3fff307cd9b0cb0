"""The plain ledger: its rules by example, and what holds of it whatever it is given."""

from __future__ import annotations

from skerry.kernel.ledger import (
    Account,
    AccountFilter,
    AccountFlag,
    AccountStatus,
    Change,
    ChangesFilter,
    Machine,
    Transfer,
    TransferFlag,
    TransferStatus,
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
