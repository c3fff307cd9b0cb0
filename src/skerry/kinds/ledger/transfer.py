"""Moving a ledger in and out as NDJSON, one record a line; see `values` for how they are written.

accounts.ndjson    every account with its balances
transfers.ndjson   every transfer; a pending one has its `fate`
burned.ndjson      ids that failed for good
movements.ndjson   how both accounts stood after each movement, for balances and change events
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kernel.ledger.records import Account, Change, PendingStatus, Transfer, pack, unpack
from skerry.kernel.ledger.rows import Rows, pack_moment, unpack_moments
from skerry.kernel.ledger.state import Moment
from skerry.kinds.ledger.rows import Kept
from skerry.kinds.ledger.values import parse, shown

ACCOUNTS, TRANSFERS = "accounts.ndjson", "transfers.ndjson"
BURNED, MOVEMENTS = "burned.ndjson", "movements.ndjson"
_PAGE = 8192
_encoder = msgspec.json.Encoder()


class Movement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of `movements.ndjson`: pending and posted debits and credits, and the flags."""

    timestamp: str
    type: str
    transfer: int
    debit: tuple[str, str, str, str, int]
    credit: tuple[str, str, str, str, int]


class Burned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of `burned.ndjson`."""

    id: str


def export(book: Kept, target: Path) -> None:
    """Write everything into an empty directory."""
    _write(target / ACCOUNTS, (shown(each) for each in unpack(Account, book.accounts())))
    _write(target / TRANSFERS, _transfers(book))
    burned = _pages(book, "burned")
    ids = (page[at : at + 16] for page in burned for at in range(0, len(page), 16))
    _write(target / BURNED, ({"id": str(int.from_bytes(each, "little"))} for each in ids))
    _write(target / MOVEMENTS, _movements(book))


def _transfers(book: Kept) -> Iterator[dict[str, Any]]:
    fates = iter(book.fates())
    for page in _pages(book, "transfers"):
        for transfer in unpack(Transfer, page):
            fate = PendingStatus(next(fates))
            yield shown(transfer) | ({"fate": fate.name.lower()} if fate else {})


def _movements(book: Kept) -> Iterator[Movement]:
    places = _Places()
    for page in _pages(book, "moments"):
        for moment in unpack_moments(page, places):
            yield Movement(
                str(moment.timestamp),
                moment.type.name.lower(),
                moment.transfer.id,
                _texts(moment.debit),
                _texts(moment.credit),
            )


class _Places(list[Transfer]):
    """Stands for the list of transfers where only their places are wanted."""

    def __getitem__(self, place: Any) -> Any:
        return Transfer(place)


def _texts(side: tuple[int, int, int, int, int]) -> tuple[str, str, str, str, int]:
    return str(side[0]), str(side[1]), str(side[2]), str(side[3]), side[4]


def _pages(book: Kept, table: str) -> Iterator[bytes]:
    count = book.count(table)
    for start in range(0, count, _PAGE):
        yield book.rows(table, start, min(start + _PAGE, count))


def _write(path: Path, lines: Iterator[Any]) -> None:
    with path.open("wb") as file:
        file.writelines(_encoder.encode(line) + b"\n" for line in lines)


def read(source: Path) -> tuple[Rows, int]:
    """Return the state that an export holds and its last timestamp; raise INVALID."""
    accounts = [parse(Account, line) for line in _lines(source / ACCOUNTS, dict[str, Any])]
    transfers: list[Transfer] = []
    fates = bytearray()
    for line in _lines(source / TRANSFERS, dict[str, Any]):
        fate = str(line.pop("fate", "none")).upper()
        if fate not in PendingStatus.__members__:
            raise INVALID(f"There is no fate {fate.lower()!r} of a pending transfer.")
        fates.append(PendingStatus[fate])
        transfers.append(parse(Transfer, line))
    burned = [int(line.id).to_bytes(16, "little") for line in _lines(source / BURNED, Burned)]
    movements: list[Movement] = list(_lines(source / MOVEMENTS, Movement))
    try:
        moments = [pack_moment(_moment(line, transfers), line.transfer) for line in movements]
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise INVALID(f"{MOVEMENTS} is not an export.", why=str(error)) from error
    times = [int(line.timestamp) for line in movements]
    times += [each.timestamp for each in accounts] + [each.timestamp for each in transfers]
    rows = Rows(
        b"".join(map(pack, accounts)),
        b"".join(map(pack, transfers)),
        bytes(fates),
        b"".join(moments),
        b"".join(burned),
    )
    return rows, max(times, default=0)


def _moment(line: Movement, transfers: list[Transfer]) -> Moment:
    debit, credit = line.debit, line.credit
    return Moment(
        int(line.timestamp),
        Change[line.type.upper()],
        transfers[line.transfer],
        (int(debit[0]), int(debit[1]), int(debit[2]), int(debit[3]), debit[4]),
        (int(credit[0]), int(credit[1]), int(credit[2]), int(credit[3]), credit[4]),
    )


def _lines(path: Path, kind: Any) -> Iterator[Any]:
    if not path.is_file():
        raise INVALID(f"The export has no {path.name}.")
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise INVALID(f"Line {number} of {path.name} is wrong.", why=str(error)) from error
