"""A node of its own without any network, to drill on: `python -m skerry.node.drill.apart`.

It reads an `Order` (JSON) from standard input, enters a network namespace that has nothing but a
loopback, starts a node in a folder of the order, deploys and imports the app, wakes it, exports it,
and writes a `Result` (JSON) as the last line. The clock of each run may be ahead, as after so many
days without a connection.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import NANOSECONDS, SystemClock
from skerry.kernel.commands import Deploy, Import, OfBranch, SecretSet
from skerry.kernel.errors import SkerryError
from skerry.kernel.manifest import read_manifests
from skerry.node.dispatcher import Dispatcher
from skerry.node.drill.copies import Digests, export_to
from skerry.node.node import Node, Options
from skerry.node.sandbox.network import leave

DAY = 86_400 * NANOSECONDS


class Order(msgspec.Struct, frozen=True):
    """What to drill: a folder with `code/` and `state.tar`, what the node is, the app's secrets."""

    folder: str
    node: str
    country: str
    owner: str
    app: str
    kinds: tuple[str, ...]
    secrets: dict[str, str]
    days: tuple[int, ...] = (0,)

    def __repr__(self) -> str:
        return f"Order({self.app}, {self.days})"


class Result(msgspec.Struct, frozen=True):
    """What came out: the exports of each run, what the world looked like, or why it failed."""

    runs: tuple[Digests, ...] = ()
    reached: bool = False
    isolated: bool = False
    failure: str = ""


class _Ahead(SystemClock):
    """A clock that is some days ahead."""

    def __init__(self, days: int) -> None:
        self._days = days

    def now(self) -> int:
        """See `Clock.now`."""
        return super().now() + self._days * DAY


def enter() -> bool:
    """Enter a network namespace with nothing but a loopback; False if the machine forbids it."""
    if sys.platform != "linux":
        return False
    try:
        leave()
    except OSError:
        return False
    return True


def reaches_anything() -> bool:
    """Tell whether a packet could leave: whether any route leads out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        try:
            made.connect(("192.0.2.1", 9))
        except OSError:
            return False
    return True


async def run(order: Order) -> tuple[Digests, ...]:
    """Run the node once for every number of days ahead; return what each exported."""
    found = []
    for number, days in enumerate(order.days):
        found.append(await _once(order, days, first=number == 0))
    return tuple(found)


async def _once(order: Order, days: int, *, first: bool) -> Digests:
    folder = Path(order.folder)
    manifests = read_manifests(order.kinds)
    ports = {wire.name: 0 for each in manifests.values() for wire in each.wires if wire.front}
    home = folder / "h"
    home.mkdir(exist_ok=True)
    said = {"country": order.country, "owner": order.owner}
    lines = [f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in said.items()]
    (home / "config.toml").write_text("".join(lines))
    options = Options(home=home, http_port=0, ports=ports, name=order.node)
    node = Node(options, manifests, lambda _: _no_api, clock=_Ahead(days))
    await node.start()
    try:
        if first:
            await _fill(node, order, folder)
        dispatcher = Dispatcher(node)
        wake = dispatcher.commands["branch.wake"]
        await dispatcher.perform(wake, OfBranch(app=order.app))
        branch = node.catalogue.branch(order.app, "main")
        _, digests = await export_to(node, branch, folder, f"out-{days}")
        return digests
    finally:
        await node.stop()


async def _fill(node: Node, order: Order, folder: Path) -> None:
    """Deploy the app's code and import its state."""
    dispatcher = Dispatcher(node)
    for name, value in order.secrets.items():
        command = dispatcher.commands["secret.set"]
        await dispatcher.perform(command, SecretSet(name, value, order.app))
    upload = await node.archives.receive(_packed(folder / "code", folder / "code.tar"))
    await dispatcher.perform(dispatcher.commands["app.deploy"], Deploy(upload))
    upload = await node.archives.receive(_read(folder / "state.tar"))
    command = dispatcher.commands["resource.import"]
    await dispatcher.perform(command, Import(upload, order.app))


async def _packed(folder: Path, archive: Path) -> AsyncIterator[bytes]:
    with tarfile.open(archive, "w") as file:
        file.add(folder, arcname=".")
    async for chunk in _read(archive):
        yield chunk


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


async def _no_api(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Do what the order says."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    result = Result()
    if enter():
        reached = reaches_anything()
        try:
            runs = asyncio.run(run(order))
            result = Result(runs=runs, isolated=True, reached=reached)
        except (SkerryError, OSError, ExceptionGroup) as error:
            why = getattr(error, "why", "")
            result = Result(isolated=True, reached=reached, failure=f"{error} {why}".strip())
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(result) + b"\n")


if __name__ == "__main__":
    main()
