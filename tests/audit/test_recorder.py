"""What happens on a node ends in its log, once each, whatever is cut off in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.commands import Nothing
from skerry.kernel.errors import DISK_FULL, SkerryError
from skerry.kernel.manifest import read_manifests
from skerry.kernel.policy import Place, Request, enforce
from skerry.kernel.service import read_services
from skerry.node.audit import recorder
from skerry.node.audit.note import Verifier
from skerry.node.audit.offline import verify
from skerry.node.audit.results import Entry
from skerry.node.audit.service import Verify
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.testing.nodes import deploy, open_directory, perform

APP = '[app]\nname = "paper"\n[hello.book]\n'
SERVICES = ("skerry.node.audit", "skerry.node.policy")


async def _no_api(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def running(home: Path, name: str = "test-node") -> AsyncIterator[Node]:
    options = Options(home=home, http_port=0, name=name, volume_driver="copy")
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
        yield made / "h"


async def entries(node: Node, what: str | None = None) -> list[Entry]:
    found = await perform(node, "audit.entries", what=what, lines=1000)
    assert isinstance(found, list)
    return found


async def said(node: Node, entry: Entry) -> dict[str, Any]:
    found = await perform(node, "audit.show", entry=entry.entry)
    of: dict[str, Any] = found.of
    return of


async def exported(node: Node, path: Path) -> Path:
    dispatcher = Dispatcher(node)
    lines = [
        each.text
        async for each in dispatcher.stream(dispatcher.commands["audit.export"], Nothing())
    ]
    await asyncio.to_thread(path.write_text, "".join(f"{line}\n" for line in lines))
    return path


async def test_who_placed_what_where_and_what_was_deleted(home: Path) -> None:
    async with running(home) as node:
        await deploy(node, {"skerry.toml": APP})
        await perform(node, "branch.create", app="paper", name="pr")
        await perform(node, "branch.delete", app="paper", name="pr")
        changes = [await said(node, each) for each in await entries(node, "catalogue")]
        assert [each["event"] for each in changes] == [
            "app-created",
            "version-added",
            "branch-created",
            "branch-deployed",
            "branch-created",
            "branch-deleted",
        ]
        assert [each["sequence"] for each in changes] == list(range(6))
        book = changes[-1]["resources"][0]
        assert book.startswith("hello/book/") and book == changes[-2]["resources"][0]
        decisions = [await said(node, each) for each in await entries(node, "decision")]
        placed = next(each for each in decisions if each["action"] == "app:place")
        assert placed["principal"] == "operator" and placed["place"] == "test-node"
        assert placed["allowed"] and placed["rules"] == ["here-only"]
        copied = next(each for each in decisions if each["action"] == "branch:create")
        assert (copied["app"], copied["resource"]) == ("paper", "pr")


async def test_a_refusal_is_kept_and_the_same_again_is_counted(home: Path) -> None:
    async with running(home) as node:
        await deploy(node, {"skerry.toml": APP})
        place = Place("aws", "US", "s3.us-east-1.amazonaws.com")
        request = Request("operator", "backup:send", "aws", "paper", "main", place=place)
        for _ in range(20):
            with pytest.raises(SkerryError):
                enforce(node.policy, request)
        kept = [await said(node, each) for each in await entries(node, "decision")]
        refused = [each for each in kept if each["action"] == "backup:send"]
        assert len(refused) == 1
        assert (refused[0]["provider"], refused[0]["country"]) == ("aws", "US")
        assert not refused[0]["allowed"]
    async with running(home) as node:
        kept = [await said(node, each) for each in await entries(node, "decision")]
        again = [each for each in kept if each["action"] == "backup:send"]
        assert again[-1]["repeated"] == 19


async def test_what_was_billed_adds_up_to_the_ledger(home: Path) -> None:
    for _ in range(2):
        async with running(home) as node:
            await deploy(node, {"skerry.toml": APP})
            await perform(node, "branch.wake", app="paper")
    async with running(home) as node:
        billed: dict[tuple[str, str], int] = {}
        for each in await entries(node, "billed"):
            for account, unit, amount in (await said(node, each))["growth"]:
                billed[account, unit] = billed.get((account, unit), 0) + amount
        used = {
            (account, unit): balance.debits
            for account, unit, balance in node.ledger.balances.below()
            if balance.debits
        }
        assert billed == used and billed


async def test_what_a_crash_cut_off_is_caught_up_from_the_catalogue(home: Path) -> None:
    async with running(home) as node:
        await deploy(node, {"skerry.toml": APP})
        await node.audit.settle()
        await asyncio.to_thread(shutil.copytree, node.audit.log.directory, home.parent / "early")
        await perform(node, "branch.create", app="paper", name="pr")
        await perform(node, "app.delete", app="paper")
    directory = home / "services" / "audit"
    await asyncio.to_thread(shutil.rmtree, directory)
    await asyncio.to_thread(shutil.move, home.parent / "early", directory)
    async with running(home) as node:
        changes = [await said(node, each) for each in await entries(node, "catalogue")]
        assert [each["sequence"] for each in changes] == list(range(len(changes)))
        assert changes[-1]["event"] == "app-deleted"
        assert len(changes[-1]["resources"]) == 2, "what was deleted is named, also later"


async def test_export_and_proof_are_verified_without_the_node(home: Path) -> None:
    async with running(home) as node:
        await deploy(node, {"skerry.toml": APP})
        path = await exported(node, home.parent / "log.jsonl")
        key = (await perform(node, "audit.key")).key
        assert Verifier.parse(key).name.startswith("skerry/test-node/")
        proof = await perform(node, "audit.prove", entry=2)
        file = home.parent / "entry.proof"
        file.write_text(proof.text)
    found = verify(Verify(file=str(path), key=key))
    assert (found.findings, found.exit_code) == ((), 0) and found.entries > 5
    assert "intact" in found.draw(80)
    proved = verify(Verify(file=str(file), key=key))
    assert proved.findings == () and proved.record is not None
    assert proved.record["n"] == 2
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("paper", "paler")
    path.write_text("\n".join(lines) + "\n")
    broken = verify(Verify(file=str(path), key=key))
    assert broken.exit_code == 1
    assert any("entry 2 is not the one" in each for each in broken.findings)
    assert "NOT INTACT" in broken.draw(80)


async def test_the_origin_outlives_another_name(home: Path) -> None:
    async with running(home, "first") as node:
        before = node.audit.log.verifier
    async with running(home, "second") as node:
        assert node.audit.log.verifier == before


async def test_two_nodes_witness_a_third_and_see_a_fork(home: Path) -> None:
    async with running(home) as node:
        await node.audit.settle()
        desks = []
        for name in ("one", "two"):
            desk = Desk(home.parent / f"{name}.json", name)
            desk.desk.trust(node.audit.log.verifier)
            node.witnesses.witnesses[desk.verifier.name] = desk
            desks.append(desk)
        await deploy(node, {"skerry.toml": APP})
        found = await perform(node, "audit.witness")
        assert len(found.cosigned) == 2 and found.refused == ()
        await deploy(node, {"skerry.toml": APP})
        proof = await perform(node, "audit.prove", entry=1)
        keys = tuple(str(desk.verifier) for desk in desks)
        file = home.parent / "entry.proof"
        file.write_text(proof.text)
        asked = Verify(file=str(file), key=str(node.audit.log.verifier), witness=keys, least=2)
        found = await asyncio.to_thread(verify, asked)
        assert found.findings == () and len(found.cosigned) == 2 and found.also == ()
        bare = await asyncio.to_thread(verify, Verify(file=str(file)))
        assert bare.cosigned == () and set(bare.also) == set(keys)
        assert "as the file says: --witness" in bare.draw(80)
        assert len(proof.text) < 4096
        node.audit.log.head = node.audit.log.head.__class__(
            node.audit.log.head.origin, node.audit.log.head.size, b"f" * 32
        )
        forked = node.audit.log._signed(node.audit.log.head)
        with pytest.raises(SkerryError):
            desks[0].desk.cosign(desks[0].desk.seen(node.audit.log.head.origin), [], str(forked))


class Desk:
    """A witness in this process, as another node is over the network."""

    def __init__(self, path: Path, name: str) -> None:
        from skerry.kernel.clock import SystemClock
        from skerry.node.audit.note import COSIGNATURE, Signer
        from skerry.node.audit.witness import WitnessDesk

        signer = Signer.make(f"skerry/{name}/witness", name.encode().ljust(32), COSIGNATURE)
        self.desk = WitnessDesk(path, signer, SystemClock())

    @property
    def verifier(self) -> Verifier:
        return self.desk.verifier

    async def seen(self, origin: str) -> int:
        return self.desk.seen(origin)

    async def cosign(self, old: int, proof: Any, checkpoint: str) -> str:
        return self.desk.cosign(old, proof, checkpoint)


async def test_a_full_disk_is_told_and_made_good(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(home) as node:
        await deploy(node, {"skerry.toml": APP})
        await node.audit.settle()
        real = node.audit.log.append

        def full(lines: Any) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(node.audit.log, "append", full)
        with pytest.raises(SkerryError) as raised:
            await node.audit.add("note", {"text": "x"})
        assert raised.value.problem is DISK_FULL
        await perform(node, "branch.create", app="paper", name="pr")
        await asyncio.sleep(0.5)
        monkeypatch.setattr(node.audit.log, "append", real)
        assert await node.audit.add("note", {"text": "y"}) > 0
        events = [json.dumps(await said(node, each)) for each in await entries(node, "catalogue")]
        assert sum('"branch": "pr"' in each for each in events) == 1


async def test_what_is_too_long_for_an_entry_is_cut_and_says_so(home: Path) -> None:
    async with running(home) as node:
        index = await node.audit.add(
            "receipt",
            {"rows": [["x" * 900, number] for number in range(900)], "text": "y" * 90_000, "n": 7},
        )
        found = await perform(node, "audit.show", entry=index)
        assert found.of["cut"] is True and found.of["n"] == 7
        assert found.of["rows"][0][1] == 0
        many = {f"key-{number}": "z" * 200 for number in range(2000)}
        index = await node.audit.add("receipt", {"many": many})
        assert (await perform(node, "audit.show", entry=index)).of["cut"] is True


async def test_decisions_may_come_from_any_thread(home: Path) -> None:
    async with running(home) as node:
        await deploy(node, {"skerry.toml": APP})
        place = Place("elastx", "SE")
        request = Request("operator", "backup:send", "elastx", "paper", "main", place=place)

        def decide() -> None:
            with pytest.raises(SkerryError):
                enforce(node.policy, request)

        await asyncio.to_thread(decide)
        await asyncio.sleep(0.6)
        path = node.audit.log.directory / "checkpoint"
        size = int((await asyncio.to_thread(path.read_text)).splitlines()[1])
        found = [await said(node, each) for each in await entries(node, "decision")]
        assert any(each["action"] == "backup:send" for each in found)
        assert size > 0


async def test_what_the_last_stop_knew_is_not_read_again_unless_it_is_another_log(
    home: Path,
) -> None:
    async with running(home) as node:
        await deploy(node, {"skerry.toml": APP})
    past = home / "services" / "audit" / "past.ndjson"
    first, *rest = past.read_text().splitlines(keepends=True)
    before = json.loads(first)
    async with running(home) as node:
        assert node.audit._past.catalogue_next == before["catalogue_next"] == 4
        changes = await entries(node, "catalogue")
        assert len(changes) == 4
    other = json.dumps({**before, "root": "A" * 43 + "=", "catalogue_next": 0})
    past.write_text("\n".join((other, *rest)))
    async with running(home) as node:
        assert len(await entries(node, "catalogue")) == 4, "the log itself is read then"


async def test_what_the_log_says_is_kept_while_it_grows(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that runs for long and is killed need not read all of it again."""
    monkeypatch.setattr(recorder, "KEPT_ENTRIES", 5)
    past = home / "services" / "audit" / "past.ndjson"
    async with running(home) as node:
        await deploy(node, {"skerry.toml": APP})
        for number in range(12):
            await node.audit.add("receipt", {"n": number})
        await node.audit.settle()
        kept = json.loads(past.read_text().splitlines()[0])
        assert 5 <= kept["size"] <= node.audit.log.head.size
        assert kept["catalogue_next"] == 4
        crashed = past.read_bytes()
    past.write_bytes(crashed)
    async with running(home) as node:
        assert len(await entries(node, "catalogue")) == 4, "each change is told once"
        assert node.audit._past.catalogue_next == 4


class Absent(Desk):
    """A witness that does not answer."""

    async def seen(self, origin: str) -> int:
        raise OSError("no route")


async def test_a_witness_that_does_not_answer_is_named_and_holds_nobody_up(home: Path) -> None:
    async with running(home) as node:
        absent, there = (
            Absent(home.parent / "a.json", "absent"),
            Desk(home.parent / "t.json", "there"),
        )
        there.desk.trust(node.audit.log.verifier)
        for desk in (absent, there):
            node.witnesses.witnesses[desk.verifier.name] = desk
        await deploy(node, {"skerry.toml": APP})
        found = await perform(node, "audit.witness")
        assert found.cosigned == ("skerry/there/witness",)
        assert found.refused == ("skerry/absent/witness: no route",)
