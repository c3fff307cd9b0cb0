"""Between nodes that are bound, everything of the market goes over the federation's mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from tests.market.nodes import PACKAGES, SDL, do, market_of, running

from skerry.kernel.errors import SkerryError
from skerry.market.service import Logs
from skerry.market.wires import client, links
from skerry.testing.nodes import open_directory, perform

pytestmark = pytest.mark.slow
BOUND = [*PACKAGES, "skerry.federation"]
ROWS, COLUMNS = 33, 101
FILE = SDL.replace(
    'command: ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"]',
    'command: ["/bin/sh", "-c", "echo up; exec sleep 600"]',
)


async def test_a_bound_provider_is_reached_by_mutual_tls_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tunnels: list[str] = []

    async def watched(*words: Any, **options: Any) -> client.Answer:
        tunnels.append(options["tunnel"])
        return await client.request(*words, **options)

    async def never(*_words: Any, **_options: Any) -> Any:
        raise AssertionError("a WebSocket went another way")

    monkeypatch.setattr(links, "request", watched)
    monkeypatch.setattr(links, "connect", never)
    with open_directory() as homes:
        async with (
            running(homes / "t", "tenant", packages=BOUND) as tenant,
            running(homes / "f", "finn", packages=BOUND) as finn,
        ):
            with pytest.raises(SkerryError, match="no node tenant"):
                await do(finn, "provider.start", country="FI", market=["tenant"])
            invited = await perform(tenant, "federation.invite")
            await perform(finn, "federation.join", invitation=invited.invitation)
            await do(tenant, "fund", amount="50")
            await do(tenant, "admit", address=market_of(finn).provider_wallet.address)
            await do(finn, "provider.start", country="FI", market=["tenant"])
            deployed = await do(tenant, "deploy", file=FILE)
            assert deployed.leases[0].provider == "finn", deployed
            (service,) = await do(tenant, "status", dseq=1)
            assert service.ready == "1/1"
            ran = await do(tenant, "exec", dseq=1, command=["cat"], stdin="over two nodes")
            assert (ran.exit_code, ran.output) == (0, "over two nodes")
            with pytest.raises(SkerryError) as caught:
                await do(tenant, "exec", dseq=1, command=["cat"], service="webb")
            assert "no service webb" in caught.value.why
            stream = market_of(tenant).stream_logs(Logs(1))
            assert [line.text async for line in stream] == ["up"]
            said, code = await asyncio.to_thread(type_into_a_terminal, tenant.home.root)
            assert (said, code) == (f"user 1000 sees {ROWS} {COLUMNS}".encode(), 5)
            told = await asyncio.to_thread(deploy_by_hand, tenant.home.root, homes / "bad.yaml")
            assert f"{homes / 'bad.yaml'}:1:1: x: this field is not known" in told
            (shown,) = await do(tenant, "providers")
            assert shown.way == "mutual TLS"
            await do(tenant, "close", dseq=1)
            assert tunnels
            assert all(tunnels)


def deploy_by_hand(home: Path, file: Path) -> str:
    """Deploy a bad file on the command line; return what it says of it."""
    file.write_text("x: 1\n")
    words = [sys.executable, "-m", "skerry", "market", "deploy", "--home", str(home), str(file)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done
    return done.stderr


def type_into_a_terminal(home: Path) -> tuple[bytes, int]:
    """Open a shell as a person does, type, and return a line of what comes and the exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "skerry", "market", "shell", "1", "--home", str(home)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        os.write(ours, b"sleep 0.2; echo user $(id -u) sees $(stty size); exit 5\n")
        said = b""
        with contextlib.suppress(OSError):
            while data := os.read(ours, 4096):
                said += data
        code = process.wait(timeout=30)
    os.close(ours)
    lines = [line.strip() for line in said.splitlines()]
    found = (line for line in lines if b"user 1000" in line)
    return next(found, said).lstrip(b"$ "), code
