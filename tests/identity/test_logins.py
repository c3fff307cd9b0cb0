"""Logging in by a real provider: by a browser and a command line, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.identity.conftest import browser, configure, node_at

from skerry.node.drill.verdict import Verdict
from skerry.node.node import Node
from skerry.testing.nodes import deploy, open_directory, perform

APP = '[app]\nname = "{name}"\n[hello.book]\n'


@pytest.fixture
async def node(issuer: str) -> AsyncIterator[Node]:
    with open_directory() as made:
        configure(made / "h", issuer)
        async with node_at(made / "h") as node:
            for name in ("shop", "other"):
                await deploy(node, {"skerry.toml": APP.format(name=name)})
            yield node


async def ask(node: Node, token: str, command: str, **params: str) -> httpx.Response:
    """Ask the API, with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=node.url, headers=headers, timeout=20) as client:
        return await client.post(f"/v1/{command}", json=params)


async def the_first_group_counts_and_none_lets_nobody_in(node: Node, issuer: str) -> None:
    async with browser(node, "grace") as grace, browser(node, "linus") as linus:
        page = await grace.go("/login")
        assert f"Log in at {issuer}" in page.text
        page = await grace.go("/login/provider?next=/apps/shop")
        assert page.status_code == 200 and 'content="0; url=/apps/shop"' in page.text
        assert any("code_challenge_method=S256" in each for each in grace.went)
        assert (await grace.go("/apps/other")).status_code == 200, "an admin sees every app"
        await linus.go("/login/provider")
        assert (await linus.go("/apps/shop")).status_code == 200
        refused = await linus.go("/apps/other")
        assert refused.status_code == 403 and "does not allow" in refused.text
        assert (await linus.go("/node")).status_code == 403, "no app is named: none is allowed"
        csrf = (await linus.go("/apps/shop")).text.partition('name="csrf" value="')[2][:48]
        await linus.client.post(f"{node.url}/logout", data={"csrf": csrf})
        assert (await linus.go("/apps/shop")).url.path == "/login"
        assert (await grace.go("/apps/shop")).status_code == 200, "others stay"
    async with browser(node, "ada") as ada, browser(node, "eve") as eve:
        await ada.go("/login/provider")
        assert (await ada.go("/apps/shop")).status_code == 200, "groups stand in userinfo"
        refused = await eve.go("/login/provider")
        assert refused.status_code == 403 and "no group that may log in" in refused.text
        assert (await eve.go("/apps/shop")).url.path == "/login"
    entries = [each for each in await perform(node, "audit.entries") if each.what == "login"]
    said = [each.said for each in entries]
    assert len(said) == 5, "in: grace, linus, ada; out: linus; refused: eve"
    assert said[0].endswith(f"logged in by {issuer}, in the group admins")
    assert any("was not let in" in each for each in said) and any("out" in each for each in said)


async def a_log_in_belongs_to_one_browser_and_works_once(node: Node) -> None:
    back = "http://127.0.0.1:7878/login/callback"
    async with browser(node, "grace") as grace, browser(node, "eve") as eve:
        await grace.go("/login/provider", until=back)
        callback = grace.went[-1]
        assert (await eve.go(callback)).status_code == 401, "her browser began no log-in"
        assert (await grace.go(callback)).status_code == 401, "and now it is spent"
        await grace.go("/login/provider", until=back)
        state = parse_qs(urlsplit(grace.went[-1]).query)["state"][0]
        forged = await grace.go(f"{back}?code=guessed&state={state}")
        assert forged.status_code == 401 and "does not take the code" in forged.text
        for query in ("", "state=x&code=y", "error=access_denied"):
            assert (await grace.go(f"{back}?{query}")).status_code == 401
        assert (await grace.go("/apps/shop")).url.path == "/login"


async def start_login(node: Node, folder: Path) -> asyncio.subprocess.Process:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder)}
    environment.pop("SKERRY_TOKEN", None)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "skerry", "login", "--print", "--node", node.url),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def skerry(node: Node, folder: Path, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "skerry", *words, "--node", node.url),
        env={**os.environ, "XDG_CONFIG_HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def a_command_line_logs_in_by_a_browser_and_out_again(node: Node, tmp_path: Path) -> None:
    process = await start_login(node, tmp_path)
    assert process.stderr is not None
    said = (await process.stderr.readline()).decode()
    url = said.partition("Open ")[2].strip().removesuffix("\x1b[0m")
    async with browser(node, "linus") as linus:
        arrived = await linus.go(url)
    assert "You are logged in" in arrived.text
    out, _ = await process.communicate()
    assert process.returncode == 0 and b"Logged in" in out
    file = tmp_path / "skerry/logins.json"
    assert file.stat().st_mode & 0o777 == 0o600
    token = json.loads(file.read_bytes())[node.url]
    assert (await ask(node, token, "resource.list", app="shop")).status_code == 200
    assert (await skerry(node, tmp_path, "resource", "list", "--app", "shop"))[0] == 0
    code, text = await skerry(node, tmp_path, "resource", "list", "--app", "other")
    assert code == 4 and "does not allow" in text
    assert (await skerry(node, tmp_path, "logout"))[0] == 0
    refused = await ask(node, token, "resource.list", app="shop")
    assert refused.status_code == 401 and "logged out" in refused.text
    assert (await skerry(node, tmp_path, "resource", "list", "--app", "shop"))[0] == 4


async def codes_for_command_lines_need_their_verifier(node: Node) -> None:
    async with browser(node, "grace") as grace:
        challenge = "A" * 43
        page = await grace.go(f"/login/provider?challenge={challenge}")
        code = page.text.partition('id="code">')[2].partition("<")[0]
        assert len(code) == 48
        await grace.go("/login?code=" + code)
        assert (await grace.go("/apps/shop")).url.path == "/login", "it opens no console"
        answer = await grace.client.post(
            f"{node.url}/login/token", data={"code": code, "verifier": "x"}
        )
        assert answer.status_code == 401
        assert (await grace.go("/login/provider?challenge=short")).status_code == 400


async def test_without_its_provider_a_node_serves_its_operator() -> None:
    with open_directory() as made:
        configure(made / "h", "http://127.0.0.1:9/o")
        async with node_at(made / "h") as node, browser(node, "grace") as grace:
            answer = await grace.go("/login/provider")
            assert answer.status_code == 503 and "does not answer" in answer.text
            token = node.home.token()
            shown = await ask(node, token, "identity.show")
            assert shown.json()["answers"] is False
            checks = {each.name: each for each in await perform(node, "node.doctor")}
            assert not checks["identity"].ok
            found = await perform(node, "drill.identity")
            assert found.verdict is Verdict.NOT_MET and "does not answer" in str(found.steps)


@pytest.mark.slow
async def test_people_log_in_by_their_provider(node: Node, issuer: str, tmp_path: Path) -> None:
    """One node and one provider for all that people do with them."""
    await the_first_group_counts_and_none_lets_nobody_in(node, issuer)
    await a_log_in_belongs_to_one_browser_and_works_once(node)
    await codes_for_command_lines_need_their_verifier(node)
    await a_command_line_logs_in_by_a_browser_and_out_again(node, tmp_path)
    assert (await perform(node, "drill.identity")).verdict is Verdict.MET
    assert (await perform(node, "identity.show")).answers
