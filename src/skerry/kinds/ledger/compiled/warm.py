"""Compiles everything once, by using it."""

from __future__ import annotations

import functools

from skerry.kernel.ledger.records import (
    Account,
    AccountFilter,
    ChangesFilter,
    QueryFilter,
    Transfer,
    TransferFlag,
    pack,
    pack_account_filter,
    pack_changes_filter,
    pack_ids,
    pack_query_filter,
)
from skerry.kernel.ledger.rows import Rows
from skerry.kinds.ledger.compiled import filling
from skerry.kinds.ledger.compiled.book import CompiledBook
from skerry.kinds.ledger.compiled.store import Tables


@functools.cache
def warm() -> None:
    """Use every compiled function once, so that each is compiled, or taken from the cache."""
    book = CompiledBook()
    accounts = b"".join(pack(Account(id_, ledger=1, code=1)) for id_ in (1, 2))
    book.create_accounts(memoryview(accounts), 10)
    pending = int(TransferFlag.PENDING)
    transfer = pack(Transfer(1, 1, 2, 1, ledger=1, code=1, flags=pending, timeout=1))
    book.create_transfers(memoryview(transfer), 20)
    book.expire(10**10)
    book.lookup_accounts(memoryview(pack_ids([1])))
    book.query_transfers(memoryview(pack_query_filter(QueryFilter())))
    book.get_account_transfers(memoryview(pack_account_filter(AccountFilter(1))))
    book.get_change_events(memoryview(pack_changes_filter(ChangesFilter())))
    tables = (book.rows(table, 0, book.count(table)) for table in ("moments", "burned"))
    rows = Rows(book.accounts(), book.rows("transfers", 0, 1), book.fates(), *tables)
    filling.enter_ledgers(Tables().address)
    assert CompiledBook.from_rows(rows, book.timestamp).digest == book.digest
