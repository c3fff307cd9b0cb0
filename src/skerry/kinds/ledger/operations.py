"""The operations of a ledger: their numbers, the sizes of what goes in and out, and their bodies.

Numbers and bodies are those of TigerBeetle's client protocol (0.17); the log keeps them as they
came. A body holds one or more batches: their events one after the other, and then a trailer of
16-bit numbers that is read from its end: how many batches there are, then how many events each one
has, then 0xFFFF up to a multiple of an event's size.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from skerry.kernel.errors import INVALID, TOO_LARGE
from skerry.kernel.ledger.records import (
    BATCH_MAX,
    CHANGES_MAX,
    unpack_account_filter,
    unpack_changes_filter,
    unpack_query_filter,
)

BODY_MAX = (1 << 20) - 256
"""The size of the largest body of a request or of a reply."""

_PADDING = 0xFFFF
_CREATED = 0xFFFF_FFFF


class Operation(enum.IntEnum):
    """What a ledger is asked to do; `SPARSE` are those of clients before 0.17."""

    REGISTER = 2
    PULSE = 128
    GET_CHANGE_EVENTS = 137
    CREATE_ACCOUNTS_SPARSE = 138
    CREATE_TRANSFERS_SPARSE = 139
    LOOKUP_ACCOUNTS = 140
    LOOKUP_TRANSFERS = 141
    GET_ACCOUNT_TRANSFERS = 142
    GET_ACCOUNT_BALANCES = 143
    QUERY_ACCOUNTS = 144
    QUERY_TRANSFERS = 145
    CREATE_ACCOUNTS = 146
    CREATE_TRANSFERS = 147


class Shape(NamedTuple):
    """The sizes of an operation's events and results, and the method of a book that it calls."""

    event: int
    result: int
    method: str
    writes: bool = False


SHAPES = {
    Operation.CREATE_ACCOUNTS_SPARSE: Shape(128, 8, "create_accounts", writes=True),
    Operation.CREATE_TRANSFERS_SPARSE: Shape(128, 8, "create_transfers", writes=True),
    Operation.CREATE_ACCOUNTS: Shape(128, 16, "create_accounts", writes=True),
    Operation.CREATE_TRANSFERS: Shape(128, 16, "create_transfers", writes=True),
    Operation.LOOKUP_ACCOUNTS: Shape(16, 128, "lookup_accounts"),
    Operation.LOOKUP_TRANSFERS: Shape(16, 128, "lookup_transfers"),
    Operation.GET_ACCOUNT_TRANSFERS: Shape(128, 128, "get_account_transfers"),
    Operation.GET_ACCOUNT_BALANCES: Shape(128, 128, "get_account_balances"),
    Operation.QUERY_ACCOUNTS: Shape(64, 128, "query_accounts"),
    Operation.QUERY_TRANSFERS: Shape(64, 128, "query_transfers"),
    Operation.GET_CHANGE_EVENTS: Shape(64, 384, "get_change_events"),
}
_SPARSE = (Operation.CREATE_ACCOUNTS_SPARSE, Operation.CREATE_TRANSFERS_SPARSE)
_LISTS = (*_SPARSE, Operation.CREATE_ACCOUNTS, Operation.CREATE_TRANSFERS)
_LOOKUPS = (Operation.LOOKUP_ACCOUNTS, Operation.LOOKUP_TRANSFERS)


class Book(Protocol):
    """A ledger that takes and gives packed records: the plain one, or the compiled one."""

    @property
    def timestamp(self) -> int:
        """The timestamp of the last batch."""
        ...

    @property
    def digest(self) -> int:
        """See `Machine.digest`."""
        ...

    @property
    def next_expiry(self) -> int | None:
        """See `Machine.next_expiry`."""
        ...

    def create_accounts(self, events: memoryview, timestamp: int) -> bytes:
        """See `Machine.create_accounts`."""
        ...

    def create_transfers(self, events: memoryview, timestamp: int) -> bytes:
        """See `Machine.create_transfers`."""
        ...

    def expire(self, timestamp: int) -> int:
        """See `Machine.expire`."""
        ...


def split(body: memoryview, event: int) -> list[memoryview]:
    """Return the batches of a body; raise INVALID if its trailer is none."""
    items = memoryview(body[len(body) % 2 :]).cast("H")
    count = items[-1] if len(items) else 0
    size = -(-2 * (count + 1) // event) * event
    if not 0 < count < _PADDING or size > len(body) or len(body) % event:
        raise INVALID("The body has no trailer that tells its batches.")
    trailer = body[-size:].cast("H")
    counts = trailer.tolist()[-2 : -2 - count : -1]
    padding = trailer.tolist()[: -1 - count]
    payload = body[:-size]
    if sum(counts) * event != len(payload) or any(each != _PADDING for each in padding):
        raise INVALID("The trailer does not fit what the body holds.")
    batches = []
    at = 0
    for each in counts:
        batches.append(payload[at : at + each * event])
        at += each * event
    return batches


def join(batches: Iterable[bytes | memoryview], element: int) -> bytes:
    """Return the body that holds these batches."""
    batches = list(batches)
    counts = [len(batch) // element for batch in batches]
    size = -(-2 * (len(counts) + 1) // element) * element
    missing = size // 2 - len(counts) - 1
    numbers = [_PADDING] * missing + counts[::-1] + [len(counts)]
    return b"".join([*batches, struct.pack(f"<{len(numbers)}H", *numbers)])


def events_of(operation: int, body: memoryview) -> int:
    """Check the body of a request; return how many events it holds.

    Raises INVALID for an operation that does not exist or a body that is none, and TOO_LARGE for
    one whose answer would not fit a message.
    """
    shape = SHAPES.get(operation)  # type: ignore[call-overload]
    if shape is None:
        raise INVALID(f"There is no operation {operation}.")
    if len(body) > BODY_MAX:
        raise TOO_LARGE(f"A request of {len(body)} bytes is above {BODY_MAX}.")
    if operation == Operation.GET_CHANGE_EVENTS:
        if len(body) != shape.event:
            raise INVALID("A question for change events is one filter.")
        return 1
    batches = split(body, shape.event)
    counts = [len(batch) // shape.event for batch in batches]
    if operation not in _LISTS and operation not in _LOOKUPS:
        if any(count != 1 for count in counts):
            raise INVALID("Each batch of a query is one filter.")
        counts = [_limit(operation, batch) for batch in batches]
    if max(counts) > BATCH_MAX:
        raise TOO_LARGE(f"A batch of {max(counts)} is above {BATCH_MAX}.")
    trailer = -(-2 * (len(counts) + 1) // shape.result) * shape.result
    if sum(counts) * shape.result + trailer > BODY_MAX:
        raise TOO_LARGE("The answer would not fit a message.", hint="ask for fewer at a time")
    return sum(len(batch) // shape.event for batch in batches)


def _limit(operation: int, batch: memoryview) -> int:
    if operation in (Operation.GET_ACCOUNT_TRANSFERS, Operation.GET_ACCOUNT_BALANCES):
        return min(unpack_account_filter(batch).limit, BATCH_MAX)
    return min(unpack_query_filter(batch).limit, BATCH_MAX)


def execute(book: Book, operation: int, timestamp: int, body: memoryview) -> bytes:
    """Carry out a checked request; return the body of its reply."""
    if operation == Operation.PULSE:
        book.expire(timestamp)
        return b""
    shape = SHAPES[Operation(operation)]
    call = getattr(book, shape.method)
    if operation == Operation.GET_CHANGE_EVENTS:
        answer: bytes = call(body)
        return answer
    batches = split(body, shape.event)
    if not shape.writes:
        return join([call(batch) for batch in batches], shape.result)
    results = []
    at = timestamp - sum(len(batch) // shape.event for batch in batches)
    for batch in batches:
        at += len(batch) // shape.event
        results.append(call(batch, at))
    if operation in _SPARSE:
        results = [_sparse(each) for each in results]
    return join(results, shape.result)


def _sparse(results: bytes) -> bytes:
    """Return only what was not created, as (index, status)."""
    failed = (
        struct.pack("<II", index, status)
        for index, (_, status, _) in enumerate(struct.iter_unpack("<QII", results))
        if status != _CREATED
    )
    return b"".join(failed)


def changes_limit(body: memoryview) -> int:
    """Return how many change events a filter asks for."""
    return min(unpack_changes_filter(body).limit, CHANGES_MAX)


def one_batch(operation: Operation, events: Sequence[bytes] | bytes) -> bytes:
    """Return the body of a request with one batch."""
    packed = events if isinstance(events, bytes) else b"".join(events)
    if operation == Operation.GET_CHANGE_EVENTS:
        return packed
    return join([packed], SHAPES[operation].event)


def only_batch(operation: Operation, reply: bytes) -> memoryview:
    """Return the results of a reply to a request with one batch."""
    view = memoryview(reply)
    if operation == Operation.GET_CHANGE_EVENTS:
        return view
    (batch,) = split(view, SHAPES[operation].result)
    return batch
