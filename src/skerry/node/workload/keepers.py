"""The node's side of the process that forks keepers (`yard.py`)."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

from skerry.kernel.errors import ENGINE_FAILED
from skerry.node.processes import environment

READY_SECONDS = 60.0


class Yard:
    """The node's side of the process that forks keepers."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._starting = asyncio.Lock()

    async def keep(self, path: Path) -> socket.socket:
        """Start a keeper for a workload's folder; return the connection to it."""
        async with self._starting:
            if self._process is None or self._process.poll() is not None:
                await self._start()
            assert self._connection is not None
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    socket.send_fds(self._connection, [os.fsencode(path)], [theirs.fileno()])
                except OSError as error:
                    ours.close()
                    raise ENGINE_FAILED(
                        "The process that starts workloads is gone.", why=str(error)
                    ) from error
        return ours

    async def _start(self) -> None:
        await self.stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-m", "skerry.node.workload.yard", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,
            )
        ours.setblocking(False)
        try:
            async with asyncio.timeout(READY_SECONDS):
                greeting = await asyncio.get_running_loop().sock_recv(ours, 64)
        except TimeoutError:
            greeting = b""
        if greeting != b"ready":
            ours.close()
            raise ENGINE_FAILED("The process that starts workloads did not come up.")
        self._connection = ours

    async def stop(self) -> None:
        """End it; the keepers go on."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(process.wait)
