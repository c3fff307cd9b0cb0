"""The life of a workload: how it runs, ends, starts again, and outlives its node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from tests.node.workload.scene import (
    ended,
    need,
    open_workloads,
    program,
    run_to_end,
    said,
    shell,
    until,
)

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import SkerryError
from skerry.node.workload import Restart, State, WorkloadInfo
from skerry.node.workload.importing import Importer
from skerry.node.workload.spec import Exit, Mount, Port
from skerry.node.workload.supervisor import Workloads


@pytest.fixture(autouse=True)
async def bwrap(workloads: Workloads) -> None:
    await need(workloads, "bwrap")


class TestEnds:
    async def test_what_it_says_and_how_it_ends(self, workloads: Workloads) -> None:
        info = await run_to_end(
            workloads, shell("echo out; echo err >&2; printf rest; exit 3"), "a"
        )
        assert info.exit is not None
        assert (info.exit.reason, info.exit.code) == ("exited", 3)
        assert await said(workloads, "a") == ["out", "rest"]
        assert await said(workloads, "a", "stderr") == ["err"]

    async def test_a_program_that_is_not_there(self, workloads: Workloads) -> None:
        info = await run_to_end(workloads, program("/no/such/program"), "a")
        assert info.exit is not None
        assert info.exit.reason != "stopped"
        assert not info.exit.clean
        assert "/no/such/program" in " ".join(await said(workloads, "a", "stderr"))

    async def test_a_signal(self, workloads: Workloads) -> None:
        info = await run_to_end(workloads, shell("kill -ABRT $$"), "a")
        assert info.exit is not None
        assert (info.exit.reason, info.exit.code) == ("killed", signal.SIGABRT)

    async def test_stop_asks_first(self, workloads: Workloads) -> None:
        script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
        await workloads.run(shell(script), "a")
        await until_said(workloads, "a", "up")
        info = await workloads.stop_one("a")
        assert info.state == State.ENDED
        assert info.exit is not None
        assert info.exit.reason == "stopped"
        assert await said(workloads, "a") == ["up", "bye"]

    async def test_stop_kills_what_does_not_listen(self, workloads: Workloads) -> None:
        await workloads.run(shell("trap '' TERM; echo up; while :; do sleep 0.05; done"), "a")
        await until_said(workloads, "a", "up")
        info = await workloads.stop_one("a", grace_seconds=0.2)
        assert info.exit is not None
        assert info.exit.reason == "stopped"

    async def test_it_expires_by_its_own_clock(self, workloads: Workloads) -> None:
        expires = time.time_ns() + 2_000_000_000
        info = await run_to_end(workloads, shell("sleep 60", expires=expires), "a")
        assert info.exit is not None
        assert info.exit.reason == "expired"
        assert info.exit.at >= expires

    async def test_the_horizon_moves(self, workloads: Workloads) -> None:
        await workloads.run(shell("sleep 60", expires=time.time_ns() + 3600 * 10**9), "a")
        assert (await workloads.extend("a", None)).expires is None
        await workloads.extend("a", time.time_ns() + 100_000_000)
        info = await ended(workloads, "a")
        assert info.exit is not None
        assert info.exit.reason == "expired"


class TestStartsAgain:
    async def test_after_a_failure_but_not_after_a_good_end(self, workloads: Workloads) -> None:
        script = "n=$(cat n 2>/dev/null || echo 0); echo $((n+1)) > n; echo run $n; exit $((1-n))"
        await workloads.run(shell(script, restart=Restart.ON_FAILURE), "a")
        info = await ended(workloads, "a")
        assert await said(workloads, "a") == ["run 0", "run 1"]
        assert info.restarts == 1
        assert info.exit is not None
        assert info.exit.clean

    async def test_the_disk_stays_and_the_scratch_goes(self, workloads: Workloads) -> None:
        script = "cat /data/kept /tmp/gone; echo x > /data/kept; echo y > /tmp/gone"
        await run_to_end(workloads, shell(script, mounts=(Mount("data", "/data"),)), "a")
        await workloads.restart("a")
        await ended(workloads, "a")
        assert await said(workloads, "a") == ["x"]

    async def test_a_running_one_is_not_started_twice(self, workloads: Workloads) -> None:
        await workloads.run(shell("sleep 60"), "a")
        with pytest.raises(SkerryError) as caught:
            await workloads.restart("a")
        assert caught.value.code == "CONFLICT"
        with pytest.raises(SkerryError) as caught:
            await workloads.run(shell("true"), "a")
        assert caught.value.code == "ALREADY_EXISTS"


class TestOutlivesItsNode:
    async def test_it_goes_on_and_is_found_again(self, root: Path) -> None:
        async with open_workloads(root) as first:
            before = await first.run(shell("while :; do echo tick; sleep 0.05; done"), "a")
        await asyncio.sleep(0.3)
        async with open_workloads(root) as second:
            after = await second.info("a")
            try:
                assert after.state == State.RUNNING
                assert (after.started, after.restarts) == (before.started, 0)
                assert len(await said(second, "a")) >= 4
                stopped = await second.stop_one("a", grace_seconds=0.2)
                assert stopped.state == State.ENDED
            finally:
                await second.remove("a")

    async def test_it_expires_while_there_is_no_node(self, root: Path) -> None:
        expires = time.time_ns() + 2_000_000_000
        async with open_workloads(root) as first:
            await first.run(shell("sleep 60", expires=expires), "a")
        await asyncio.sleep(2.2)
        async with open_workloads(root) as second:
            info = await second.info("a")
            await second.remove("a")
        assert info.exit is not None
        assert info.exit.reason == "expired"

    async def test_a_lost_keeper_is_replaced_while_the_node_lives(
        self, workloads: Workloads
    ) -> None:
        await workloads.run(shell("echo up; sleep 60"), "a")
        await until_said(workloads, "a", "up")
        os.kill(keeper_of(workloads, "a"), signal.SIGKILL)
        info = await until(
            workloads, "a", lambda info: info.state == State.RUNNING and info.restarts == 1
        )
        assert info.exit is None
        await until_said(workloads, "a", "up", times=2)

    async def test_a_keeper_lost_without_a_node_leaves_nothing_behind(self, root: Path) -> None:
        async with open_workloads(root) as first:
            await first.run(shell("echo up; sleep 4711"), "kept")
            await first.run(shell("sleep 4712", expires=time.time_ns() + 3 * 10**9), "over")
            await until_said(first, "kept", "up")
            keepers = [keeper_of(first, name) for name in ("kept", "over")]
        for keeper in keepers:
            os.kill(keeper, signal.SIGKILL)
        await asyncio.sleep(3.0)
        async with open_workloads(root) as second:
            kept = await until(second, "kept", lambda info: info.state == State.RUNNING)
            over = await ended(second, "over")
            await second.remove("kept")
            await second.remove("over")
        assert (kept.state, kept.restarts) == (State.RUNNING, 1)
        assert over.exit is not None
        assert over.exit.reason == "expired"
        assert not processes_that_say("sleep 471")

    async def test_it_ends_when_its_home_is_gone(self, root: Path) -> None:
        async with open_workloads(root) as first:
            await first.run(shell("sleep 4715"), "a")
            keeper = keeper_of(first, "a")
        shutil.rmtree(root)
        async with asyncio.timeout(20):
            while Path(f"/proc/{keeper}").exists():
                await asyncio.sleep(0.05)
        assert not processes_that_say("sleep 4715")

    async def test_half_an_order_is_swept(self, root: Path) -> None:
        (root / "workloads/0123").mkdir(parents=True)
        (root / "workloads/0123/disk.img").touch()
        async with open_workloads(root) as workloads:
            assert await workloads.list() == []
            assert not (root / "workloads/0123").exists()

    async def test_removed_is_removed(self, root: Path) -> None:
        async with open_workloads(root) as workloads:
            await workloads.run(shell("sleep 60"), "a")
            await workloads.remove("a")
            assert await workloads.list() == []
            left = {each.name for each in (root / "workloads").iterdir()}
            assert left <= {".sockets", ".blanks"}


class TestWhere:
    @pytest.mark.skipif(os.geteuid() != 0, reason="who is no root owns the folder anyway")
    @pytest.mark.parametrize("isolation", ["bwrap", "crun", "gvisor", "wasm"])
    async def test_a_home_that_only_root_may_enter(self, root: Path, isolation: str) -> None:
        barred = root / "barred"
        barred.mkdir(mode=0o700)
        async with open_workloads(barred / "a-very-long-name-of-a-folder" / ("x" * 60)) as made:
            await need(made, isolation)
            if isolation == "wasm":
                wasmtime = pytest.importorskip("wasmtime")
                module = barred / "module"
                module.write_bytes(wasmtime.wat2wasm('(module (func (export "_start")))'))
                Importer(made.images, SystemClock()).archive("module", module)
                spec = program(image="module", isolation="wasm")
            else:
                spec = shell("echo here > x; cat x", isolation=isolation)
            info = await run_to_end(made, spec, "a")
            lines = await said(made, "a")
            await made.remove("a")
        assert info.exit is not None
        assert info.exit.clean
        assert lines == ([] if isolation == "wasm" else ["here"])


class TestWatching:
    async def test_use_grows_and_stays(self, workloads: Workloads) -> None:
        burn = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; sleep 1.3"
        info = await run_to_end(workloads, shell(burn), "a")
        assert info.usage.cpu_ms > 0
        units = {each.unit: each.total for each in workloads.known.readings()}
        assert units["cpu_ms"] == info.usage.cpu_ms
        await workloads.restart("a")
        again = await ended(workloads, "a")
        assert again.usage.cpu_ms > info.usage.cpu_ms

    async def test_every_change_is_told(self, workloads: Workloads) -> None:
        seen: list[WorkloadInfo] = []
        workloads.on_change(seen.append)
        await run_to_end(workloads, shell("true"), "a")
        states = [each.state for each in seen]
        assert State.RUNNING in states
        assert states[-1] == State.ENDED

    async def test_lines_are_followed(self, workloads: Workloads) -> None:
        await workloads.run(shell("echo 0; read x < /dev/zero & sleep 0.4; echo 1; echo 2"), "a")
        await until_said(workloads, "a", "0")
        found: list[str] = []
        async with asyncio.timeout(10):
            async for line in workloads.logs("a", lines=1, follow_on=True):
                found.append(line.text)
                if len(found) == 3:
                    break
        assert found == ["0", "1", "2"]

    async def test_a_loud_program_fills_no_disk(self, workloads: Workloads, root: Path) -> None:
        await run_to_end(workloads, shell("yes 0123456789012345678901234567890 | head -c 24M"), "a")
        size = sum(each.stat().st_size for each in root.glob("workloads/*/log*"))
        assert size < 3 * 8 * 1024 * 1024

    async def test_chosen_by_label(self, workloads: Workloads) -> None:
        await workloads.run(shell("sleep 60", labels={"lease": "1"}), "a")
        await workloads.run(shell("sleep 60", labels={"lease": "2"}), "b")
        assert [each.name for each in await workloads.list({"lease": "2"})] == ["b"]
        assert len(await workloads.list()) == 2


class TestSessions:
    async def test_input_output_and_code(self, workloads: Workloads) -> None:
        await workloads.run(shell("sleep 60"), "a")
        session = await workloads.execute("a", ("/bin/sh", "-c", "cat; echo e >&2; exit 4"))
        await session.write(b"some input")
        session.end_input()
        found = {stream: data async for stream, data in session.output()}
        await session.close()
        assert found == {"stdout": b"some input", "stderr": b"e\n"}
        assert session.code == 4

    async def test_a_terminal(self, workloads: Workloads) -> None:
        await workloads.run(shell("sleep 60"), "a")
        session = await workloads.execute("a", ("/bin/sh", "-c", "stty size"), terminal=(31, 77))
        output = b"".join([data async for _, data in session.output()])
        await session.close()
        assert output == b"31 77\r\n"

    async def test_it_ends_with_its_client_and_with_its_workload(
        self, workloads: Workloads
    ) -> None:
        await workloads.run(shell("sleep 60"), "a")
        session = await workloads.execute("a", ("/bin/sleep", "4713"))
        await until_seen("sleep 4713")
        await session.close()
        await until_gone("sleep 4713")
        session = await workloads.execute("a", ("/bin/sleep", "4714"))
        await until_seen("sleep 4714")
        await workloads.stop_one("a", grace_seconds=0.1)
        await until_gone("sleep 4714")
        with contextlib.suppress(SkerryError):
            async for _ in session.output():
                pass
        assert session.code in (None, 137)
        await session.close()
        with pytest.raises(SkerryError) as caught:
            await workloads.execute("a", ("/bin/true",))
        assert caught.value.code == "CONFLICT"


class TestPorts:
    async def test_a_connection_reaches_the_program(self, workloads: Workloads) -> None:
        script = (
            "import socket\n"
            "s = socket.create_server(('127.0.0.1', 7000)); print('up', flush=True)\n"
            "while True:\n"
            "    c, _ = s.accept(); d = b''\n"
            "    while b := c.recv(100000): d += b\n"
            "    c.sendall(d[::-1]); c.close()\n"
        )
        spec = program("/usr/bin/python3", "-I", "-c", script, ports=(Port(7000, "tcp"),))
        info = await workloads.run(spec, "a")
        await until_said(workloads, "a", "up")
        host, _, port = info.ports[0].address.rpartition(":")
        data = os.urandom(300_000)
        for _ in range(3):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(data)
            writer.write_eof()
            assert await reader.read(-1) == data[::-1]
            writer.close()
            await writer.wait_closed()

    async def test_nobody_listens(self, workloads: Workloads) -> None:
        info = await workloads.run(shell("sleep 60", ports=(Port(7001, "tcp"),)), "a")
        host, _, port = info.ports[0].address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    async def test_a_port_that_is_taken_is_a_reason(self, workloads: Workloads) -> None:
        first = await workloads.run(shell("sleep 60", ports=(Port(7001, "tcp"),)), "a")
        taken = int(first.ports[0].address.rpartition(":")[2])
        with pytest.raises(SkerryError, match=str(taken)):
            await workloads.run(shell("sleep 60", ports=(Port(7001, "tcp", taken),)), "b")
        assert [each.name for each in await workloads.list()] == ["a"]


def test_how_an_end_reads() -> None:
    assert Exit("exited", 0).clean
    assert not Exit("exited", 1).clean
    assert not Exit("stopped").clean


async def until_said(workloads: Workloads, name: str, text: str, times: int = 1) -> None:
    async with asyncio.timeout(20):
        while (await said(workloads, name)).count(text) < times:
            await asyncio.sleep(0.02)


def keeper_of(workloads: Workloads, name: str) -> int:
    """Return the process that holds the lock of a workload's keeper."""
    record = workloads.known.find(name)
    inode = record.folder.lock.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    raise AssertionError("no keeper holds the lock")


def processes_that_say(text: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in words and "pytest" not in words:
            found.append(int(path.parent.name))
    return found


async def until_seen(text: str) -> None:
    async with asyncio.timeout(10):
        while not processes_that_say(text):
            await asyncio.sleep(0.02)


async def until_gone(text: str) -> None:
    async with asyncio.timeout(10):
        while processes_that_say(text):
            await asyncio.sleep(0.02)
