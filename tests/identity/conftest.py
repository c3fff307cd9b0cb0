"""An identity provider in a process of its own, nodes that take its word, and a browser."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from tests.identity import provider as idp

from skerry.kernel.manifest import read_manifests
from skerry.kernel.service import read_services
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.web import make_web

CALLBACK = "http://127.0.0.1:7878/login/callback"
"""Where the provider sends browsers back to: as if the node stood behind a port of that number."""

SERVICES = ("audit", "drill", "identity", "policy", "token")
CONFIG = """\
country = "SE"
owner = "Kust AB"

[identity]
issuer = "{issuer}"
client-id = "skerry"
client-secret-file = "{secret}"
redirect = "{callback}"
session = "8h"

[identity.groups.admins]

[identity.groups.developers]
app = ["shop"]
verb = ["read", "branch"]
"""


@pytest.fixture(scope="session")
def issuer() -> Iterator[str]:
    """Give the address of a provider."""
    with tempfile.TemporaryDirectory(prefix="skerry-idp-") as folder, serving(folder) as address:
        yield address


@contextlib.contextmanager
def serving(folder: str) -> Iterator[str]:
    """Serve a provider."""
    command = [sys.executable, idp.__file__, folder, CALLBACK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def configure(home: Path, issuer: str) -> None:
    """Write the settings of a node."""
    home.mkdir(exist_ok=True)
    secret = home.parent / "client-secret"
    secret.write_text(idp.SECRET)
    text = CONFIG.format(issuer=issuer, secret=secret, callback=CALLBACK)
    (home / "config.toml").write_text(text)


@contextlib.asynccontextmanager
async def node_at(home: Path) -> AsyncIterator[Node]:
    """Run a node with console and API."""
    kinds = read_manifests(["skerry.kinds.hello"])
    services = read_services(f"skerry.node.{name}" for name in SERVICES)
    options = Options(home=home, http_port=0, name="rock", volume_driver="copy")
    node = Node(options, kinds, lambda made: make_web(Dispatcher(made)), services)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


class Browser:
    """Follows redirects between a node and its provider, as somebody who is logged in there."""

    def __init__(self, client: httpx.AsyncClient, node: Node, who: str) -> None:
        self.client = client
        self._node = node
        self.went: list[str] = []
        client.cookies.set("who", who, domain="127.0.0.1")

    async def go(self, url: str, until: str = "") -> httpx.Response:
        """Open an address, and follow it to where nothing leads on, or to one that begins so."""
        answer = await self._get(urljoin(self._node.url, url))
        for _ in range(8):
            if not answer.is_redirect:
                break
            onward = urljoin(str(answer.url), answer.headers["location"])
            if until and onward.startswith(until):
                self.went.append(onward)
                break
            answer = await self._get(onward)
        return answer

    async def _get(self, url: str) -> httpx.Response:
        self.went.append(url)
        return await self.client.get(url.replace("http://127.0.0.1:7878", self._node.url))


@contextlib.asynccontextmanager
async def browser(node: Node, who: str) -> AsyncIterator[Browser]:
    """Give a browser without a session."""
    async with httpx.AsyncClient(timeout=20) as client:
        yield Browser(client, node, who)
