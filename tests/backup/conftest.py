"""Nodes with the service of backups, and what tests ask of them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.app import kinds, services
from skerry.kernel.policy import Decision, Request
from skerry.node.backup.handler import Backup
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.web import make_web
from skerry.testing.nodes import open_directory

SHOP = """\
[app]
name = "shop"

[kv.cache]
[sqlite.db]
[bucket.media]
"""
STORE = '[app]\nname = "store"\n\n[bucket.box]\n'


class Allows:
    """A policy that lets backups go to the places it names, and all else happen here."""

    def __init__(self, *places: str) -> None:
        self.places = places
        self.asked: list[Request] = []

    def decide(self, request: Request) -> Decision:
        """See `Policy.decide`."""
        self.asked.append(request)
        allowed = request.action != "backup:send" or request.where in self.places
        return Decision(allowed, "places", f"{request.where} is {'' if allowed else 'not '}named.")


@pytest.fixture(scope="session", autouse=True)
def restic() -> None:
    if shutil.which("restic") is None:
        pytest.skip("restic is not installed: apt-get install restic")


@pytest.fixture
def place() -> Iterator[Path]:
    with open_directory() as made:
        yield made


@contextlib.asynccontextmanager
async def node_at(home: Path, *places: str, name: str = "home-node") -> AsyncIterator[Node]:
    """Run a node on a home; backups may go to the places that are named."""
    manifests = kinds()
    ports = {wire.name: 0 for each in manifests.values() for wire in each.wires if wire.front}
    options = Options(home=home, http_port=0, ports=ports, name=name, volume_driver="copy")
    node = Node(options, manifests, lambda made: make_web(Dispatcher(made)), services())
    await node.start()
    node.policy = node.workshop.policy = Allows(node.name, *places)
    try:
        yield node
    finally:
        await node.stop()


def backup_of(node: Node) -> Backup:
    found = node.services.handler("backup")
    assert isinstance(found, Backup)
    return found


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fields(found: Any) -> dict[str, str]:
    return dict(found.fields)
