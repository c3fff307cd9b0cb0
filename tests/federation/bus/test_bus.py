"""Three nodes in the EU and one in the US, as real processes: leases, residency, loss, healing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from skerry.federation.bus import bus
from skerry.federation.bus.register import STREAM
from skerry.federation.bus.stream_log import STREAM as LOG
from skerry.federation.bus.stream_log import StreamLog
from skerry.kernel.clock import BootClock, SystemClock
from skerry.kernel.errors import (
    CONFLICT,
    CORRUPT,
    FENCED,
    STORE_UNREACHABLE,
    TOO_LARGE,
    SkerryError,
)
from skerry.kernel.lease import Tenure
from skerry.kernel.log import Entry
from skerry.testing.nodes import open_directory

from .conftest import Nodes, four_nodes, settled, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

EU = ("se-1", "fi-1", "de-1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes() -> AsyncIterator[Nodes]:
    async with four_nodes() as made:
        yield made


async def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "PORT_SECONDS", 0.3)
    with open_directory() as top, socket.socket() as other:
        made = Nodes(top)
        for name in ("se-1", "fi-1"):
            made.add(name, "EU")
        port = made.buses["se-1"].place.door.leaf
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(SkerryError, match=f"Port {port} of 127.0.0.1 cannot") as refused:
            await made.buses["se-1"].start()
        assert refused.value.problem is CONFLICT
        assert refused.value.hint == "skerry up --port bus-abroad=0"
        await made.buses["se-1"].stop()


async def test_a_lease_is_one_nodes_and_passes_on(nodes: Nodes) -> None:
    one, other = nodes.leases("se-1"), nodes.leases("fi-1")
    watch = other.watch()
    first = asyncio.ensure_future(anext(watch))
    lease = await one.acquire("shop", "se-1", 30, ("se-1", "fi-1"))
    assert (lease.epoch, lease.replicas) == (1, ("se-1", "fi-1"))
    async with asyncio.timeout(10):
        assert (await first).holder == "se-1"
    with pytest.raises(SkerryError, match="se-1 holds shop") as refused:
        await other.acquire("shop", "fi-1", 30)
    assert refused.value.problem is CONFLICT
    lease = await one.renew(lease, 30)
    await one.release(lease)
    taken = await other.acquire("shop", "fi-1", 30, after=6)
    assert taken.epoch == 7
    with pytest.raises(SkerryError) as fenced:
        await one.renew(lease, 30)
    assert fenced.value.problem is FENCED
    seen = await nodes.leases("de-1").current("shop")
    assert seen is not None
    assert (seen.holder, seen.epoch) == ("fi-1", 7)
    async with asyncio.timeout(10):
        async for each in watch:
            if each.holder == "fi-1":
                break


async def test_any_name_is_a_subject(nodes: Nodes) -> None:
    leases = nodes.leases("se-1")
    names = ["a.b", "shop/main/db", "*", "> x", "é~%=", "..", "$KV"]
    for name in names:
        await leases.acquire(name, "se-1", 1)
    seen = set()
    async with asyncio.timeout(10):
        async for lease in leases.watch():
            seen.add(lease.subject)
            if seen >= set(names):
                break


async def test_what_is_kept_in_one_jurisdiction_lies_nowhere_else(nodes: Nodes) -> None:
    await nodes.leases("se-1").acquire("only-eu", "se-1", 30)

    async def connected() -> bool:
        seen = [await nodes.buses[name].audit() for name in EU]
        return all("abroad" in {each.sort for each in held.connections} for held in seen)

    await until(connected)
    held = {name: await nodes.buses[name].audit() for name in nodes.buses}
    for name in EU:
        [stream] = [each for each in held[name].streams if each.name == STREAM.name]
        assert stream.copies == tuple(sorted(EU))
        assert stream.bytes > 0
        assert "only-eu" in stream.apps
        others = {each.name for each in held[name].connections if each.sort == "member"}
        assert others == set(EU) - {name}
        abroad = [each for each in held[name].connections if each.sort == "abroad"]
        assert {(each.name, each.carries) for each in abroad} == {("us-1", "between")}
    us = held["us-1"]
    assert (us.bytes, us.streams, us.apps) == (0, (), frozenset())
    assert {each.carries for each in us.connections if each.name in EU} == {"between"}
    for file in (nodes.top / "us-1" / "bus").rglob("*"):
        assert not file.is_file() or b"only-eu" not in file.read_bytes()
    with pytest.raises(SkerryError) as alone:
        await nodes.leases("us-1").current("only-eu")
    assert alone.value.problem is STORE_UNREACHABLE


async def test_a_replicated_log_is_chained_and_has_one_writer(nodes: Nodes) -> None:
    log, other = (
        StreamLog(nodes.buses[name].settled_inside, "log.test", SystemClock())
        for name in ("se-1", "fi-1")
    )
    written = [await log.append(b"%d" % number) for number in range(5)]
    assert [each.body for each in written] == [b"0", b"1", b"2", b"3", b"4"]
    assert await asyncio.to_thread(lambda: list(other.read())) == written
    assert await asyncio.to_thread(lambda: list(other.read(3))) == written[3:]
    with pytest.raises(SkerryError, match="event loop"):
        next(log.read())
    await other.append(b"another's")
    with pytest.raises(SkerryError, match="Somebody else writes"):
        await log.append(b"lost")
    assert (await log.append(b"5")).sequence == 6
    client = nodes.buses["de-1"].settled_inside()
    foreign = Entry(7, 0, b"forged", bytes(32)).encode()
    await client.append("log.test.entry", foreign, {})
    with pytest.raises(SkerryError, match="does not follow") as broken:
        await asyncio.to_thread(lambda: list(log.read()))
    assert broken.value.problem is CORRUPT
    await client.request("log.test.entry", b"no digest")
    with pytest.raises(SkerryError, match="checksum"):
        await client.last(LOG.name, "log.test.>")
    await log.forget()
    assert await asyncio.to_thread(lambda: list(log.read())) == []
    with pytest.raises(SkerryError) as large:
        await log.append(bytes((1 << 20) + 1))
    assert large.value.problem is TOO_LARGE


async def test_the_servers_leader_is_killed_and_nothing_acknowledged_is_lost(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    info = await nodes.buses["se-1"].inside().api(f"STREAM.INFO.{STREAM.name}")
    leader = info["cluster"]["leader"]
    writer = next(name for name in EU if name != leader)
    leases = nodes.leases(writer)
    lease = await leases.acquire("counted", writer, 60)
    acknowledged = 0
    victim = nodes.buses[leader].server
    assert victim is not None
    killed_at = 40
    after = 0

    async def write() -> bool:
        nonlocal lease, acknowledged, after
        try:
            lease = await leases.renew(lease, 60, (str(acknowledged + 1),))
        except SkerryError as error:
            assert error.problem.temporary or error.problem is CONFLICT, error
            return False
        acknowledged += 1
        if acknowledged == killed_at:
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
        return acknowledged >= killed_at + 40

    await until(write)
    for name in EU:
        if name != leader:
            found = await nodes.leases(name).current("counted")
            assert found is not None
            assert found.replicas == (str(acknowledged),)
            assert found.epoch == lease.epoch

    async def back() -> bool:
        try:
            found = await nodes.leases(leader).current("counted")
        except SkerryError:
            return False
        return found is not None and victim.starts == 2

    await until(back)
    assert "eof_received" not in caplog.text, "asyncio's remark on it means nothing"


async def test_a_node_that_is_cut_off_stops_serving_and_its_lease_passes(nodes: Nodes) -> None:
    clock = BootClock()
    one, other = nodes.leases("de-1"), nodes.leases("se-1")
    tenure = Tenure(one, clock, await one.acquire("cut", "de-1", 2.0))
    keeping = asyncio.ensure_future(tenure.keep())
    await other.current("cut")
    server = nodes.buses["de-1"].server
    assert server is not None
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    taken = None
    try:

        async def take() -> bool:
            nonlocal taken
            try:
                taken = await other.acquire("cut", "se-1", 30)
            except SkerryError:
                return False
            assert not tenure.may_serve()
            return True

        await until(take)
        await keeping
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert taken is not None
    assert taken.epoch == tenure.lease.epoch + 1

    async def fenced() -> bool:
        try:
            await one.renew(tenure.lease, 2.0)
        except SkerryError as error:
            return error.problem is FENCED
        raise AssertionError("an old holder renewed its lease")

    await until(fenced)


async def revoke_one(nodes: Nodes) -> None:
    """Have two members left; it changes nothing if that is so."""
    nodes.strangers |= {frozenset(("fi-1", other)) for other in nodes.buses if other != "fi-1"}
    for name in ("se-1", "de-1", "us-1"):
        await nodes.buses[name].refresh()
    await settled(nodes, "se-1", "de-1")


async def test_a_node_that_is_revoked_gets_nothing_any_more(nodes: Nodes) -> None:
    await revoke_one(nodes)
    leases = nodes.leases("se-1")

    async def written() -> bool:
        try:
            await leases.acquire("after", "se-1", 30)
        except SkerryError:
            return False
        return True

    await until(written)
    for name in ("se-1", "de-1"):
        held = await nodes.buses[name].audit()
        assert "fi-1" not in {each.name for each in held.connections}
        assert all("fi-1" not in each.copies for each in held.streams)
    with pytest.raises(SkerryError):
        await nodes.leases("fi-1").current("after")
    for file in (nodes.top / "fi-1" / "bus").rglob("*"):
        assert not file.is_file() or b"after" not in file.read_bytes()


async def test_a_node_that_comes_is_let_in_while_the_others_go_on(nodes: Nodes) -> None:
    await revoke_one(nodes)
    pids = {name: nodes.buses[name].server for name in ("se-1", "de-1")}
    before = {name: server.pid for name, server in pids.items() if server is not None}
    new = nodes.add("fr-1", "EU")
    nodes.strangers |= {frozenset(("fr-1", other)) for other in ("fi-1", "us-1")}
    for name in before:
        await nodes.buses[name].refresh()
    await new.start()
    await settled(nodes, "fr-1", "se-1", "de-1")

    async def written() -> bool:
        try:
            await nodes.leases("fr-1").acquire("newcomers", "fr-1", 30)
        except SkerryError as error:
            assert error.problem.temporary, error
            return False
        return True

    await until(written)
    assert {name: nodes.buses[name].server.pid for name in before} == before  # type: ignore[union-attr]

    async def copied() -> bool:
        await nodes.buses["se-1"]._ensure_streams()
        held = await nodes.buses["fr-1"].audit()
        return "newcomers" in held.apps

    await until(copied)
