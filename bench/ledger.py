"""The ledger beside Postgres, SQLite and the plain machine, all making each batch durable."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import psycopg
import tigerbeetle as tb
from harness import Options, Report, Table, clock, interleave, median, say, scratch, times

from node import Node, node
from skerry.kernel.clock import SystemClock
from skerry.kinds.ledger.book import open_book
from skerry.kinds.ledger.keeper import Keeper
from skerry.kinds.ledger.operations import Operation, one_batch, only_batch
from skerry.kinds.ledger.tiger.checksum import checksum

BATCH = 8189
TOML = """[app]
name = "bench"
[ledger.books]
idle = "1h"
machine = "compiled"
[postgres.db]
idle = "1h"
"""
CREATED = 0xFFFF_FFFF
RELEASE = 4361
_HEAD = struct.Struct("<16s16x16s16x16x16sIIIIHBB12x")
_OWN = struct.Struct("<16s16x16sQQIB59x")


@dataclass
class Batches:
    """Transfers between random accounts, every id new; accounts are 1 to `accounts`."""

    accounts: int
    next_id: int = 1
    chance: Any = field(default_factory=lambda: np.random.default_rng(7))

    def opening(self) -> Iterator[bytes]:
        """Yield accounts, in batches; none may spend more than it has received."""
        for start in range(0, self.accounts + 1, BATCH):
            rows = np.zeros((min(BATCH, self.accounts + 1 - start), 16), dtype=np.uint64)
            rows[:, 0] = np.arange(start + 1, start + 1 + len(rows))
            rows[:, 14] = 1 | 1 << 32
            yield rows.tobytes()

    def take(self) -> bytes:
        """Return the next batch."""
        rows = np.zeros((BATCH, 16), dtype=np.uint64)
        rows[:, 0] = np.arange(self.next_id, self.next_id + BATCH)
        self.next_id += BATCH
        debit = self.chance.integers(0, self.accounts, BATCH)
        other = self.chance.integers(1, self.accounts, BATCH)
        rows[:, 2] = debit + 1
        rows[:, 4] = (debit + other) % self.accounts + 1
        rows[:, 6] = self.chance.integers(1, 1000, BATCH)
        rows[:, 14] = 1 | 1 << 32
        return rows.tobytes()


@dataclass
class Way:
    """A way to keep books: what carries out prepared batches, and what one round of it takes."""

    name: str
    run: Callable[[list[bytes]], None]
    batches: int
    accounts: Batches
    is_durable: str = "yes"
    seconds: list[float] = field(default_factory=list)

    def round(self) -> tuple[float, float]:
        """Carry out fresh batches; return transfers a second, and CPU µs of this process each."""
        prepared = [self.accounts.take() for _ in range(self.batches)]
        start, cpu = clock(), time.process_time()
        self.run(prepared)
        took, used = clock() - start, time.process_time() - cpu
        return BATCH * self.batches / took, 1e6 * used / (BATCH * self.batches)


def measure(options: Options) -> Report:
    """Measure transfers a second on every way, in turns."""
    accounts = options.pick(1_000, 10_000)
    report = Report(
        f"Transfers a second in batches of {BATCH:,} between {accounts:,} accounts. Each batch is "
        "durable before it is acknowledged unless said otherwise, with all rules, the audit and "
        "the state's digest after every batch. *Wire* is TigerBeetle's protocol through the node's "
        "port to the cell, from a client in the measuring process that sends prepared bytes over "
        "four sessions; the official client spends its time making and reading Python objects. The "
        "Postgres and SQLite ledgers know no more than unique ids, balances and a limit."
    )
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(scratch("ledger"))
        made = stack.enter_context(node())
        made.deploy({"skerry.toml": TOML})
        ways = [
            memory(accounts, options),
            stack.enter_context(kept(place, "compiled", accounts, options.pick(4, 48))),
            stack.enter_context(wire(made, accounts, options)),
            stack.enter_context(official(made, accounts, options)),
            stack.enter_context(kept(place, "plain", accounts, options.pick(1, 2))),
            stack.enter_context(sqlite(place, accounts, options)),
            stack.enter_context(postgres(made, accounts, options)),
        ]
        for way in ways:
            say(f"{way.name}: first round")
            way.round()
        say("rounds in turns")
        found = interleave({way.name: way.round for way in ways}, options.pick(1, 5, 9))
        syncs = [disk_milliseconds(place) for _ in range(20)]
    table = Table(("way", "transfers/s", "best round", "beside Postgres", "CPU µs here", "durable"))
    peer = median(rate for rate, _ in found[ways[-1].name])
    for way in ways:
        rates = [rate for rate, _ in found[way.name]]
        middle = median(rates)
        spent = median(used for _, used in found[way.name])
        table.add(way.name, middle, max(rates), times(middle, peer), spent, way.is_durable)
    report.tables.append(table)
    report.notes.append(
        f"Appending 1 MiB and syncing it took {median(syncs):.1f} ms here (median of 20)."
    )
    report.notes.append(
        "The aims are 1,000,000 a second on the wire and 1,500,000 in process, on a quiet machine. "
        "A median stands for the machine as it was, with the load below on its two cores; the best "
        "round comes nearer to a quiet one."
    )
    report.notes.append(
        "TigerBeetle's own server is not in any registry, so it is not compared here; its own "
        "benchmark prints rates of several hundred thousand a second on other hardware."
    )
    report.data = {"rounds": found, "sync_ms": syncs}
    return report


def disk_milliseconds(place: Path) -> float:
    """Return how long a durable append of 1 MiB takes."""
    data = os.urandom(1 << 20)
    with (place / "sync").open("ab") as file:
        start = clock()
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())
        return 1000 * (clock() - start)


def memory(accounts: int, options: Options) -> Way:
    """The compiled machine alone, without a log."""
    book, batches, now = open_book(None, 0, compiled=True), Batches(accounts), [1_000_000]

    def step() -> int:
        now[0] += 1_000_000
        return now[0]

    for each in batches.opening():
        book.create_accounts(memoryview(each), step())

    def run(prepared: list[bytes]) -> None:
        for each in prepared:
            _check(book.create_transfers(memoryview(each), step()))

    return Way("compiled machine, memory only", run, options.pick(4, 40), batches, "no")


@contextlib.contextmanager
def kept(place: Path, machine: str, accounts: int, size: int) -> Iterator[Way]:
    """A ledger in this process, with its log: twelve batches under way at a time."""
    folder = place / machine
    folder.mkdir()
    keeper, batches = Keeper(folder, SystemClock(), machine=machine), Batches(accounts)
    keeper.open()
    loop = asyncio.new_event_loop()

    async def all_of(operation: Operation, prepared: list[bytes]) -> None:
        room = asyncio.Semaphore(12)

        async def one(each: bytes) -> None:
            async with room:
                answer = await keeper.submit(operation, one_batch(operation, each))
                _check(only_batch(operation, answer.body))

        await asyncio.gather(*(one(each) for each in prepared))

    loop.run_until_complete(all_of(Operation.CREATE_ACCOUNTS, list(batches.opening())))

    def run(prepared: list[bytes]) -> None:
        loop.run_until_complete(all_of(Operation.CREATE_TRANSFERS, prepared))

    yield Way(f"{machine} machine in process, with log", run, size, batches)
    keeper.close()
    loop.close()


class Raw:
    """One session of TigerBeetle's protocol that sends prepared bytes."""

    def __init__(self, port: int, cluster: int, client: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._cluster = cluster.to_bytes(16, "little")
        self._client = client.to_bytes(16, "little")
        self._session = self._request = 0
        head, _ = self.exchange(self.message(Operation.REGISTER, bytes(256)))
        (self._session,) = struct.unpack_from("<Q", head, 216)

    def message(self, operation: int, body: bytes) -> bytes:
        """Return the next request."""
        own = _OWN.pack(bytes(16), self._client, self._session, 0, self._request, operation)
        sizes = (256 + len(body), 0, 0, RELEASE, 0, 5, 0)
        common = _HEAD.pack(bytes(16), checksum(body), self._cluster, *sizes)
        self._request += 1
        tail = common[16:] + own
        return checksum(tail) + tail + body

    def exchange(self, message: bytes) -> tuple[bytes, bytes]:
        """Send a request; return head and body of its reply."""
        self._socket.sendall(message)
        head = self._read(256)
        (size,) = struct.unpack_from("<I", head, 96)
        return head, self._read(size - 256)

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            parts.append(self._socket.recv(size))
            size -= len(parts[-1])
            if not parts[-1]:
                raise ConnectionError("the ledger closed the connection")
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@contextlib.contextmanager
def wire(made: Node, accounts: int, options: Options) -> Iterator[Way]:
    """A ledger of the node, over four sessions of prepared bytes."""
    fields = made.connect("books", "bench")
    port, cluster = int(fields["port"]), int(fields["cluster_id"])
    sessions = [Raw(port, cluster, client) for client in range(101, 105)]
    batches = Batches(accounts)
    for each in batches.opening():
        body = one_batch(Operation.CREATE_ACCOUNTS, each)
        sessions[0].exchange(sessions[0].message(Operation.CREATE_ACCOUNTS, body))

    def send(session: Raw, bodies: list[bytes]) -> None:
        for body in bodies:
            message = session.message(Operation.CREATE_TRANSFERS, body)
            reply = session.exchange(message)[1]
            _check(only_batch(Operation.CREATE_TRANSFERS, reply))

    def run(prepared: list[bytes]) -> None:
        bodies = [one_batch(Operation.CREATE_TRANSFERS, each) for each in prepared]
        shares = [(session, bodies[at::4]) for at, session in enumerate(sessions)]
        threads = [threading.Thread(target=send, args=share) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    yield Way("wire: node and cell, prepared bytes", run, options.pick(4, 48), batches)
    for session in sessions:
        session.close()


@contextlib.contextmanager
def official(made: Node, accounts: int, options: Options) -> Iterator[Way]:
    """A ledger of the node, with TigerBeetle's Python client."""
    fields = made.connect("books", "bench")
    address = f"{fields['host']}:{fields['port']}"
    client = tb.ClientSync(cluster_id=int(fields["cluster_id"]), replica_addresses=address)
    batches = Batches(accounts, next_id=1 << 40)

    def run(prepared: list[bytes]) -> None:
        for each in prepared:
            rows = np.frombuffer(each, dtype=np.uint64).reshape(-1, 16)
            transfers = [
                tb.Transfer(
                    id=int(row[0]),
                    debit_account_id=int(row[2]),
                    credit_account_id=int(row[4]),
                    amount=int(row[6]),
                    ledger=1,
                    code=1,
                )
                for row in rows
            ]
            statuses = {result.status for result in client.create_transfers(transfers)}
            assert statuses == {tb.CreateTransferStatus.CREATED}, statuses

    yield Way("wire: official Python client", run, options.pick(1, 2), batches)
    client.close()


@contextlib.contextmanager
def sqlite(place: Path, accounts: int, options: Options) -> Iterator[Way]:
    """A ledger in SQLite: one transaction a batch, rows one after the other, limits checked."""
    database = apsw.Connection(str(place / "ledger.sqlite"))
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = full")
    database.execute(
        "create table account (id integer primary key, debits int, credits int, lim int)"
    )
    database.execute(
        "create table transfer (id integer primary key, debit int, credit int, amount int) strict"
    )
    batches = Batches(accounts)
    rows = ((at, 0, 0, 1 << 60) for at in range(1, accounts + 2))
    with database:
        database.executemany("insert into account values (?, ?, ?, ?)", rows)

    def run(prepared: list[bytes]) -> None:
        for each in prepared:
            with database:
                cursor = database.cursor()
                for id_, debit, credit, amount in _columns(each):
                    cursor.execute(
                        "insert into transfer values (?, ?, ?, ?)", (id_, debit, credit, amount)
                    )
                    cursor.execute(
                        "update account set debits = debits + ? where id = ? and debits + ? <= lim",
                        (amount, debit, amount),
                    )
                    assert database.changes() == 1
                    cursor.execute(
                        "update account set credits = credits + ? where id = ?", (amount, credit)
                    )

    yield Way("SQLite (apsw), row by row", run, options.pick(1, 3), batches)
    database.close()


@contextlib.contextmanager
def postgres(made: Node, accounts: int, options: Options) -> Iterator[Way]:
    """A ledger in Postgres: one transaction a batch, set-based, balances updated by their sums."""
    url = made.connect("db", "bench")["url"]
    batches = Batches(accounts)
    with psycopg.connect(url) as connection:
        connection.execute(
            "create table account (id bigint primary key, debits numeric not null default 0,"
            " credits numeric not null default 0, lim numeric not null default 1e30,"
            " check (debits <= lim))"
        )
        connection.execute(
            "create table transfer (id bigint primary key, debit bigint, credit bigint,"
            " amount bigint)"
        )
        connection.execute(
            "insert into account (id) select generate_series(1, %s)", (accounts + 1,)
        )
        connection.commit()

        def run(prepared: list[bytes]) -> None:
            for each in prepared:
                columns = [list(column) for column in zip(*_columns(each), strict=True)]
                connection.execute(_INSERT, columns)
                connection.commit()

        yield Way("Postgres 18, set-based", run, options.pick(1, 3), batches)


_INSERT = """
with given as (
  insert into transfer select * from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
  returning debit, credit, amount
), moved as (
  select id, sum(debits) as debits, sum(credits) as credits from (
    select debit as id, amount as debits, 0 as credits from given
    union all select credit, 0, amount from given
  ) as each group by id
)
update account set debits = account.debits + moved.debits,
  credits = account.credits + moved.credits from moved where account.id = moved.id
"""


def _columns(packed: bytes) -> list[tuple[int, int, int, int]]:
    rows = np.frombuffer(packed, dtype=np.uint64).reshape(-1, 16)
    return list(map(tuple, rows[:, [0, 2, 4, 6]].tolist()))


def _check(results: bytes | memoryview) -> None:
    """Make sure that all was created: a fast refusal is no result."""
    statuses = np.frombuffer(results, dtype=np.uint64).reshape(-1, 2)[:, 1]
    assert bool((statuses == CREATED).all())
