"""The composition root: the one place where kinds are discovered and layers are wired together."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import uvloop

from skerry.kernel.manifest import Manifest, read_manifests
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.web import make_web


def kind_packages() -> list[str]:
    """Return the package of every kind: a kind is a folder with a manifest."""
    folder = Path(__file__).parent / "kinds"
    return [f"skerry.kinds.{path.parent.name}" for path in sorted(folder.glob("*/manifest.py"))]


def kinds() -> dict[str, Manifest]:
    """Return the manifest of every kind."""
    return read_manifests(kind_packages())


def make_node(options: Options) -> Node:
    """Put a node together."""
    return Node(options, kinds(), lambda node: make_web(Dispatcher(node)))


def up(options: Options) -> None:
    """Run a node in the foreground until it is told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    uvloop.run(_serve(options))


async def _serve(options: Options) -> None:
    node = make_node(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, node.request_stop)
    await node.start()
    await node.run()
