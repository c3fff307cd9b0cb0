"""The words and the pages of policy, audit, report and drills on a real node."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import DENIED, INVALID, NOT_FOUND, SkerryError
from skerry.kernel.manifest import read_manifests
from skerry.kernel.service import read_services
from skerry.node.audit.note import Checkpoint, Verifier, parse_note
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.web import make_web
from skerry.testing.nodes import deploy, open_directory, perform

EU = '[app]\nname = "paper"\n[hello.book]\n[policy]\njurisdiction = ["EU"]\n'
SERVICES = [f"skerry.node.{name}" for name in ("audit", "drill", "policy", "sovereignty")]
FACTS = """
[[fact]]
subject = "provider/mine"
name = "owner"
value = "<b>Mine</b>"
"""


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    with open_directory() as made:
        home = made / "h"
        home.mkdir()
        (home / "config.toml").write_text('country = "SE"\nowner = "Kust AB"\n')
        (home / "facts.toml").write_text(FACTS)
        async with running(home) as found:
            await deploy(found, {"skerry.toml": EU})
            yield found


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[Node]:
    options = Options(home=home, http_port=0, name="test-node", volume_driver="copy")
    kinds = read_manifests(["skerry.kinds.hello"])
    services = read_services(SERVICES)
    node = Node(options, kinds, lambda made: make_web(Dispatcher(made)), services)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def test_explain_names_rule_fact_evidence_and_date(node: Node) -> None:
    found = await perform(
        node, "policy.explain", action="backup:send", app="paper", provider="ovhcloud", country="CA"
    )
    assert (found.decision.allowed, found.decision.rule) == (False, "jurisdiction")
    text = found.draw(80)
    assert "refused at provider/ovhcloud" in text
    assert re.search(r"country = CA  \[declared \d{4}-\d\d-\d\d; whoever asked\]", text)
    assert "adequacy decision 2002/2/EC, only for commercial" in text and "cnpd.public.lu" in text
    assert found.exit_code == 4
    typo = await perform(node, "policy.explain", action="backup:sned", app="paper")
    assert "Did you mean backup:send?" in typo.draw(80) and not found.note
    here = await perform(node, "policy.explain", action="resource:wake", app="paper")
    assert here.exit_code == 0 and "node/test-node" in here.draw(80)
    with pytest.raises(SkerryError) as raised:
        await perform(node, "policy.explain", action="a:b", app="paper", country="SE")
    assert raised.value.problem is INVALID


async def test_check_of_a_file_and_of_what_runs(node: Node) -> None:
    found = await perform(node, "policy.check")
    assert [(each.app, each.allowed) for each in found.findings] == [("paper", True)]
    assert "hetzner (DE)" in found.findings[0].providers
    assert "aws (US)" not in found.findings[0].providers
    outside = EU.replace('"EU"', '"CH"')
    found = await perform(node, "policy.check", file=outside)
    assert found.exit_code == 4 and '@id("jurisdiction")' in found.draw(80)
    with pytest.raises(SkerryError) as raised:
        await perform(node, "policy.check", file=EU.replace('"EU"', '"UK"'))
    assert "Did you mean GB?" in raised.value.why
    wrong = (
        EU + "cedar = 'forbid(principal, action, resource) when { resource.contry == \"SE\" };'\n"
    )
    with pytest.raises(SkerryError) as raised:
        await perform(node, "policy.check", file=wrong)
    assert "contry" in raised.value.why


async def test_expected_decisions_are_tried(node: Node) -> None:
    cases = """
    [[case]]
    action = "backup:send"
    provider = "elastx"
    expect = "allow"
    [[case]]
    name = "no prompts to the US"
    action = "models:route"
    provider = "openai"
    expect = "allow"
    """
    found = await perform(node, "policy.test", file=cases, app="paper")
    assert [each.ok for each in found.outcomes] == [True, False]
    assert found.exit_code == 1 and "FAIL no prompts to the US" in found.draw(80)
    for text in ("", "case = 3", "[[case]]\naction = 'a:b'\nexpect = 'perhaps'"):
        with pytest.raises(SkerryError) as raised:
            await perform(node, "policy.test", file=text, app="paper")
        assert raised.value.problem is INVALID


async def test_places_facts_and_reload(node: Node) -> None:
    places = {each.place: each for each in await perform(node, "policy.places", app="paper")}
    assert places["node/test-node"].may == "yes"
    assert places["provider/aws-eusc"].reach == "DE, US"
    assert places["provider/hetzner"].may == "in DE, FI"
    assert places["provider/cloudflare"].may == "no: jurisdiction"
    facts = await perform(node, "policy.facts", subject="provider/hetzner")
    assert {fact.name for fact in facts} >= {"owner", "seat", "controllers", "affiliates", "sites"}
    with pytest.raises(SkerryError) as raised:
        await perform(node, "policy.facts", subject="provider/hetzer")
    assert raised.value.problem is NOT_FOUND and "hetzner" in raised.value.why
    node.home.facts.write_text(
        '[[fact]]\nsubject = "node/test-node"\nname = "country"\nvalue = "US"\n'
    )
    await perform(node, "policy.reload")
    with pytest.raises(SkerryError) as raised:
        await perform(node, "branch.wake", app="paper")
    assert raised.value.problem is DENIED, "config.toml and facts.toml contradict each other"
    assert "contradict" in raised.value.why
    await perform(node, "app.delete", app="paper")


async def test_a_cedar_file_is_part_of_the_version(node: Node) -> None:
    toml = '[app]\nname = "strict"\n[hello.book]\n[policy]\ncedar_file = "rules.cedar"\n'
    rules = "permit(principal, action, resource) when { resource.here };"
    with pytest.raises(SkerryError) as raised:
        await deploy(node, {"skerry.toml": toml})
    assert "no file rules.cedar" in raised.value.what
    with pytest.raises(SkerryError):
        await deploy(node, {"skerry.toml": toml.replace("rules", "../rules"), "rules.cedar": rules})
    await deploy(node, {"skerry.toml": toml, "rules.cedar": rules})
    assert node.catalogue.app("strict").versions[1].spec.policy.cedar == rules
    await perform(node, "branch.wake", app="strict")


async def test_looking_leaves_no_entry(node: Node) -> None:
    await perform(node, "policy.check")
    before = await perform(node, "audit.entries", lines=1000)
    await perform(node, "policy.places")
    assert await perform(node, "audit.entries", lines=1000) == before


async def ask(node: Node, method: str, path: str, **headers: str) -> tuple[int, str, str]:
    def exchange() -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
        sent = {"Authorization": f"Bearer {node.home.token()}"} | headers
        connection.request(method, path, "{}" if method == "POST" else None, sent)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
        found = (answer.status, answer.getheader("set-cookie") or "", body)
        connection.close()
        return found

    return await asyncio.to_thread(exchange)


PAGES = {
    "/policy": "Where apps may be",
    "/policy?action=backup:send&app=paper&provider=aws&country=US": "<strong>Refused</strong>",
    "/policy?action=backup:send&app=nothing": "There is no app nothing.",
    "/policy?action=models:route&app=paper&provider=mine": "&lt;b&gt;Mine",
    "/audit": "branch deployed: paper/main version 1",
    "/audit?what=catalogue&app=paper": "app created",
    "/audit/1": "c2sp.org/tlog-proof@v1",
    "/sovereignty": "node/test-node",
    "/sovereignty?of=provider/aws": "provider/aws",
    "/sovereignty?of=app/paper": "Places: node/test-node.",
    "/sovereignty?of=provider/nobody": "Nothing is known of nobody.",
    "/drills": "never run",
}


async def test_pages(node: Node) -> None:
    path = json.loads((await ask(node, "POST", "/v1/logins"))[2])["path"]
    _, cookie, _ = await ask(node, "GET", path)
    for page, text in PAGES.items():
        status, _, body = await ask(node, "GET", page, Cookie=cookie.partition(";")[0])
        assert status == 200, page
        assert text in body, page
        assert "<b>Mine</b>" not in body
        assert body.count("<h1>") == 1
        tabs = ("Policy", "Audit", "Sovereignty", "Drills")
        assert page == "/audit/1" or all(f">{tab}</a>" in body for tab in tabs)


async def test_the_report_in_every_form(node: Node) -> None:
    found: Any = await perform(node, "sovereignty.report", provider="aws-eusc", whole=True)
    lines = {line.id: line for part in found.report.parts for line in part.lines}
    assert lines["sov-2.2"].claimed == 3 and lines["sov-2.2"].evidenced == 0
    assert "sov-2.2" in found.draw(80)
    page = await perform(node, "sovereignty.report", format="html")
    assert page.draw(80).startswith("<!doctype html>")
    with pytest.raises(SkerryError):
        await perform(node, "sovereignty.report", provider="aws", app="paper")
    assert len(await perform(node, "sovereignty.criteria")) == 48


async def test_the_log_is_served_as_static_tiles(node: Node) -> None:
    await node.audit.settle()
    status, _, text = await ask(node, "GET", "/audit/log/checkpoint")
    assert status == 200
    assert Checkpoint.parse(parse_note(text).text).origin.startswith("skerry/test-node/")
    size = Checkpoint.parse(parse_note(text).text).size
    status, _, key = await ask(node, "GET", "/audit/log/key")
    assert Verifier.parse(key) in parse_note(text).verified([Verifier.parse(key)])
    status, _, bundle = await ask(node, "GET", f"/audit/log/tile/entries/000.p/{size}")
    assert status == 200 and "app-created" in bundle
    assert (await ask(node, "GET", "/audit/log/tile/0/001"))[0] == 404
    for path in ("past.ndjson", "../../keys/node.key", "tile/../origin", "checkpoints", ""):
        assert (await ask(node, "GET", f"/audit/log/{path}"))[0] == 404
    assert (await ask(node, "GET", "/audit/log/checkpoint", Authorization="Bearer x"))[0] == 401
    assert (await ask(node, "POST", "/audit/log/checkpoint"))[0] == 405
