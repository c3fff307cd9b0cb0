"""A lab: one node, and apps with a single resource of the kind that is being proved."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from skerry.kernel.commands import Connections
from skerry.kernel.manifest import Manifest
from skerry.kernel.subject import Place, Subject, WayOut
from skerry.node.cells import Running
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform

RESOURCE = "thing"
SLEEP_SECONDS_MAX = 20.0
_numbers = itertools.count(1)
_log = logging.getLogger(__name__)


@dataclass
class Lab:
    """Makes apps on a node, and subjects that speak to them."""

    node: Node
    manifest: Manifest
    _open: list[Subject] = field(default_factory=list)

    @property
    def subject_type(self) -> type[Subject]:
        """The kind's subject."""
        found: type[Subject] = self.manifest.load(self.manifest.subject)
        return found

    async def app(self, idle: str = "10m", policy: str = "", way: WayOut | None = None) -> str:
        """Deploy an app with one resource, with these terms and a way out; return its name."""
        name = f"app-{next(_numbers)}"
        kind = self.manifest.name
        subject = self.subject_type
        toml = f'[app]\nname = "{name}"\n[{kind}.{RESOURCE}]\nidle = "{idle}"\n{subject.settings}\n'
        if way is not None:
            toml += f"{way.settings}\n"
        for secret, value in way.secrets.items() if way is not None else ():
            await perform(self.node, "secret.set", app=name, name=secret, value=value)
        if policy:
            toml += f"\n[policy]\n{policy}\n"
        await deploy(self.node, {"skerry.toml": toml, **subject.files})
        return name

    async def subject(self, app: str, branch: str = "main") -> Subject:
        """Return a client of a branch's resource."""
        connections = await perform(
            self.node, "resource.connect", name=RESOURCE, app=app, branch=branch
        )
        assert isinstance(connections, Connections)
        place = Place(
            app=app,
            branch=branch,
            name=RESOURCE,
            fields=connections.fields,
            http_port=self.node.http_port,
            ports=self.node.ports,
        )
        subject = self.subject_type(place)
        self._open.append(subject)
        return subject

    async def branch(self, app: str, name: str, source: str = "main") -> Subject:
        """Copy a branch; return a client of the copy."""
        await perform(self.node, "branch.create", app=app, name=name, source=source)
        return await self.subject(app, name)

    def process(self, app: str, branch: str = "main") -> Running | None:
        """Return the process that serves a branch's resource, if it is awake."""
        return self.node.supervisor.running(app, branch, RESOURCE)

    async def asleep(self, app: str, branch: str = "main") -> None:
        """Wait until a branch has no process."""
        async with asyncio.timeout(SLEEP_SECONDS_MAX):
            while any(
                (cell.app, cell.branch) == (app, branch) for cell in self.node.supervisor.awake()
            ):
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Let go of every client."""
        for subject in self._open:
            await subject.close()
        self._open.clear()


@contextlib.asynccontextmanager
async def lab(node: Node, manifest: Manifest) -> AsyncIterator[Lab]:
    """Yield a lab; its clients are closed and its apps deleted at the end."""
    before = set(node.catalogue.apps)
    made = Lab(node, manifest)
    try:
        yield made
    finally:
        await made.close()
        for app in set(node.catalogue.apps) - before:
            await _tell(node, app)
            await perform(node, "app.delete", app=app)


async def _tell(node: Node, app: str) -> None:
    """Log what an app's processes said, so that a test that failed shows it."""
    for branch in node.catalogue.app(app).branches:
        for line in await node.logbook.tail(app, branch, None, 200):
            _log.info("%s/%s %s %s: %s", app, branch, line.source, line.level, line.text)
