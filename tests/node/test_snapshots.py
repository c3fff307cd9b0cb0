"""A node that starts from snapshots of its folds is the one that it was, however it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.app import kinds
from skerry.kernel import commands as c
from skerry.kernel.errors import CORRUPT, SkerryError
from skerry.node import node as nodes
from skerry.node.audit.entries import decode
from skerry.node.folded_log import FILE
from skerry.node.node import Node
from skerry.testing.nodes import deploy, open_directory, perform, running_node

HELLO = {"hello": kinds()["hello"]}
TOML = '[app]\nname = "news"\n[hello.guests]\n'

_NODE = """
import asyncio, sys
from pathlib import Path
from skerry.app import kinds
from skerry.node import node as nodes
from skerry.testing.nodes import deploy, perform, running_node

nodes.SNAPSHOT_BYTES = 200

async def main():
    async with running_node({"hello": kinds()["hello"]}, Path(sys.argv[1])) as node:
        await deploy(node, {"skerry.toml": sys.argv[2]})
        for number in range(1000):
            await perform(node, "hello.greet", name="guests", app="news", guest="ada")
            await perform(node, "branch.create", name=f"b{number}", app="news")
            await node.accountant.post()
            print(number, flush=True)

asyncio.run(main())
"""


async def used(node: Node) -> set[tuple[str, str, int]]:
    """Return what was metered of what only greetings move."""
    found: list[c.Usage] = await perform(node, "node.meter", app="news")
    return {(each.account, each.unit, each.amount) for each in found if each.unit == "greetings"}


async def audited(node: Node) -> list[tuple[str, str, tuple[str, ...]]]:
    await node.audit.settle()
    records = [decode(each) for each in await node.audit.ask(lambda log: list(log.entries(0)))]
    return [
        (each.of["event"], each.of.get("branch", ""), tuple(each.of.get("resources", ())))
        for each in records
        if each.what == "catalogue"
    ]


async def test_a_clean_stop_spares_the_next_start_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "STOP_SNAPSHOT_BYTES", 1)
    with open_directory() as made:
        async with running_node(HELLO, made / "h") as node:
            await deploy(node, {"skerry.toml": TOML})
            await perform(node, "branch.create", name="one", app="news")
            await perform(node, "hello.greet", name="guests", app="news", guest="ada")
            record = node.catalogue.record("news", "one", "guests")
        async with running_node(HELLO, made / "h") as node:
            assert node.catalogue_log.folded == node.ledger_log.folded == 0
            await node.catalogue_log.checked()
            assert node.catalogue.record("news", "one", "guests") == record
            assert {amount for _, _, amount in await used(node)} == {1}
            await perform(node, "branch.delete", name="one", app="news")
            told = await audited(node)
            gone = (f"hello/guests/{record.id}",)
            assert told[-1] == ("branch-deleted", "one", gone)
            assert len(told) == node.catalogue_log.head[0], "each change is told once"
            first, *_ = sorted(node.home.catalogue.glob("*.log"))
            whole = first.read_bytes()
            first.write_bytes(whole[:40] + b"x" + whole[41:])
        async with running_node(HELLO, made / "h") as node:
            await node.catalogue_log.checked()
            with pytest.raises(SkerryError) as refused:
                await perform(node, "branch.create", name="two", app="news")
            assert refused.value.problem is CORRUPT
            checks = {each.name: each for each in await perform(node, "node.doctor")}
            assert not checks["catalogue log"].ok
            assert checks["ledger log"].ok


async def test_kill_9_between_snapshots_loses_nothing() -> None:
    after = 5
    with open_directory() as made:
        home = made / "h"
        command = [sys.executable, "-c", _NODE, str(home), TOML]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) == after:
                    break
            process.send_signal(signal.SIGKILL)
        assert (home / "log/catalogue" / FILE).exists(), "one was made while it ran"
        async with running_node(HELLO, home) as node:
            assert node.catalogue_log.folded < node.catalogue_log.head[0]
            branches = node.catalogue.app("news").branches
            assert {f"b{number}" for number in range(after + 1)} <= set(branches)
            ((_, _, greetings),) = await used(node)
            assert greetings >= after + 1
            assert node.ledger.balanced()
            names = [
                branch for event, branch, _ in await audited(node) if event == "branch-created"
            ]
            assert sorted(names) == sorted(branches)
