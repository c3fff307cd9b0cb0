"""The plain ledger of the kernel behind packed records."""

from __future__ import annotations

from skerry.kernel.ledger import Machine
from skerry.kernel.ledger.records import (
    Account,
    Transfer,
    pack,
    pack_balance,
    pack_change,
    pack_ids,
    pack_results,
    unpack,
    unpack_account_filter,
    unpack_changes_filter,
    unpack_ids,
    unpack_query_filter,
)
from skerry.kernel.ledger.rows import Rows, fates_of, machine_of, pack_moment, place_of


class PlainBook:
    """See `operations.Book`."""

    name = "plain"

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or Machine()
        # Other threads read it while a batch is carried out, so it is told between batches only.
        self.next_expiry = self.machine.next_expiry

    @classmethod
    def from_rows(cls, rows: Rows, timestamp: int) -> PlainBook:
        """Return the book of which these are the rows; it is audited as a whole."""
        return cls(machine_of(rows, timestamp))

    @property
    def timestamp(self) -> int:
        """See `operations.Book`."""
        return self.machine.timestamp

    @property
    def digest(self) -> int:
        """See `operations.Book`."""
        return self.machine.digest

    def create_accounts(self, events: memoryview, timestamp: int) -> bytes:
        """See `operations.Book`."""
        results = self.machine.create_accounts(unpack(Account, events), timestamp)
        return pack_results(results)

    def create_transfers(self, events: memoryview, timestamp: int) -> bytes:
        """See `operations.Book`."""
        results = self.machine.create_transfers(unpack(Transfer, events), timestamp)
        self.next_expiry = self.machine.next_expiry
        return pack_results(results)

    def expire(self, timestamp: int) -> int:
        """See `operations.Book`."""
        expired = self.machine.expire(timestamp)
        self.next_expiry = self.machine.next_expiry
        return expired

    def lookup_accounts(self, ids: memoryview) -> bytes:
        """See `Queries.lookup_accounts`."""
        return b"".join(map(pack, self.machine.lookup_accounts(unpack_ids(ids))))

    def lookup_transfers(self, ids: memoryview) -> bytes:
        """See `Queries.lookup_transfers`."""
        return b"".join(map(pack, self.machine.lookup_transfers(unpack_ids(ids))))

    def get_account_transfers(self, wanted: memoryview) -> bytes:
        """See `Queries.get_account_transfers`."""
        found = self.machine.get_account_transfers(unpack_account_filter(wanted))
        return b"".join(map(pack, found))

    def get_account_balances(self, wanted: memoryview) -> bytes:
        """See `Queries.get_account_balances`."""
        found = self.machine.get_account_balances(unpack_account_filter(wanted))
        return b"".join(map(pack_balance, found))

    def query_accounts(self, wanted: memoryview) -> bytes:
        """See `Queries.query_accounts`."""
        return b"".join(map(pack, self.machine.query_accounts(unpack_query_filter(wanted))))

    def query_transfers(self, wanted: memoryview) -> bytes:
        """See `Queries.query_transfers`."""
        return b"".join(map(pack, self.machine.query_transfers(unpack_query_filter(wanted))))

    def get_change_events(self, wanted: memoryview) -> bytes:
        """See `Queries.get_change_events`."""
        found = self.machine.get_change_events(unpack_changes_filter(wanted))
        return b"".join(map(pack_change, found))

    def account_count(self) -> int:
        """Return how many accounts there are."""
        return len(self.machine.state.account_order)

    def count(self, table: str) -> int:
        """See `rows.Kept`."""
        state = self.machine.state
        sizes = {
            "transfers": len(state.transfer_order),
            "moments": len(state.moments),
            "burned": len(state.burned),
        }
        return sizes[table]

    def rows(self, table: str, start: int, stop: int) -> bytes:
        """See `rows.Kept`."""
        state = self.machine.state
        if table == "transfers":
            return b"".join(map(pack, state.transfer_order[start:stop]))
        if table == "moments":
            return b"".join(
                pack_moment(each, place_of(state, each.transfer))
                for each in state.moments[start:stop]
            )
        return pack_ids(list(state.burned)[start:stop])

    def accounts(self) -> bytes:
        """See `rows.Kept`."""
        return b"".join(map(pack, self.machine.state.account_order))

    def fates(self) -> bytes:
        """See `rows.Kept`."""
        return fates_of(self.machine.state)
