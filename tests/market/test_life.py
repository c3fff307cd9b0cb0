"""What happens to leases by themselves: money that runs out, restarts, results, probes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.market.nodes import SDL, do, market_of, running

from skerry.kernel.errors import SkerryError
from skerry.market.core import books as b
from skerry.node.workload.importing import Importer
from skerry.testing.nodes import open_directory

pytestmark = pytest.mark.slow

JOB = SDL.replace(
    'command: ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"]',
    'command: ["/bin/sh", "-c", "echo result 42"]',
)


async def until(done: Callable[[], Any], what: str) -> None:
    for _ in range(200):
        found = done()
        if await found if asyncio.iscoroutine(found) else found:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(what)


async def test_money_that_runs_out_warns_then_closes_with_a_reason() -> None:
    dear = SDL.replace("amount: 1000", "amount: 300000")
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            await do(node, "deploy", file=dear, deposit="0.3")
            (lease,) = await do(node, "leases")
            assert "the money lasts" in lease.warning
            assert lease.per_hour == "180.00 EUR/h"
            state = market_of(node).exchange.state
            await until(lambda: not state.running, "the lease is closed")
            (ended,) = await do(node, "leases", all=True)
            assert ended.state == "insufficient_funds"
            assert ended.reason == "20000 the money ran out"
            with pytest.raises(SkerryError, match="no running lease") as caught:
                await do(node, "status", dseq=1)
            assert caught.value.why == "the money ran out"
            provider = market_of(node).provider_wallet.address
            assert state.books.balance(b.wallet(provider)) == 5_000_000 + 300_000
            assert (await do(node, "invoice", dseq=1)).adds_up
            await until(lambda: _none(node), "the program is gone")


async def _none(node: Any) -> bool:
    return not await node.workloads.list()


async def test_a_deposit_in_time_keeps_it() -> None:
    dear = SDL.replace("amount: 1000", "amount: 300000")
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="100")
            await do(node, "deploy", file=dear, deposit="0.3")
            await do(node, "deposit", dseq=1, amount="90")
            await asyncio.sleep(7)
            (lease,) = await do(node, "leases")
            assert lease.state == "active"
            assert lease.warning == ""
            (info,) = await node.workloads.list()
            assert info.expires is not None
            assert info.expires > node.clock.now() + 1000 * 1_000_000_000
            assert info.state.value == "running"


async def test_a_provider_that_comes_later_gets_the_manifest_by_itself() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "fund", amount="10")
            with pytest.raises(SkerryError, match="Nothing was deployed yet"):
                await do(node, "bids")
            waiting = await do(node, "deploy", file=SDL)
            assert not waiting.feasible
            assert "no provider" in waiting.message
            await do(node, "provider.start", country="FI")

            async def runs() -> bool:
                try:
                    (service,) = await do(node, "status", dseq=1)
                except SkerryError:
                    return False
                return bool(service.state == "running")

            await until(runs, "it runs, and nobody waited for it")


async def test_everything_is_there_after_a_restart() -> None:
    with open_directory() as made:
        async with running(made / "h", keep=True) as node:
            await do(node, "provider.start", country="FI", notice_hours=2)
            await do(node, "fund", amount="20")
            await do(node, "deploy", file=SDL, name="shop")
            (before,) = await node.workloads.list()
            digest = market_of(node).exchange.state.books.machine.digest
        async with running(made / "h") as node:
            handler = market_of(node)
            assert handler.exchange.state.books.machine.digest == digest
            agent = handler.agent
            assert agent is not None
            assert agent.settings.notice_seconds == 7200
            (after,) = await node.workloads.list()
            assert after.id == before.id
            (service,) = await do(node, "status", dseq=1)
            assert service.ready == "1/1"
            assert agent.inventory.free().cpu_milli == agent.inventory.capacity.cpu_milli - 100
            with pytest.raises(SkerryError, match="serves leases"):
                await do(node, "provider.stop")
            lease = str(next(iter(handler.exchange.state.running)))
            with pytest.raises(SkerryError, match="promises 7200 s of notice"):
                await do(node, "provider.close", lease=lease, reason="decommission")
            told = await do(node, "provider.close", lease=lease, announce=True)
            assert "announced" in told.message
            (shown,) = await do(node, "leases")
            assert shown.state == "reclaiming"
            await do(node, "close", dseq=1)
            await until(lambda: not agent.records.leases, "the lease ended")
            await do(node, "provider.stop")
        async with running(made / "h") as node:
            assert market_of(node).agent is None


async def test_a_provider_closes_and_the_tenant_asks_again() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            await do(node, "deploy", file=SDL)
            state = market_of(node).exchange.state
            lease = next(iter(state.running))
            await do(node, "provider.close", lease=str(lease), reason="unstable")
            (ended,) = await do(node, "leases", all=True)
            assert ended.reason == "10000 the workload was unstable"
            again = await do(node, "start", dseq=1)
            assert again.feasible
            assert len(state.leases) == 2
            record = state.providers[lease.provider].record
            assert (record.good, record.all) == (0, 1_000_000)


async def test_a_new_version_runs_in_place() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            await do(node, "deploy", file=SDL)
            (before,) = await node.workloads.list()
            newer = SDL.replace("GREETING=hello", "GREETING=again")
            done = await do(node, "update", dseq=1, file=newer)
            assert done.feasible
            (after,) = await node.workloads.list()
            assert after.id != before.id
            ran = await do(node, "exec", dseq=1, command=["/bin/sh", "-c", "echo $GREETING"])
            assert ran.output == "again\n"
            bigger = SDL.replace("units: 0.1", "units: 0.2")
            with pytest.raises(SkerryError, match="other resources"):
                await do(node, "update", dseq=1, file=bigger)
            assert len(market_of(node).exchange.state.leases) == 1


async def test_a_result_is_reported_and_repeated_elsewhere() -> None:
    with open_directory() as made:
        async with (
            running(made / "a", "alpha") as node,
            running(made / "b", "beta") as other,
        ):
            await do(node, "fund", amount="20")
            await do(node, "provider.start", country="FI")
            await do(node, "admit", address=market_of(other).provider_wallet.address)
            await do(other, "provider.start", country="SE", market=[node.url])
            done = await do(node, "deploy", file=JOB, verification="replicate(2)")
            assert done.feasible
            assert {each.provider for each in done.leases} == {"alpha", "beta"}
            state = market_of(node).exchange.state
            records = [each.record for each in state.providers.values()]
            await until(lambda: all(each.row for each in records), "the results were compared")
            digests = {lease.digest for lease in state.leases.values()}
            assert len(digests) == 1
            assert [each.row for each in records] == [1, 1]


async def test_probes_are_noted() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            await do(node, "deploy", file=SDL, verification="probe")
            handler = market_of(node)
            (lease,) = handler.exchange.state.leases.values()

            async def answered() -> bool:
                await handler.probing.probe_all()
                return lease.probes_failed == 0

            await until(answered, "the probe succeeds")
            record = handler.exchange.state.providers[lease.id.provider].record
            before = record.all
            (info,) = await node.workloads.list()
            await node.workloads.stop_one(info.name)
            for _ in range(3):
                await handler.probing.probe_all()
            assert lease.probes_failed == 3
            assert record.all == before + 1_000_000


MODULE = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (i32.const 0))))"""


async def test_a_module_runs_where_the_order_asks_for_it() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            no_port = JOB[: JOB.index("    expose:")] + JOB[JOB.index("profiles:") :]
            refused = await do(node, "deploy", file=no_port, isolation="wasm", wait=1)
            assert not refused.feasible
            assert "is no WebAssembly module" in refused.obstacles[0].reasons[0]
            path = made / "module.wasm"
            path.write_bytes(wasmtime.wat2wasm(MODULE))
            Importer(node.workloads.images, node.clock).archive("answer", path)
            lines = [line for line in no_port.splitlines() if not line.startswith("    command")]
            job = "\n".join(lines).replace("image: host", "image: answer")
            done = await do(node, "deploy", file=job, isolation="wasm")
            assert done.feasible, done
            state = market_of(node).exchange.state
            leases = state.leases.values
            await until(lambda: any(each.status == 0 for each in leases()), "the result is known")
