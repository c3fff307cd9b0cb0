from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.ports import free_port

from skerry.federation.service import SERVICE
from skerry.kernel.manifest import read_manifests
from skerry.kernel.service import read_services
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.installed import kind_packages
from skerry.surfaces.web import make_web
from skerry.testing.nodes import open_directory

assert SERVICE.name == "federation"


@contextlib.asynccontextmanager
async def running(
    home: Path, name: str, country: str = "SE", settings: str = ""
) -> AsyncIterator[Node]:
    home.mkdir(exist_ok=True)
    config = home / "config.toml"
    if not config.exists():
        config.write_text(f'owner = "{name} AB"\ncountry = "{country}"\n{settings}')
    manifests = read_manifests(kind_packages())
    ports = {wire.name: 0 for each in manifests.values() for wire in each.wires if wire.front}
    options = Options(
        home=home,
        http_port=0,
        ports={**ports, "federation": _port(home), "bus": 0, "bus-abroad": 0},
        name=name,
        volume_driver="copy",
    )
    services = read_services(["skerry.federation", "skerry.node.audit", "skerry.node.keys"])
    node = Node(options, manifests, lambda made: make_web(Dispatcher(made)), services)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


def _port(home: Path) -> int:
    """Return the federation port of a node, the same after a restart."""
    file = home / "test-port"
    if not file.exists():
        file.write_text(str(free_port()))
    return int(file.read_text())


@pytest.fixture
def top() -> Iterator[Path]:
    with open_directory() as made:
        yield made
