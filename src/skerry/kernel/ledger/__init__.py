"""Ledgers: the double-entry state machine, and the fold in which the node meters.

`Machine` is TigerBeetle's model as plain Python. `Ledger` is the ledger of record of what resources
used.
"""

from skerry.kernel.ledger.machine import Machine
from skerry.kernel.ledger.metering import (
    SUPPLIER,
    Balance,
    Balances,
    Ledger,
    Posted,
    Reading,
    SourcesClosed,
    encode,
)
from skerry.kernel.ledger.records import (
    BATCH_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFlag,
    Change,
    ChangeEvent,
    ChangesFilter,
    FilterFlag,
    PendingStatus,
    QueryFilter,
    QueryFlag,
    Result,
    Transfer,
    TransferFlag,
)
from skerry.kernel.ledger.statuses import TRANSIENT, AccountStatus, TransferStatus

__all__ = [
    "BATCH_MAX",
    "SUPPLIER",
    "TRANSIENT",
    "Account",
    "AccountBalance",
    "AccountFilter",
    "AccountFlag",
    "AccountStatus",
    "Balance",
    "Balances",
    "Change",
    "ChangeEvent",
    "ChangesFilter",
    "FilterFlag",
    "Ledger",
    "Machine",
    "PendingStatus",
    "Posted",
    "QueryFilter",
    "QueryFlag",
    "Reading",
    "Result",
    "SourcesClosed",
    "Transfer",
    "TransferFlag",
    "TransferStatus",
    "encode",
]
