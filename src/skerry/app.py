"""The composition root: the one place where kinds are discovered and layers are wired together."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal

import uvloop

from skerry.kernel.manifest import Manifest, read_manifests
from skerry.kernel.service import Service, read_services
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces import installed
from skerry.surfaces.web import make_web

OPEN_FILES = 10_240
OPEN_FILES_MAX = 1 << 20


def kinds() -> dict[str, Manifest]:
    """Return the manifest of every kind."""
    return read_manifests(installed.kind_packages())


def services() -> dict[str, Service]:
    """Return the declaration of every service."""
    return read_services(installed.service_packages())


def make_node(options: Options) -> Node:
    """Put a node together."""
    return Node(options, kinds(), lambda node: make_web(Dispatcher(node)), services())


def up(options: Options) -> None:
    """Run a node in the foreground until it is told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    _open_all_files()
    uvloop.run(_serve(options))


def _open_all_files() -> None:
    """Take the open files that the machine allows: each client of the router needs two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls its limit infinite and takes no more than this.
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(options: Options) -> None:
    node = make_node(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, node.request_stop)
    await node.start()
    # What is there by now stays, so the collector need not look at it.
    gc.freeze()
    gc.enable()
    await node.run()
