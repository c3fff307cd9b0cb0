"""A process has a place for temporary files, which goes with it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from skerry.kernel.manifest import read_manifests
from skerry.kinds._shared.http.request import request
from skerry.testing.nodes import deploy, perform, running_node

TOML = '[app]\nname = "demo"\n[functions.web]\nentry = "web"\n'
CODE = """
import os, tempfile

async def fetch(request, env):
    with tempfile.NamedTemporaryFile() as file:
        return [file.name, os.environ["TMPDIR"], os.environ["HOME"]]
"""


async def test_temporary_files_are_the_processs_own_and_go_with_it() -> None:
    async with running_node(read_manifests(["skerry.kinds.functions"])) as node:
        await deploy(node, {"skerry.toml": TOML, "web.py": CODE})
        url = f"http://127.0.0.1:{node.http_port}/@demo/main/"
        answer = await asyncio.to_thread(request, url)
        name, folder, home = json.loads(answer.body)
        assert Path(name).parent == Path(folder) == Path(home)
        assert await asyncio.to_thread(Path(folder).is_relative_to, node.home.run)
        assert Path(folder).exists()
        await perform(node, "branch.sleep", app="demo", branch="main")
        assert not Path(folder).exists()
