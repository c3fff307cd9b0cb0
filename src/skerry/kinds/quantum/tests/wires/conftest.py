"""A node with one quantum resource, and official clients that are run against it as they are."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import pytest

from skerry.app import kinds, services
from skerry.kinds.quantum import stacks
from skerry.kinds.quantum.tests import environments
from skerry.node.home import default_root
from skerry.testing.nodes import deploy, perform, running_node

CLIENTS = Path(__file__).parent / "clients"
GUIDE = environments.ROOT / "docs" / "guides" / "quantum-clients.md"
CLIENT_SECONDS = 240.0
NODE_SECONDS = 60.0
T = TypeVar("T")


@dataclass
class Place:
    """The fields of `skerry connect`, and clients that use them."""

    fields: Mapping[str, str]

    async def drive(
        self,
        script: str,
        environment: Mapping[str, str],
        *parts: str,
        python: str = sys.executable,
        guide: str = "",
    ) -> Any:
        """Run a client in a process of its own; return what it printed, read as JSON.

        What a section of the guide shows is run before, as it stands there.
        """
        words = [str(CLIENTS / script), *parts]
        if guide:
            words.insert(0, str(CLIENTS / "with_guide.py"))
            shown = json.dumps({"code": self.shown(guide), "names": dict(self.fields)})
            environment = {**environment, "SKERRY_GUIDE": shown}
        home = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            python,
            *words,
            env={**home, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                output, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, said.decode()[-4000:]
        return json.loads(output)

    def shown(self, section: str) -> str:
        """Return the Python of a section of the guide, with the address of this node."""
        _, _, below = GUIDE.read_text().partition(f"\n## {section}\n")
        blocks = re.findall(
            r"^```python\n(.*?)^```$", below.partition("\n## ")[0], re.MULTILINE | re.DOTALL
        )
        assert blocks, f"the guide shows no Python of {section}"
        code = re.sub(r"^base, token = \.\.\..*$", "", "\n".join(blocks), flags=re.MULTILINE)
        return code.replace("http://127.0.0.1:7878", self.fields["url"])

    @property
    def aws(self) -> dict[str, str]:
        """The environment of clients of AWS, as `skerry connect` prints it."""
        return {
            "AWS_ENDPOINT_URL": self.fields["url"],
            "AWS_ACCESS_KEY_ID": self.fields["access_key"],
            "AWS_SECRET_ACCESS_KEY": self.fields["secret_key"],
            "AWS_REGION": "eu-north-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "BRAKET_PRICE_OFFERS_URL": f"{self.fields['base']}/braket/prices.csv",
        }


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """Yield one node for all clients: most of what a job costs is a worker that starts.

    It runs in a thread of its own, because the loop of a test does not run between tests.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    opened = AsyncExitStack()

    def carry_out(step: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(step, loop).result(NODE_SECONDS)

    try:
        yield carry_out(opened.enter_async_context(open_place()))
    finally:
        carry_out(opened.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    """Yield a node with a quantum resource; stop it at the end."""
    async with running_node(kinds(), volume_driver="copy", services=services()) as node:
        await deploy(node, {"skerry.toml": '[app]\nname = "lab"\n[quantum.qpu]\n'})
        found = await perform(node, "resource.connect", name="qpu", app="lab", branch="main")
        yield Place(found.fields)


def python_of(stack: str) -> str:
    """Return the interpreter that has a client, or skip and say how to get it.

    Environments are looked for below SKERRY_QUANTUM_CLIENTS, else where `dev.py check` makes them,
    and where `skerry quantum install` does: below the home of this user's node.
    """
    given = os.environ.get("SKERRY_QUANTUM_CLIENTS")
    roots = [Path(given)] if given else [environments.PLACE, default_root() / "environments"]
    for root in roots:
        made = stacks.folder(root, stack)
        if (made / stacks.COMPLETE).exists():
            return str(made / "bin" / "python")
    pytest.skip(f"NOT TRIED: this client needs `dev.py check` or `skerry quantum install {stack}`")
