"""Nodes with the service of backups, and what tests ask of them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.app import kinds, services
from skerry.node.backup.handler import Backup
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.web import make_web
from skerry.testing.nodes import open_directory

SHOP = """\
[app]
name = "shop"

[policy]
outside = "encrypted-only"

[kv.cache]
[sqlite.db]
[bucket.media]
"""
STORE = '[app]\nname = "store"\n\n[bucket.box]\n'


@pytest.fixture(scope="session", autouse=True)
def restic() -> None:
    if shutil.which("restic") is None:
        pytest.skip("restic is not installed: apt-get install restic")


@pytest.fixture
def place() -> Iterator[Path]:
    with open_directory() as made:
        yield made


@contextlib.asynccontextmanager
async def node_at(home: Path, name: str = "home-node") -> AsyncIterator[Node]:
    """Run a node on a home."""
    manifests = kinds()
    ports = {wire.name: 0 for each in manifests.values() for wire in each.wires if wire.front}
    options = Options(home=home, http_port=0, ports=ports, name=name, volume_driver="copy")
    node = Node(options, manifests, lambda made: make_web(Dispatcher(made)), services())
    await node.start()
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
