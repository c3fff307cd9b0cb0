"""What must hold after every batch, checked on what the batch touched, and the state's digest."""

from __future__ import annotations

from collections import defaultdict

from skerry.kernel.ledger import digest
from skerry.kernel.ledger.records import U128_MAX, Account, AccountFlag, pack
from skerry.kernel.ledger.state import Balances, State, balances

_DEBITS_LIMITED = int(AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS)
_CREDITS_LIMITED = int(AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS)
_NOTHING: Balances = (0, 0, 0, 0, 0)


class Auditor:
    """Follows a state batch by batch, apart from the code that changes it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._seen: dict[int, tuple[Balances, int]] = {}
        self._fates: dict[int, int] = {}
        self._transfers = 0
        self._sum = 0

    def digest(self, timestamp: int) -> int:
        """Return the 64-bit digest of the state as of the last check, and of its timestamp."""
        return (self._sum + digest.mixed(timestamp)) & digest.MASK

    def check(self) -> None:
        """Assert the invariants and add what the batch changed to the digest."""
        state = self._state
        ledgers: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        for id_ in state.touched:
            account = state.accounts.get(id_)
            if account is not None:
                self._account(account, ledgers[account.ledger])
        for ledger, (pending, posted) in ledgers.items():
            assert pending == 0, f"pending debits equal pending credits in ledger {ledger}"
            assert posted == 0, f"posted debits equal posted credits in ledger {ledger}"
        newest = 0
        for transfer in state.transfer_order[self._transfers :]:
            assert transfer.timestamp > newest, "timestamps rise"
            newest = transfer.timestamp
            self._sum += digest.record_hash(digest.TRANSFER, pack(transfer))
        self._transfers = len(state.transfer_order)
        for id_ in state.changed_fates:
            self._fate(id_)
        for id_ in state.burned_now:
            self._sum += digest.row_hash(digest.BURNED, (id_ & digest.MASK, id_ >> 64))
        self._sum &= digest.MASK
        state.forget_changes()

    def _account(self, account: Account, sums: list[int]) -> None:
        now = balances(account)
        before, hashed = self._seen.get(account.id, (_NOTHING, 0))
        sums[0] += now[0] - before[0] - now[2] + before[2]
        sums[1] += now[1] - before[1] - now[3] + before[3]
        assert min(now) >= 0, "no balance is negative"
        assert now[0] + now[1] <= U128_MAX, "debits do not overflow"
        assert now[2] + now[3] <= U128_MAX, "credits do not overflow"
        if account.flags & _DEBITS_LIMITED:
            assert now[0] + now[1] <= now[3], "debits do not exceed credits"
        if account.flags & _CREDITS_LIMITED:
            assert now[2] + now[3] <= now[1], "credits do not exceed debits"
        fresh = digest.record_hash(digest.ACCOUNT, pack(account))
        self._sum += fresh - hashed
        self._seen[account.id] = (now, fresh)

    def _fate(self, id_: int) -> None:
        transfer, fate = self._state.transfers.get(id_), self._state.fates.get(id_)
        if transfer is None or fate is None:
            return
        fresh = digest.row_hash(digest.PENDING, (transfer.timestamp, int(fate)))
        self._sum += fresh - self._fates.get(id_, 0)
        self._fates[id_] = fresh
