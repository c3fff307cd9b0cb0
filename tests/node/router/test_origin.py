"""What shares the console's origin cannot act in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from skerry.kernel.manifest import read_manifests
from skerry.node.node import Node
from skerry.testing.nodes import deploy, running_node

CODE = """
async def fetch(request, env):
    return {"cookie": request.headers.get("cookie", "")}
"""
PAGE = "Sec-Fetch-Dest: document\r\n"


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running_node(read_manifests(["skerry.kinds.functions"])) as running:
        toml = '[app]\nname = "demo"\n[functions.web]\nentry = "web"\n'
        await deploy(running, {"skerry.toml": toml, "web.py": CODE})
        yield running


async def ask(node: Node, path: str, host: str, more: str = "") -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http_port)
    name = f"Host: {host}:{node.http_port}\r\n"
    head = f"GET {path} HTTP/1.1\r\n{name}Connection: close\r\n{more}\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(20):
        answer = (await reader.read()).decode()
    writer.close()
    return answer


async def test_a_browser_is_sent_to_the_apps_own_host(node: Node) -> None:
    answer = await ask(node, "/@demo/main/a?b=c", "127.0.0.1", PAGE)
    assert answer.startswith("HTTP/1.1 307 ")
    assert f"Location: http://web--main--demo.localhost:{node.http_port}/a?b=c\r\n" in answer


async def test_elsewhere_its_page_is_sandboxed(node: Node) -> None:
    for mark in (PAGE, "Upgrade-Insecure-Requests: 1\r\n"):
        answer = await ask(node, "/@demo/main/", "192.0.2.7", mark)
        assert answer.startswith("HTTP/1.1 200 ")
        assert "Content-Security-Policy: sandbox " in answer


async def test_programs_and_own_hosts_are_served_as_they_are(node: Node) -> None:
    for path, host, more in (("/@demo/", "127.0.0.1", ""), ("/", "demo.localhost", PAGE)):
        answer = await ask(node, path, host, more)
        assert answer.startswith("HTTP/1.1 200 ")
        assert "sandbox" not in answer


async def test_no_app_sees_the_consoles_cookie(node: Node) -> None:
    cookies = "Cookie: a=1; skerry-session-7878=secret; b=2\r\n"
    answer = await ask(node, "/@demo/main/", "127.0.0.1", cookies)
    assert answer.endswith('{"cookie":"a=1; b=2"}')
