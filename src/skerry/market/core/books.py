"""Every amount of money of a market, in double entry, on the ledger's own state machine.

An account has a name here and a number in the ledger (the first 16 bytes of the name's SHA-256).
Only `bank` may owe: what all others hold together is what it owes, at every moment. The ledger
itself refuses a transfer that would let another account owe, so no rule above can.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
from collections.abc import Iterator

import msgspec

from skerry.kernel.ledger.machine import Machine
from skerry.kernel.ledger.records import (
    BATCH_MAX,
    Account,
    AccountFilter,
    AccountFlag,
    Transfer,
)
from skerry.kernel.ledger.rows import Rows, machine_of, rows_of
from skerry.kernel.ledger.statuses import AccountStatus, TransferStatus

BANK = "bank"
"""Owes what the market holds: money that people paid in and have not taken out."""
DUST = "dust"
"""Holds the parts of micro-units that rounding leaves over."""
SLASHED = "slashed"
"""Holds what providers forfeited."""
LEDGER = 978
"""The ledger's number: the numeric code of EUR in ISO 4217."""
_MILLISECOND = 1_000_000


class Why(enum.IntEnum):
    """Why money moved: the code of a transfer."""

    PAID_IN = 1
    PAID_OUT = 2
    DEPOSIT = 10
    LEASE = 11
    WITHDRAWAL = 12
    REFUND = 13
    ROUNDING = 14
    BID = 20
    BID_RETURNED = 21
    BOND = 30
    BOND_RETURNED = 31
    SLASH = 32

    @property
    def words(self) -> str:
        """What it means, for people."""
        return self.name.lower().replace("_", " ")


class Posting(msgspec.Struct, frozen=True, array_like=True):
    """A transfer that was made; `at` is in milliseconds since 1970."""

    source: str
    target: str
    amount: int
    why: Why
    at: int


class SavedBooks(msgspec.Struct, frozen=True, array_like=True):
    """Books as a snapshot keeps them: names in their order, and the ledger's rows."""

    names: tuple[str, ...]
    transfers: int
    timestamp: int
    digest: int
    rows: Rows


class Books:
    """The accounts of a market."""

    def __init__(self) -> None:
        self.machine = Machine()
        self._names: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._transfers = 0
        self._waiting: list[Transfer] = []
        self._together = False

    def save(self) -> SavedBooks:
        """Return all of it, to go on from later."""
        assert not self._waiting, "books are saved between batches"
        machine = self.machine
        return SavedBooks(
            tuple(self._numbers),
            self._transfers,
            machine.timestamp,
            machine.digest,
            rows_of(machine),
        )

    @classmethod
    def restored(cls, saved: SavedBooks) -> Books:
        """Return the books that were saved; raise ValueError if they are not those."""
        books = cls()
        books.machine = machine_of(saved.rows, saved.timestamp)
        if books.machine.digest != saved.digest:
            raise ValueError("the books do not have the digest that they tell")
        books._numbers = {name: _number_of(name) for name in saved.names}
        books._names = {number: name for name, number in books._numbers.items()}
        books._transfers = saved.transfers
        return books

    def move(self, source: str, target: str, amount: int, why: Why, at: int) -> None:
        """Move an amount (0 is nothing to do); a source other than the bank must hold it."""
        if amount == 0:
            return
        debit, credit = self._number(source, at), self._number(target, at)
        self._transfers += 1
        transfer = Transfer(
            id=self._transfers,
            debit_account_id=debit,
            credit_account_id=credit,
            amount=amount,
            user_data_64=at,
            ledger=LEDGER,
            code=why,
        )
        self._waiting.append(transfer)
        if not self._together or len(self._waiting) >= BATCH_MAX:
            self._post(at)

    @contextlib.contextmanager
    def together(self, at: int) -> Iterator[None]:
        """Post what is moved within as batches of the ledger; nobody reads a balance meanwhile."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
            self._post(at)

    def _post(self, at: int) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        results = self.machine.create_transfers(waiting, self._time(at, len(waiting)))
        for transfer, result in zip(waiting, results, strict=True):
            assert result.status == TransferStatus.CREATED, (transfer, result)

    def _number(self, name: str, at: int) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = _number_of(name)
            self._numbers[name], self._names[number] = number, name
            flag = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS if name != BANK else 0
            account = Account(id=number, ledger=LEDGER, code=1, flags=flag)
            result = self.machine.create_accounts([account], self._time(at))[0]
            assert result.status == AccountStatus.CREATED, (name, result)
        return number

    def _time(self, at: int, count: int = 1) -> int:
        """Return a moment so far after the last one that `count` events find room."""
        return max(self.machine.timestamp + count, at * _MILLISECOND)

    def balance(self, name: str) -> int:
        """Return what an account holds."""
        assert not self._waiting, "a balance is asked for in the midst of a batch"
        number = self._numbers.get(name)
        if number is None:
            return 0
        account = self.machine.state.accounts[number]
        return account.credits_posted - account.debits_posted

    def of(self, name: str) -> Iterator[Posting]:
        """Yield the postings of an account, in order."""
        number = self._numbers.get(name)
        wanted = None if number is None else AccountFilter(account_id=number)
        while wanted is not None:
            found = self.machine.get_account_transfers(wanted)
            yield from map(self._posting, found)
            if len(found) < wanted.limit:
                return
            wanted = msgspec.structs.replace(wanted, timestamp_min=found[-1].timestamp + 1)

    def _posting(self, transfer: Transfer) -> Posting:
        return Posting(
            source=self._names[transfer.debit_account_id],
            target=self._names[transfer.credit_account_id],
            amount=transfer.amount,
            why=Why(transfer.code),
            at=transfer.user_data_64,
        )

    def accounts(self) -> Iterator[tuple[str, int]]:
        """Yield every account and its balance."""
        for name in sorted(self._numbers):
            yield name, self.balance(name)

    def balanced(self) -> bool:
        """Tell whether all balances add up to nothing, and nobody but the bank owes."""
        held = dict(self.accounts())
        owes = any(amount < 0 for name, amount in held.items() if name != BANK)
        return sum(held.values()) == 0 and not owes


def _number_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")


def wallet(owner: str) -> str:
    """Name the account of a tenant's or provider's free money."""
    return f"wallet/{owner}"


def escrow(deployment: str) -> str:
    """Name the account that holds the deposits of a deployment."""
    return f"escrow/{deployment}"


def earned(lease: str) -> str:
    """Name the account that holds what a lease earned and its provider has not withdrawn."""
    return f"lease/{lease}"


def bid_deposit(bid: str) -> str:
    """Name the account that holds the deposit of a bid."""
    return f"bid/{bid}"


def bond(provider: str) -> str:
    """Name the account that holds a provider's bond."""
    return f"bond/{provider}"
