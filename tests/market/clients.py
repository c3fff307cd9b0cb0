"""Runs the official JavaScript clients."""

from __future__ import annotations

import asyncio
import shutil
import warnings
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[1] / "clients"
SDK = CLIENTS / "node_modules" / "@akashnetwork" / "chain-sdk"


def node_program() -> str:
    """Return the path of Node; skip the test where Node or the SDK is missing."""
    program = shutil.which("node")
    if program is not None and SDK.is_dir():
        return program
    reason = "Akash's SDK was NOT tested: run `npm ci` in tests/clients"
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn(reason, stacklevel=1)
    pytest.skip(reason)


async def run_client(script: str, *arguments: str, given: bytes = b"") -> str:
    """Run a script of the clients' folder; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        node_program(),
        script,
        *arguments,
        cwd=CLIENTS,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(given)
    assert process.returncode == 0, errors.decode()[-2000:]
    return output.decode()
