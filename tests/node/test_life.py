"""A node's own life: started once, killed at any moment, and never held up by the clock."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from skerry.app import kinds
from skerry.kernel import commands as c
from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import ALREADY_RUNNING, ENGINE_FAILED, SkerryError
from skerry.node import supervisor
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.node.scheduler import Scheduler
from skerry.testing.nodes import _no_api, deploy, perform, running_node

HELLO = {"hello": kinds()["hello"]}
TOML = '[app]\nname = "news"\n[hello.guests]\n'

_NODE = """
import asyncio, sys
from pathlib import Path
from skerry.app import kinds
from skerry.testing.nodes import deploy, perform, running_node

async def main():
    async with running_node({"hello": kinds()["hello"]}, Path(sys.argv[1])) as node:
        await deploy(node, {"skerry.toml": sys.argv[2]})
        for _ in range(3):
            await perform(node, "hello.greet", name="guests", app="news", guest="ada")
        (node.home.volume / "leftover").mkdir()
        pids = [r.child.pid for cell in node.supervisor.awake() for r in cell.running()]
        print(node.supervisor._processes._zygote.pid, *pids, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_kill_9_of_the_node_takes_its_children_and_loses_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="skr-") as made:
        Path(made).chmod(0o711)
        home = Path(made, "h")
        command = [sys.executable, "-c", _NODE, str(home), TOML]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            pids = [int(each) for each in process.stdout.readline().split()]
            assert len(pids) == 2
            process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(10):
            while any(Path(f"/proc/{pid}/cmdline").exists() and alive(pid) for pid in pids):
                await asyncio.sleep(0.02)
        async with running_node(HELLO, home) as node:
            assert "leftover" not in node.volume.names()
            used = await perform(node, "node.meter", app="news")
            assert {(each.unit, each.amount) for each in used} >= {("greetings", 3)}
            assert node.ledger.balanced()
            greeted = await perform(node, "hello.greet", name="guests", app="news", guest="ada")
            assert greeted.times == 4
            await check_misspelt_names(node)


async def check_misspelt_names(node: Node) -> None:
    for wrong in ({"app": "nws"}, {"app": "news", "branch": "mian"}):
        with pytest.raises(SkerryError) as meter:
            await perform(node, "node.meter", **wrong)
        assert meter.value.code == "NOT_FOUND"
        assert "Did you mean" in meter.value.why
    dispatcher = Dispatcher(node)
    logs = dispatcher.commands["node.logs"]
    with pytest.raises(SkerryError, match="no resource guest "):
        [each async for each in dispatcher.stream(logs, c.Logs(app="news", source="guest"))]
    for source in ("guests", "engines"):
        [each async for each in dispatcher.stream(logs, c.Logs(app="news", source=source))]


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7878"),
        ("0.0.0.0", "http://127.0.0.1:7878"),
        ("::", "http://[::1]:7878"),
        ("2001:db8::1", "http://[2001:db8::1]:7878"),
    ],
)
def test_a_url_leads_to_the_node(host: str, url: str, tmp_path: Path) -> None:
    node = Node(Options(home=tmp_path), HELLO, lambda _: cast(Any, None))
    node.host, node.http_port = host, 7878
    assert node.url == url


async def test_a_wire_whose_usual_port_is_taken_has_another(tmp_path: Path) -> None:
    kind = next(each for each in kinds().values() if any(wire.front for wire in each.wires))
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        wires = tuple(replace(wire, port=taken) if wire.front else wire for wire in kind.wires)
        manifests = {kind.name: replace(kind, wires=wires)}
        names = [wire.name for wire in wires if wire.front]
        node = Node(Options(home=tmp_path / "h", http_port=0), manifests, lambda _: _no_api)
        await node.start()
        try:
            assert taken not in [node.ports[name] for name in names]
        finally:
            await node.stop()
        said = dict.fromkeys(names, taken)
        node = Node(
            Options(home=tmp_path / "h", http_port=0, ports=said), manifests, lambda _: _no_api
        )
        with pytest.raises(SkerryError, match=f"Port {taken}"):
            await node.start()


async def test_a_home_has_one_node() -> None:
    async with running_node(HELLO) as node:
        other = Node(Options(home=node.home.root, http_port=0), HELLO, node._make_api)
        with pytest.raises(SkerryError) as refused:
            await other.start()
        assert refused.value.problem is ALREADY_RUNNING
        assert str(os.getpid()) in refused.value.what
        await deploy(node, {"skerry.toml": TOML})


class FakeClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)

    def now(self) -> int:
        return int(self.at.timestamp() * NANOSECONDS)

    def monotonic(self) -> float:
        return 0.0


async def test_each_minute_is_looked_at_once_however_the_clock_jumps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    scheduler = Scheduler(
        cast(Any, SimpleNamespace(apps={})), {}, cast(Any, None), cast(Any, None), clock
    )
    looked: list[str] = []

    def due(minute: datetime) -> list[Any]:
        looked.append(f"{minute:%H:%M}")
        return []

    monkeypatch.setattr(scheduler, "due", due)
    jumps = [1, 0, 1, -2, 1, 1, 1, 30, -10, 9, 1, 1, -180, 1]
    for minutes in jumps:
        clock.at += timedelta(minutes=minutes)
        scheduler.tick()
    assert looked == ["12:01", "12:02", "12:03", "12:33", "12:34", "09:34", "09:35"]


async def test_what_cannot_be_found_out_does_not_stop_the_scheduler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    scheduler = Scheduler(
        cast(Any, SimpleNamespace(apps={})), {}, cast(Any, None), cast(Any, None), clock
    )
    calls = 0

    def due(minute: datetime) -> list[Any]:
        nonlocal calls
        calls += 1
        raise ValueError("a defect")

    monkeypatch.setattr(scheduler, "due", due)
    for _ in range(2):
        clock.at += timedelta(minutes=1)
        scheduler.tick()
    assert calls == 2


async def test_a_process_whose_list_of_users_was_replaced_starts_anew_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_node(HELLO) as node:
        await deploy(node, {"skerry.toml": TOML})
        old = await node.supervisor.wake("news", "main", "guests")

        async def refuse(*_: Any, **__: Any) -> Any:
            raise ENGINE_FAILED("initdb cannot run.")

        call = old.channel.call

        async def ready_fails(name: str, *args: Any, **more: Any) -> Any:
            return await (refuse() if name == "ready" else call(name, *args, **more))

        monkeypatch.setattr(old.channel, "call", ready_fails)
        with pytest.raises(SkerryError, match="initdb"):
            await node.supervisor.ready("news", "main", "guests")
        assert node.supervisor.running("news", "main", "guests") is old
        monkeypatch.setattr(supervisor, "accounts_mark", lambda: (1, 1))
        new, _ = await node.supervisor.ready("news", "main", "guests")
        assert new is not old
        assert old.child.ended.done()
        monkeypatch.setattr(new.channel, "call", refuse)
        with pytest.raises(SkerryError, match="initdb"):
            await node.supervisor.ready("news", "main", "guests")
        assert node.supervisor.running("news", "main", "guests") is new
        monkeypatch.undo()
