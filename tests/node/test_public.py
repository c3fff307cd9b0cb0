"""A web server in front of the node: what it says of clients, and which addresses they are told."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from skerry.app import kinds
from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import Address
from skerry.node.dispatcher import Dispatcher
from skerry.node.home import NodeConfig
from skerry.node.node import Node
from skerry.node.public import public_of
from skerry.surfaces.web import make_web
from skerry.testing.nodes import deploy, open_directory, perform, running_node

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

DOMAIN = "cloud.example.org"
CONFIG = f'domain = "{DOMAIN}"\npublic-url = "https://{DOMAIN}"\n'
WEB = """
async def app(scope, receive, send):
    text = f"{scope['scheme']} {scope['client'][0]}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""
APP = '[app]\nname = "shop"\n[functions.web]\nentry = "web:app"\n[bucket.media]\n[sqlite.db]\n'
SAID = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.1, 203.0.113.9"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    with open_directory() as made:
        (made / "config.toml").write_text(CONFIG)
        async with running_node(kinds(), home=made, make_api=_web) as node:
            await deploy(node, {"skerry.toml": APP, "web.py": WEB})
            yield node


def _web(node: Node) -> Any:
    return make_web(Dispatcher(node))


async def ask(node: Node, host: str, headers: dict[str, str], path: str = "/") -> Any:
    def answered() -> Any:
        asked = urllib.request.Request(f"{node.url}{path}", headers={"Host": host, **headers})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.headers, answer.read().decode()

    return await asyncio.to_thread(answered)


async def test_a_function_sees_the_client_of_the_web_server(node: Node) -> None:
    host = f"shop.{DOMAIN}"
    assert (await ask(node, host, SAID))[1] == "https 203.0.113.9", "the last is what it saw itself"
    assert (await ask(node, host, {}))[1] == "http 127.0.0.1"
    forged = {"X-Forwarded-For": "<script>, (unknown)", "X-Forwarded-Proto": "gopher"}
    assert (await ask(node, host, forged))[1] == "http 127.0.0.1"


async def test_the_consoles_cookies_are_for_tls_alone(node: Node) -> None:
    token = (node.home.keys / "token").read_text().strip()
    for headers, secure in ((SAID, True), ({}, False)):

        def log_in(headers: dict[str, str] = headers) -> str:
            asked = urllib.request.Request(
                f"{node.url}/login",
                data=f"token={token}".encode(),
                headers={"Host": DOMAIN, **headers},
            )
            opener = urllib.request.build_opener(_Stay)
            with opener.open(asked, timeout=20) as answer:
                return str(answer.headers["set-cookie"])

        cookie = await asyncio.to_thread(log_in)
        assert ("Secure" in cookie) is secure


class _Stay(urllib.request.HTTPRedirectHandler):
    def http_error_303(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any) -> Any:
        return fp


async def test_clients_are_told_its_address(node: Node) -> None:
    assert node.url_of("shop", "main") == f"https://shop.{DOMAIN}/"
    found = await perform(node, "resource.connect", name="media", app="shop", branch="main")
    assert found.fields["url"] == f"https://{DOMAIN}"
    assert found.fields["host_url"] == f"https://media--main--shop.{DOMAIN}"
    assert found.fields["port"] == "443"
    found = await perform(node, "resource.connect", name="db", app="shop", branch="main")
    assert found.fields["socket_url"].startswith(f"wss://{DOMAIN}/@shop/")


async def test_without_one_nobody_is_believed() -> None:
    assert public_of(NodeConfig()).proxies == frozenset()
    assert (
        public_of(NodeConfig()).host_url("shop", "localhost", 7878) == "http://shop.localhost:7878"
    )
    port = public_of(NodeConfig(domain="a.example", public_url="https://a.example:8443/"))
    assert (port.host_url("shop", "a.example", 1), port.port(1)) == (
        "https://shop.a.example:8443",
        8443,
    )
    assert (
        Address("http://[::1]:7878", "x.localhost", 7878, {}).host_url == "http://x.localhost:7878"
    )


@pytest.mark.parametrize(
    ("url", "proxies", "said"),
    [
        ("cloud.example.org", (), "no address like"),
        ("ftp://cloud.example.org", (), "no address like"),
        ("https://cloud.example.org/skerry", (), "no address like"),
        ("https://user@cloud.example.org", (), "no address like"),
        ("https://cloud.example.org:port", (), "are no addresses"),
        ("https://other.example.org", (), "names other.example.org"),
        ("https://cloud.example.org", ("proxy.local",), "are no addresses"),
    ],
)
async def test_what_is_no_address_is_refused(url: str, proxies: tuple[str, ...], said: str) -> None:
    config = NodeConfig(domain=DOMAIN, public_url=url, proxies=proxies)
    with pytest.raises(SkerryError, match=said):
        public_of(config)
