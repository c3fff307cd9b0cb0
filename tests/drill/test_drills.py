"""Each drill on a real node: what it finds, that it can fail, and that its verdict is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.kernel.manifest import read_manifests
from skerry.kernel.policy import Place, Request, enforce
from skerry.kernel.service import read_services
from skerry.node.drill import cut, where
from skerry.node.drill.apart import Result
from skerry.node.drill.copies import changing, unequal
from skerry.node.drill.service import DRILLS, Drilled
from skerry.node.drill.sockets import sockets_of
from skerry.node.drill.verdict import Outcome, Verdict
from skerry.node.node import Node, Options
from skerry.testing.nodes import deploy, open_directory, perform

APP = '[app]\nname = "paper"\n[hello.book]\n'
EU = f'{APP}[policy]\njurisdiction = ["EU"]\n'
CONFIG = 'country = "SE"\nowner = "Kust AB"\n'
SERVICES = tuple(
    f"skerry.node.{name}" for name in ("audit", "drill", "keys", "policy", "sovereignty")
)


async def _no_api(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[Node]:
    options = Options(home=home, http_port=0, name="test-node", volume_driver="copy")
    kinds = read_manifests(["skerry.kinds.hello"])
    node = Node(options, kinds, lambda _: _no_api, read_services(SERVICES))
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


@pytest.fixture
async def home() -> AsyncIterator[Path]:
    with open_directory() as made:
        home = made / "h"
        home.mkdir()
        (home / "config.toml").write_text(CONFIG)
        yield home


@pytest.fixture
async def node(home: Path) -> AsyncIterator[Node]:
    async with running(home) as made:
        yield made


async def drill(node: Node, name: str, **params: Any) -> Drilled:
    found = await perform(node, f"drill.{name}", **params)
    assert isinstance(found, Drilled)
    return found


def failed(found: Drilled) -> list[str]:
    return [step.text for step in found.steps if not step.ok]


async def test_verdicts_are_kept_and_count_as_measured_also_after_a_restart(home: Path) -> None:
    async with running(home) as node:
        await deploy(node, {"skerry.toml": EU})
        found = await drill(node, "export")
        assert (found.verdict, failed(found)) == (Verdict.MET, [])
        shown = await perform(node, "audit.show", entry=found.entry)
        assert (shown.what, shown.of["verdict"]) == ("drill", "met")
    async with running(home) as node:
        last = {each.drill: each for each in await perform(node, "drill.list")}
        assert last["export"].verdict == "met" and last["export"].entry == found.entry
        assert last["keys"].verdict == "never run"
        report = (await perform(node, "sovereignty.report")).report
        lines = {line.id: line for part in report.parts for line in part.lines}
        assert (lines["sov-4.1"].evidenced, lines["sov-4.1"].evidence) == (3, "measured")
        assert lines["sov-4.1"].source == "drill export"


async def test_what_is_measured_where_is_no_better_than_the_country(node: Node) -> None:
    await deploy(node, {"skerry.toml": EU})
    found = await drill(node, "location")
    assert found.verdict is Verdict.PARTLY and found.answers == {"sov-3.4": 5}
    report = (await perform(node, "sovereignty.report")).report
    line = next(each for part in report.parts for each in part.lines if each.id == "sov-3.4")
    assert (line.claimed_seal, line.evidenced_seal) == (4, 0), "the country is only declared"


async def test_residence_finds_a_leak(node: Node) -> None:
    assert (await drill(node, "residence")).verdict is Verdict.NOT_TRIED
    await deploy(node, {"skerry.toml": EU})
    assert (await drill(node, "residence")).verdict is Verdict.MET
    decide = node.placement.decide
    node.placement.decide = lambda request: (  # type: ignore[method-assign]
        decide(request) if request.place is None else decide(Request("x", "a:list", node.name))
    )
    found = await drill(node, "residence")
    assert found.verdict is Verdict.NOT_MET and found.exit_code == 1
    assert "ovhcloud (AU)" in failed(found)[0]


async def test_logs_are_found_verified_and_damage_is_told(node: Node) -> None:
    await deploy(node, {"skerry.toml": APP})
    found = await drill(node, "logs")
    assert found.verdict is Verdict.PARTLY and not failed(found)
    heads = node.audit.log.directory / "checkpoints"
    data = heads.read_bytes().splitlines(keepends=True)
    root = next(at for at, line in enumerate(data) if len(line) == 45)
    data[root] = b"A" * 43 + b"=\n"
    heads.write_bytes(b"".join(data))
    outcome = await drill_outcome(node, "logs")
    assert outcome.verdict is Verdict.NOT_MET


async def drill_outcome(node: Node, name: str) -> Outcome:
    """Run a drill without keeping its verdict."""
    from skerry.node.drill import life

    found = await life.logs(node, None) if name == "logs" else await life.deletion(node, None)
    assert isinstance(found, Outcome)
    return found


async def test_deletion_leaves_a_receipt_and_finds_what_is_left(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deploy(node, {"skerry.toml": APP})
    found = await drill(node, "deletion")
    assert not node.keyring.destroyed, "the drill's own key is not kept as one of an app"
    assert found.verdict is Verdict.PARTLY and not failed(found)
    assert found.answers == {"sov-3.3": 4}
    monkeypatch.setattr(type(node.volume), "delete", lambda self, name: None)
    assert (await drill_outcome(node, "deletion")).verdict is Verdict.NOT_MET


async def test_keys_finds_a_secret_that_lies_open(node: Node) -> None:
    await deploy(node, {"skerry.toml": APP})
    await perform(node, "secret.set", app="paper", name="DOOR", value="open sesame, please")
    found = await drill(node, "keys")
    assert found.verdict is Verdict.NOT_MET
    assert failed(found) == ["keys of 0 of 1 apps are wrapped outside the node; not so paper"]
    assert found.answers == {"sov-3.1": 1}
    (node.home.ledger / "leak.txt").write_text("x open sesame, please x")
    assert len(failed(await drill(node, "keys"))) == 2


async def test_keys_outside_are_tried_at_their_holder(node: Node, tmp_path: Path) -> None:
    await deploy(node, {"skerry.toml": APP})
    await perform(node, "keys.hold", name="usb", file=str(tmp_path))
    await perform(node, "keys.wrap", app="paper", holder="usb")
    found = await drill(node, "keys")
    assert (found.verdict, failed(found)) == (Verdict.PARTLY, [])
    assert found.answers == {"sov-3.1": 3}
    tmp_path.rename(tmp_path.with_name("away"))
    found = await drill(node, "keys")
    assert found.verdict is Verdict.NOT_MET and "is not there" in failed(found)[0]
    tmp_path.with_name("away").rename(tmp_path)


async def test_export_finds_a_difference(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await deploy(node, {"skerry.toml": APP})
    await perform(node, "branch.wake", app="paper")

    from skerry.node.drill import copies, life

    real = copies.export_to
    calls = 0

    async def loses(node: Node, branch: Any, folder: Path, name: str) -> Any:
        nonlocal calls
        calls += 1
        path, digests = await real(node, branch, folder, name)
        return path, dict(list(digests.items())[1:]) if calls == 3 else digests

    monkeypatch.setattr(life, "export_to", loses)
    found = await drill(node, "export")
    assert found.verdict is Verdict.NOT_MET


def test_exports_are_compared_by_what_they_hold() -> None:
    one = {"a": ("1", 1), "b": ("2", 2), "c": ("3", 3)}
    two = {"a": ("1", 1), "b": ("9", 2)}
    assert changing(one, two) == {"b"}
    assert unequal(one, two, set()) == ["b", "c"]
    assert unequal(one, two, {"b", "c"}) == ["c"]
    assert unequal(one, one, set()) == []


async def test_inventories_are_written(node: Node) -> None:
    await deploy(node, {"skerry.toml": APP})
    software = await drill(node, "software")
    assert software.verdict is Verdict.PARTLY and not failed(software)
    text = (node.home.service("drill") / "sbom.json").read_text()
    assert '"CycloneDX"' in text and '"msgspec"' in text
    hardware = await drill(node, "hardware")
    assert hardware.verdict in (Verdict.PARTLY, Verdict.NOT_MET)
    assert (await drill(node, "source")).verdict is Verdict.PARTLY


async def test_exchange_lists_what_was_allowed_to_leave(node: Node) -> None:
    await deploy(node, {"skerry.toml": EU})
    place = Place("elastx", "SE")
    request = Request("operator", "backup:send", str(place), "paper", "main", place=place)
    for _ in range(3):
        enforce(node.policy, request)
    await node.audit.settle()
    flows = await node.audit.ask(where.flows)
    assert [(each["provider"], each["app"], each["times"]) for each in flows] == [
        ("elastx", "paper", 1)
    ]
    assert not failed(await drill(node, "exchange"))
    report = (await perform(node, "sovereignty.report", app="paper")).report
    assert "elastx (SE)" in report.remarks[0]


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs /proc")
async def test_connections_and_listeners_are_seen(node: Node) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http_port)
    found = await asyncio.to_thread(sockets_of, os.getpid())
    assert any(each.listens and each.local_port == node.http_port for each in found)
    assert any(each.remote_port == node.http_port and not each.leaves for each in found)
    writer.close()
    assert (await drill(node, "access")).verdict in (Verdict.MET, Verdict.PARTLY)
    assert (await drill(node, "services")).verdict is Verdict.MET
    reader.feed_eof()


async def test_identity_says_what_is_not_offered(node: Node) -> None:
    found = await drill(node, "identity")
    assert found.verdict is Verdict.NOT_MET and len(failed(found)) == 1


async def test_where_no_namespace_is_allowed_the_cut_is_not_tried(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deploy(node, {"skerry.toml": APP})

    async def forbidden(order: object) -> Result:
        return Result()

    monkeypatch.setattr(cut, "_ask", forbidden)
    found = await drill(node, "disconnect")
    assert (found.verdict, found.exit_code) == (Verdict.NOT_TRIED, 8)
    assert "network namespace" in found.why and found.answers == {}


@pytest.mark.slow
async def test_cut_off_and_90_days_later_a_copy_holds_the_same(node: Node) -> None:
    await deploy(node, {"skerry.toml": EU})
    for name in ("disconnect", "reconnect"):
        found = await drill(node, name)
        if found.verdict is Verdict.NOT_TRIED:
            pytest.skip(found.why)
        assert found.verdict is Verdict.PARTLY, failed(found)
    assert set(node.catalogue.app("paper").branches) == {"main"}, "nothing is left behind"


async def test_one_drill_at_a_time(node: Node) -> None:
    await deploy(node, {"skerry.toml": APP})
    results = await asyncio.gather(
        drill(node, "export"), drill(node, "deletion"), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, SkerryError)]
    assert len(refused) == 1 and refused[0].problem is CONFLICT


def test_at_least_ten_criteria_of_c3a_can_be_run() -> None:
    criteria = {each.criteria.partition(",")[0] for each in DRILLS if each.criteria[:3] == "C3A"}
    assert len(criteria) >= 13
