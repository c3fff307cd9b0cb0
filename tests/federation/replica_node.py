"""A node as a process of its own, with leases in a folder that all nodes of a test share."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from skerry.federation.service import SERVICE
from skerry.kernel.clock import BootClock
from skerry.kernel.errors import CONFLICT, STORE_UNREACHABLE
from skerry.kernel.lease import RegisterLeases, Slot
from skerry.kernel.manifest import read_manifests
from skerry.kernel.service import read_services
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.installed import kind_packages
from skerry.surfaces.web import make_web

assert SERVICE.name == "federation"


class FolderRegister:
    """Compare-and-set on files; a node whose file `cut-<name>` is there does not reach it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._cut = folder / f"cut-{name}"

    def _check(self) -> None:
        if self._cut.exists():
            raise STORE_UNREACHABLE("The store of leases does not answer.")

    async def read(self, subject: str) -> Slot | None:
        self._check()
        path = self._folder / f"{subject}.lease"
        if not path.exists():
            return None
        revision, data = msgspec.msgpack.decode(path.read_bytes(), type=tuple[int, bytes])
        return Slot(data, revision)

    async def write(self, subject: str, data: bytes, revision: int) -> int:
        self._check()
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = await self.read(subject)
            if (found.revision if found else 0) != revision:
                raise CONFLICT("The revision is another one.")
            path = self._folder / f"{subject}.lease"
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(msgspec.msgpack.encode((revision + 1, data)))
            fresh.rename(path)
        return revision + 1

    async def watch(self) -> AsyncIterator[tuple[str, Slot]]:
        for path in self._folder.glob("*.lease"):
            slot = await self.read(path.stem)
            if slot is not None:
                yield path.stem, slot


def make(home: Path, name: str, country: str, port: int, host: str) -> Node:
    manifests = read_manifests(kind_packages())
    ports = {wire.name: 0 for each in manifests.values() for wire in each.wires if wire.front}
    options = Options(
        home=home,
        host=host,
        http_port=0,
        ports={**ports, "federation": port},
        name=name,
        volume_driver="copy",
    )
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(f'owner = "{name} AB"\ncountry = "{country}"\n')
    services = read_services(["skerry.federation", "skerry.node.audit"])
    return Node(options, manifests, lambda made: make_web(Dispatcher(made)), services)


async def serve(
    home: Path, name: str, country: str, port: int, leases: Path, lease_seconds: float, host: str
) -> None:
    node = make(home, name, country, port, host)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, node.request_stop)
    await node.start()
    federation = node.services.handler("federation")
    federation.replicas.lease_seconds = lease_seconds
    federation.leases = RegisterLeases(FolderRegister(leases, name), BootClock())
    (home / "test-http").write_text(str(node.http_port))
    await node.run()


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    place, own, land, number, folder, seconds, host = sys.argv[1:]
    asyncio.run(serve(Path(place), own, land, int(number), Path(folder), float(seconds), host))
