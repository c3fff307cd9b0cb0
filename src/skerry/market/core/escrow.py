"""Escrow: a tenant's deposits, drained by the payments of its leases.

The rules are those of Akash's keeper. Nothing happens by itself: whenever an account is touched, it
is settled up to that moment. Deposits are drained in the order in which they came. Payments are
served in the order of their names; what the money does not reach is noted as unsettled, the account
and all its payments are overdrawn, and what was earned is paid out. A later deposit pays what is
unsettled first and then closes the account.

Time is in milliseconds. A payment has cost `floor(rate * time since its start)`, however many times
it was settled in between: settling often rounds no more than settling once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from skerry.kernel.errors import CONFLICT
from skerry.kernel.money import Rate
from skerry.market.core import books as b
from skerry.market.core.books import Books, Why


class State(enum.StrEnum):
    """The states of an account and of a payment."""

    OPEN = "open"
    CLOSED = "closed"
    OVERDRAWN = "overdrawn"


class Sharing(enum.StrEnum):
    """Who gets what when the money does not reach: in order, or each the same part."""

    ORDER = "order"
    PRO_RATA = "pro-rata"


@dataclass(slots=True)
class Deposit:
    """Money that somebody put in; a grant is somebody else's, and goes back to them."""

    owner: str
    balance: int
    source: str = "balance"


@dataclass(slots=True)
class Payment:
    """What a lease earns."""

    id: str
    owner: str
    rate: Rate
    opened_at: int
    state: State = State.OPEN
    balance: int = 0
    unsettled: int = 0
    withdrawn: int = 0
    accrued: int = 0

    def due(self, now: int) -> int:
        """Return what came due since the last settlement."""
        return self.rate.cost(now - self.opened_at) - self.accrued


@dataclass(slots=True)
class Account:
    """A deployment's escrow. `funds` below nothing is the exact debt."""

    id: str
    owner: str
    settled_at: int
    sharing: Sharing = Sharing.ORDER
    state: State = State.OPEN
    funds: int = 0
    transferred: int = 0
    deposits: list[Deposit] = field(default_factory=list)
    payments: dict[str, Payment] = field(default_factory=dict)

    def open_payments(self) -> list[Payment]:
        """Return the payments that run, in the order in which they are served."""
        found = [each for each in self.payments.values() if each.state is State.OPEN]
        return sorted(found, key=lambda each: each.id)


class Escrow:
    """What may be done with accounts; every amount moves in the books at once."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def deposit(self, account: Account, owner: str, amount: int, now: int, source: str) -> bool:
        """Put money in from a wallet; return whether that closed an overdrawn account."""
        if account.state is State.CLOSED:
            raise _closed(account)
        account.funds = max(account.funds, 0)
        self._books.move(b.wallet(owner), b.escrow(account.id), amount, Why.DEPOSIT, now)
        account.funds += amount
        account.deposits.append(Deposit(owner, amount, source))
        if account.state is not State.OVERDRAWN:
            return False
        overdrawn = self.settle(account, now)
        for payment in account.payments.values():
            if payment.state is State.OPEN:
                payment.state = State.CLOSED
            self._withdraw(payment, now)
        if overdrawn:
            return False
        account.state = State.CLOSED
        self._refund(account, now)
        return True

    def settle(self, account: Account, now: int) -> bool:
        """Pay what came due; return whether the account is overdrawn."""
        if account.state is State.CLOSED:
            raise _closed(account)
        if account.funds < 0:
            return True
        if account.state is State.OVERDRAWN:
            served = [p for p in account.payments.values() if p.state is State.OVERDRAWN]
        elif now > account.settled_at:
            account.settled_at = now
            served = account.open_payments()
        else:
            return False
        served.sort(key=lambda each: each.id)
        if not self._pay(account, served, now):
            return False
        account.state = State.OVERDRAWN
        for payment in served:
            payment.state = State.OVERDRAWN
            self._withdraw(payment, now)
        self._refund(account, now)
        return True

    def _pay(self, account: Account, served: list[Payment], now: int) -> bool:
        owed = [self._owed(payment, now) for payment in served]
        reached = self._shares(account, owed, now)
        overdrawn = False
        for payment, due, amount in zip(served, owed, reached, strict=True):
            _drain(account, amount)
            self._books.move(b.escrow(account.id), b.earned(payment.id), amount, Why.LEASE, now)
            payment.balance += amount
            payment.unsettled = due - amount
            if payment.unsettled:
                overdrawn = True
                account.funds -= payment.unsettled
                payment.state = State.OVERDRAWN
            else:
                payment.state = State.OPEN
        return overdrawn

    def _owed(self, payment: Payment, now: int) -> int:
        if payment.state is State.OVERDRAWN:
            return payment.unsettled
        due = payment.due(now)
        payment.accrued += due
        return due

    def _shares(self, account: Account, owed: list[int], now: int) -> list[int]:
        """Return how much of what each is owed the money reaches."""
        left = sum(deposit.balance for deposit in account.deposits)
        whole = sum(owed)
        if account.sharing is Sharing.PRO_RATA and whole > left:
            shares = [due * left // whole for due in owed]
            rest = left - sum(shares)
            _drain(account, rest)
            self._books.move(b.escrow(account.id), b.DUST, rest, Why.ROUNDING, now)
            return shares
        shares = []
        for due in owed:
            shares.append(min(due, left))
            left -= shares[-1]
        return shares

    def open_payment(self, account: Account, id: str, owner: str, rate: Rate, now: int) -> Payment:  # noqa: A002 (its own word)
        """Start a lease's payment; raise CONFLICT if the money is gone."""
        if self.settle(account, now):
            raise CONFLICT(f"The escrow of {account.id} is overdrawn.")
        payment = Payment(id, owner, rate, now)
        account.payments[id] = payment
        return payment

    def withdraw(self, account: Account, payment: Payment, now: int) -> int:
        """Pay out what a lease earned; return the amount."""
        if payment.state is not State.OPEN:
            raise CONFLICT(f"The payment of {payment.id} is {payment.state}.")
        before = payment.withdrawn
        self.settle(account, now)
        self._withdraw(payment, now)
        return payment.withdrawn - before

    def close_payment(self, account: Account, payment: Payment, now: int) -> None:
        """End a lease's payment and pay out what it earned."""
        if payment.state is State.CLOSED:
            raise CONFLICT(f"The payment of {payment.id} is closed.")
        if account.state is not State.CLOSED:
            self.settle(account, now)
        self._end(account, payment, now)

    def _end(self, account: Account, payment: Payment, now: int) -> None:
        if payment.state is State.OPEN:
            payment.state = State.CLOSED
            self._sweep_fraction(account, payment, now)
        self._withdraw(payment, now)

    def _sweep_fraction(self, account: Account, payment: Payment, now: int) -> None:
        """Charge the begun micro-unit that a price leaves at its end; it is nobody's earning."""
        begun = (now - payment.opened_at) * payment.rate.micro % payment.rate.per
        if begun and account.funds > 0:
            _drain(account, 1)
            self._books.move(b.escrow(account.id), b.DUST, 1, Why.ROUNDING, now)

    def close(self, account: Account, now: int) -> None:
        """End an account: settle, pay out, and give back what is left."""
        if account.state is State.CLOSED:
            raise _closed(account)
        self.settle(account, now)
        for payment in account.payments.values():
            if payment.state is not State.CLOSED:
                self._end(account, payment, now)
        if account.state is State.OPEN:
            account.state = State.CLOSED
        self._refund(account, now)

    def _withdraw(self, payment: Payment, now: int) -> None:
        amount = payment.balance
        self._books.move(b.earned(payment.id), b.wallet(payment.owner), amount, Why.WITHDRAWAL, now)
        payment.balance = 0
        payment.withdrawn += amount

    def _refund(self, account: Account, now: int) -> None:
        for deposit in account.deposits:
            source, target = b.escrow(account.id), b.wallet(deposit.owner)
            self._books.move(source, target, deposit.balance, Why.REFUND, now)
            account.funds -= deposit.balance
        account.deposits.clear()


def _drain(account: Account, amount: int) -> None:
    """Take an amount from the deposits, the oldest first."""
    account.funds -= amount
    account.transferred += amount
    while amount:
        oldest = account.deposits[0]
        taken = min(oldest.balance, amount)
        oldest.balance -= taken
        amount -= taken
        if not oldest.balance:
            account.deposits.pop(0)


def _closed(account: Account) -> Exception:
    return CONFLICT(f"The escrow of {account.id} is closed.")
