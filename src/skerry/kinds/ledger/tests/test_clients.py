"""TigerBeetle's own clients, unmodified, against the port of the node."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import tigerbeetle as tb

from skerry.kinds.ledger.tests.harness import Node
from skerry.kinds.ledger.tiger.front import TigerFront
from skerry.testing.tunnels import tunnel

SCRIPT = Path(__file__).with_name("client.mjs")
CREATED = tb.CreateTransferStatus.CREATED
NOTHING = {
    "user_data_128": 0,
    "user_data_64": 0,
    "user_data_32": 0,
    "timestamp_min": 0,
    "timestamp_max": 0,
}
Found = TypeVar("Found")


async def with_client(node: Node, use: Callable[[Any], Found], cluster: int | None = None) -> Found:
    """Use a client in a thread; it blocks."""

    def work() -> Found:
        number = node.cluster if cluster is None else cluster
        with tb.ClientSync(cluster_id=number, replica_addresses=node.address) as client:
            return use(client)

    return await asyncio.to_thread(work)


def account(id_: int, flags: Any = tb.AccountFlags.NONE) -> Any:
    return tb.Account(id=id_, ledger=978, code=1, flags=flags)


def transfer(amount: int, id_: int | None = None, **fields: Any) -> Any:
    names = {"debit_account_id": 1, "credit_account_id": 2, "ledger": 978, "code": 1} | fields
    return tb.Transfer(id=tb.id() if id_ is None else id_, amount=amount, **names)


def statuses(results: Any) -> list[Any]:
    return [each.status for each in results]


async def test_the_python_client_keeps_books(node: Node) -> None:
    def use(client: Any) -> None:
        history = tb.AccountFlags.HISTORY
        limited = tb.AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
        opened = client.create_accounts([account(1), account(2, history), account(3, limited)])
        assert statuses(opened) == [tb.CreateAccountStatus.CREATED] * 3
        pending = transfer(100, timeout=60, flags=tb.TransferFlags.PENDING)
        assert statuses(client.create_transfers([pending, transfer(5)])) == [CREATED] * 2
        post = transfer(
            60,
            pending_id=pending.id,
            flags=tb.TransferFlags.POST_PENDING_TRANSFER,
            debit_account_id=0,
            credit_account_id=0,
            ledger=0,
            code=0,
        )
        assert statuses(client.create_transfers([post, post])) == [
            CREATED,
            tb.CreateTransferStatus.EXISTS,
        ]
        too_much = transfer(1, 99, debit_account_id=3)
        assert statuses(client.create_transfers([too_much, too_much])) == [
            tb.CreateTransferStatus.EXCEEDS_CREDITS,
            tb.CreateTransferStatus.ID_ALREADY_FAILED,
        ]
        (second,) = client.lookup_accounts([2])
        assert (second.credits_posted, second.credits_pending) == (65, 0)
        flags = tb.AccountFilterFlags.CREDITS | tb.AccountFilterFlags.REVERSED
        wanted = tb.AccountFilter(account_id=2, limit=2, flags=flags, **NOTHING, code=0)
        assert [each.amount for each in client.get_account_transfers(wanted)] == [60, 5]
        assert [each.credits_posted for each in client.get_account_balances(wanted)] == [65, 5]
        forward = tb.QueryFilterFlags.NONE
        found = client.query_accounts(
            tb.QueryFilter(ledger=978, code=1, limit=10, flags=forward, **NOTHING)
        )
        assert [each.id for each in found] == [1, 2, 3]
        nothing = tb.QueryFilter(ledger=1, code=0, limit=10, flags=forward, **NOTHING)
        assert client.query_transfers(nothing) == []

    await with_client(node, use)


async def test_a_full_batch_and_many_small_ones_at_once(node: Node) -> None:
    def use(client: Any) -> int:
        client.create_accounts([account(1), account(2)])
        full = [transfer(1) for _ in range(8189)]
        assert set(statuses(client.create_transfers(full))) == {CREATED}
        (first,) = client.lookup_accounts([1])
        return int(first.debits_posted)

    async def small() -> None:
        async with tb.ClientAsync(
            cluster_id=node.cluster, replica_addresses=node.address
        ) as client:
            calls = (client.create_transfers([transfer(1)]) for _ in range(40))
            results = await asyncio.gather(*calls)
            assert [statuses(each) for each in results] == [[CREATED]] * 40

    assert await with_client(node, use) == 8189
    await small()
    assert node.engine is not None
    (first,) = await node.engine.questions.lookup_accounts([1])
    assert first.debits_posted == 8189 + 40


async def test_a_client_outlives_the_sleep_of_its_ledger(node: Node) -> None:
    loop = asyncio.get_running_loop()

    async def rest() -> None:
        assert node.sessions[-1].activity[-1] is False, "who waits for nothing keeps nothing awake"
        await node.sleep()

    def use(client: Any) -> None:
        client.create_accounts([account(1), account(2)])
        for round_ in range(3):
            assert statuses(client.create_transfers([transfer(1)])) == [CREATED]
            asyncio.run_coroutine_threadsafe(rest(), loop).result()
            (first,) = client.lookup_accounts([1])
            assert first.debits_posted == round_ + 1

    await with_client(node, use)
    assert node.wakes == 4


@pytest.mark.parametrize("wrong", [0, 5, 1 << 64])
async def test_a_number_that_opens_nothing_is_refused_at_once(node: Node, wrong: int) -> None:
    def use(client: Any) -> None:
        with pytest.raises(tb.ClientEvictedError):
            client.lookup_accounts([1])

    number = node.cluster ^ wrong if wrong else 0
    await with_client(node, use, number)
    assert node.wakes == 0


async def test_a_client_of_a_ledger_that_was_moved_is_passed_on(node: Node, folder: Path) -> None:
    left = Node(folder)
    left.moved = str(folder / "to-other.sock")
    server = await asyncio.get_running_loop().create_server(
        (front := TigerFront(left)).protocol, "127.0.0.1", 0
    )
    left.port = server.sockets[0].getsockname()[1]

    def use(client: Any) -> None:
        assert statuses(client.create_accounts([account(1), account(2)]))
        assert statuses(client.create_transfers([transfer(1) for _ in range(8189)]))
        assert client.lookup_accounts([1])[0].debits_posted == 8189

    async with server, tunnel(Path(left.moved), node.port):
        await with_client(left, use)
        assert (left.wakes, node.wakes) == (0, 1)
        async with asyncio.timeout(5):
            while front.clients:
                await asyncio.sleep(0.01)


async def test_the_javascript_client_keeps_books(node: Node, javascript: Path) -> None:
    script = javascript / "node_modules" / "ledger-client.mjs"
    shutil.copy(SCRIPT, script)
    process = await asyncio.create_subprocess_exec(
        "node",
        str(script),
        node.address,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate(str(node.cluster).encode())
    assert output.decode().strip().endswith("done"), output.decode()
