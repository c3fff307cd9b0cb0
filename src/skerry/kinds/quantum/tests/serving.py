"""Serves a quantum resource over HTTP, and runs official clients against it, each in a process."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from skerry.kinds.quantum import claim, wire
from skerry.kinds.quantum.engine import QuantumEngine

CLIENTS = Path(__file__).parent / "clients"
CLIENT_SECONDS = 110.0


@asynccontextmanager
async def served(engine: QuantumEngine) -> AsyncIterator[tuple[str, str]]:
    """Serve a resource at a port of its own; yield its URL and its token."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(wire.make(engine), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        try:
            context = engine.context
            port = listener.getsockname()[1]
            yield f"http://127.0.0.1:{port}", claim.token(context.id, context.keys)
        finally:
            server.should_exit = True
            await task


async def run_client(name: str, url: str, token: str, **environment: str) -> dict[str, Any]:
    """Run a client's script with a URL and a token; return the JSON object that it prints last."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "ignore",
        str(CLIENTS / f"{name}.py"),
        url,
        token,
        env={**kept, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(CLIENT_SECONDS):
        out, said = await process.communicate()
    assert process.returncode == 0, said.decode()[-4000:]
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found
