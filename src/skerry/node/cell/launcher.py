"""How an engine starts programs apart: it asks the node, which may make namespaces and groups."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.apart import Apart, Ending, Program
from skerry.kernel.errors import ENGINE_FAILED, SkerryError
from skerry.node.cell.spec import ApartCall, ApartEnd
from skerry.node.cell.warden import END, End
from skerry.node.channel import Channel

START_SECONDS = 60.0
WAIT_SECONDS = 60.0
"""The node answers sooner than this, and is asked again."""


class Launcher:
    """Starts programs for one resource; see `kernel.apart.Launch`."""

    def __init__(self, resource: str, run: Path, channel: Channel) -> None:
        self._resource = resource
        self._run = run
        self._channel = channel

    async def __call__(self, program: Program) -> Apart:
        """See `kernel.apart.Launch`."""
        asked: Any = msgspec.to_builtins(ApartCall(self._resource, program))
        number = await self._channel.call("apart_start", asked, seconds=START_SECONDS)
        return _Started(str(number), self._run / program.folder, self._channel)


class _Started:
    def __init__(self, number: str, folder: Path, channel: Channel) -> None:
        self._number = number
        self._folder = folder
        self._channel = channel

    async def wait(self) -> Ending:
        """See `kernel.apart.Apart`."""
        raw = None
        while raw is None:
            raw = await self._channel.call("apart_wait", self._number, seconds=WAIT_SECONDS)
        used = msgspec.convert(raw, ApartEnd)
        try:
            data = await asyncio.to_thread((self._folder / END).read_bytes)
            end = msgspec.json.decode(data, type=End)
        except FileNotFoundError:
            # The warden was ended by the kernel, or could not begin; its own words are in the log.
            end = End(code=137, reason="out-of-memory" if used.out_of_memory else "lost")
        if end.reason == "exited" and end.code and used.out_of_memory:
            end = End(end.code, "out-of-memory")
        return msgspec.convert(
            {
                "code": end.code,
                "reason": end.reason,
                "cpu_ms": used.cpu_ms,
                "memory_bytes": used.memory_bytes,
            },
            Ending,
        )

    async def stop(self) -> None:
        """See `kernel.apart.Apart`."""
        try:
            await self._channel.call("apart_stop", self._number)
        except SkerryError as error:
            if error.problem is not ENGINE_FAILED:
                raise
            # The node has gone, and the program with it.
