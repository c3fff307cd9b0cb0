"""Nodes with a market, in this process, each in a home of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kernel.service import read_services
from skerry.market.handler import Handler
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.web import make_web

PACKAGES = ["skerry.market", "skerry.node.workload"]

SDL = """version: "2.0"
services:
  web:
    image: host
    command: ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"]
    env: ["GREETING=hello"]
    expose:
      - port: 8000
        as: 80
        to:
          - global: true
profiles:
  compute:
    web:
      resources:
        cpu: {units: 0.1}
        memory: {size: 128Mi}
        storage: {size: 64Mi}
  placement:
    anywhere:
      pricing:
        web: {denom: uakt, amount: 1000}
deployment:
  web:
    anywhere: {profile: web, count: 1}
"""


@contextlib.asynccontextmanager
async def running(
    home: Path,
    name: str = "tenant",
    port: int = 0,
    *,
    keep: bool = False,
    packages: Sequence[str] = PACKAGES,
) -> AsyncIterator[Node]:
    """Run a node with the market's and the workloads' services.

    Programs outlive their node; at the end they are removed, unless the test starts it again.
    """
    services = read_services(packages)
    ports = {name: 0 for each in services.values() for name in each.ports}
    options = Options(home=home, http_port=port, name=name, volume_driver="copy", ports=ports)
    node = Node(options, {}, lambda made: make_web(Dispatcher(made)), services)
    await node.start()
    try:
        yield node
    finally:
        if not keep:
            await market_of(node).offering.stop()
            for each in await node.workloads.list():
                with contextlib.suppress(SkerryError):
                    await node.workloads.remove(each.id)
        await node.stop()


def market_of(node: Node) -> Handler:
    """Return the handler of a node's market."""
    handler = node.services.handler("market")
    assert isinstance(handler, Handler)
    return handler


async def do(node: Node, command: str, /, **params: Any) -> Any:
    """Carry a command of the market out, as its surfaces do."""
    dispatcher = Dispatcher(node)
    found = dispatcher.commands[f"market.{command}"]
    return await dispatcher.perform(found, msgspec.convert(params, found.params))


async def ask(
    node: Node, method: str, path: str, body: Any = None, host: str = "", **headers: str
) -> tuple[int, str]:
    """Ask the node over HTTP; return status and body."""

    def exchange() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=30)
        sent = ({"Host": host} if host else {}) | headers
        data = json.dumps(body) if body is not None else None
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    return await asyncio.to_thread(exchange)
