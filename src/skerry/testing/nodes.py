"""A node for tests: in this process, in a directory of its own, on ports of the system's choice."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skerry.kernel import commands as c
from skerry.kernel.kind import ASGIApplication
from skerry.kernel.manifest import Manifest
from skerry.kernel.service import Service
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options


async def _no_api(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def running_node(
    manifests: Mapping[str, Manifest],
    home: Path | None = None,
    volume_driver: str | None = None,
    services: Mapping[str, Service] | None = None,
    make_api: Callable[[Node], ASGIApplication] = lambda _: _no_api,
) -> AsyncIterator[Node]:
    """Yield a started node, by default without API; stop it and remove its home at the end.

    Without a home it lives in a new directory that every user may pass through, because the
    processes of a node that runs as root have users of their own.
    """
    with open_directory() as made:
        ports = {wire.name: 0 for each in manifests.values() for wire in each.wires if wire.front}
        options = Options(
            home=home or made / "h",
            http_port=0,
            ports=ports,
            name="test-node",
            volume_driver=volume_driver,
        )
        node = Node(options, manifests, make_api, services or {})
        await node.start()
        try:
            yield node
        finally:
            await node.stop()


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """Yield a new directory that the users of cells can pass through; remove it at the end.

    pytest's own temporary directories are closed to others, and closed again by every run of it.
    """
    with tempfile.TemporaryDirectory(prefix="skerry-") as made:
        path = Path(made)
        path.chmod(0o711)
        yield path


def pack(files: Mapping[str, str | bytes]) -> bytes:
    """Return a tar archive of files, as `skerry deploy` uploads them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


async def deploy(node: Node, files: Mapping[str, str | bytes], branch: str = "main") -> c.Deployed:
    """Deploy an app made of text files."""

    async def chunks() -> AsyncIterator[bytes]:
        yield pack(files)

    upload = await node.archives.receive(chunks())
    deployed = await perform(node, "app.deploy", upload=upload, branch=branch)
    assert isinstance(deployed, c.Deployed)
    return deployed


async def perform(node: Node, command: str, **params: Any) -> Any:
    """Carry out a command by its name, as its surfaces do."""
    dispatcher = Dispatcher(node)
    found = dispatcher.commands[command]
    if found.kind:
        own = {key: params.pop(key) for key in list(params) if key not in ("name", "app", "branch")}
        return await dispatcher.perform(found, c.WordCall(params=own, **params))
    return await dispatcher.perform(found, found.params(**params))
