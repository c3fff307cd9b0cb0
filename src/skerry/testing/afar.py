"""Using a resource as functions on another node do: by the kind's `remote` binding."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import NODE_UNREACHABLE, SkerryError
from skerry.kernel.kind import Context
from skerry.kernel.subject import BoundSubject
from skerry.node.router.pinned import Pinned
from skerry.testing.faults import FaultProxy
from skerry.testing.hosts import Awake, Tally
from skerry.testing.lab import RESOURCE, Lab
from skerry.testing.nodes import perform
from skerry.testing.tunnels import Tunnelled, tunnel


@dataclass(frozen=True, slots=True)
class Afar:
    """A binding of another node's function, the way to it, and the binding that is used here.

    The latter is there for its calls to be compared, not to be made.
    """

    binding: Any
    proxy: FaultProxy
    here: Any


@contextlib.asynccontextmanager
async def used_from_afar(lab: Lab, app: str, folder: Path) -> AsyncIterator[Afar]:
    """Yield the bindings of an app's resource; `folder` is empty, and its path short."""
    manifest, node = lab.manifest, lab.node
    assert manifest.remote is not None
    branch = node.catalogue.branch(app, "main")
    found = node.workshop.resource(branch, RESOURCE)
    wire = manifest.remote_wire
    assert wire is not None

    def context(host: Awake, directory: Path) -> Context:
        return Context(
            ref=found.ref,
            id=found.id,
            directory=directory,
            run=folder,
            code=folder,
            config=found.config,
            keys=found.keys,
            meter=Tally(),
            clock=SystemClock(),
            host=host,
            url=f"http://127.0.0.1:{node.http_port}",
        )

    pinned = Pinned(node.router, app, "main", RESOURCE)
    server = await asyncio.get_running_loop().create_server(pinned.client, "127.0.0.1", 0)
    port = node.ports[wire.name] if wire.front else server.sockets[0].getsockname()[1]
    socket = folder / "away.sock"
    async with server, tunnel(socket, port) as proxy:
        away = context(Tunnelled(socket), folder / "nothing")
        binding = await manifest.load(manifest.remote.binding)(away)
        here = await manifest.load(manifest.binding)(context(Awake(), found.directory))
        try:
            yield Afar(binding, proxy, here)
        finally:
            for each in (binding, here):
                closing = each.close()
                if inspect.isawaitable(closing):
                    await closing


async def check_from_afar(lab: Lab, folder: Path) -> None:
    """Assert that a binding from afar is what the kind's own is, and tells of a lost way."""
    app = await lab.app()
    subject = await lab.subject(app)
    assert isinstance(subject, BoundSubject), f"{lab.manifest.name} has `remote`; use BoundSubject"
    await subject.put("by-wire", "1")
    async with used_from_afar(lab, app, folder) as afar:
        await subject.put_by(afar.binding, "from-afar", "é")
        await perform(lab.node, "branch.sleep", app=app, branch="main")
        expected = {"by-wire": "1", "from-afar": "é"}
        assert await subject.get_by(afar.binding) == await subject.get() == expected
        assert calls(afar.binding) == calls(afar.here)
        afar.proxy.refuses = True
        afar.proxy.cut_now()
        with pytest.raises(SkerryError) as lost:
            await subject.put_by(afar.binding, "lost", "2")
        assert lost.value.problem is NODE_UNREACHABLE
        assert await subject.get() == expected


def calls(binding: Any) -> dict[str, str]:
    """Return what a function can call of a binding: names with their signatures."""
    found = {}
    for owner, prefix in ((binding, ""), (getattr(binding, "aio", None), "aio.")):
        for name in dir(owner):
            if not name.startswith("_") and callable(getattr(type(owner), name, None)):
                found[prefix + name] = str(inspect.signature(getattr(owner, name)))
    return found
