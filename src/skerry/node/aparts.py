"""Programs apart, seen from the node: it starts them for processes of cells, and ends them.

A process of a cell may not make namespaces or groups; the node may. A program belongs to the
process that asked for it and does not outlive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import msgspec

from skerry.kernel.catalogue import Branch
from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import BUSY, DENIED, INVALID, NOT_FOUND
from skerry.node.cell.spec import ApartCall, ApartEnd
from skerry.node.cells import Running
from skerry.node.channel import Call, Handler
from skerry.node.log_lines import LINE_BYTES_MAX
from skerry.node.processes import Child, Processes, read_lines
from skerry.node.sandbox.cgroup import Group
from skerry.node.workshop import Workshop

EACH_MAX = 16
"""How many programs one process of a cell may have at a time."""

WAIT_SECONDS = 20.0
_KILL_SECONDS = 10.0

_log = logging.getLogger(__name__)
OnLine = Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Apart:
    owner: Running
    child: Child
    group: Group
    reading: asyncio.Task[None]
    end: asyncio.Task[ApartEnd]
    sampled: float
    cpu_ms: int = 0


class Aparts:
    """The programs of all cells, by their number."""

    def __init__(
        self, processes: Processes, workshop: Workshop, clock: Clock, entropy: Entropy
    ) -> None:
        self._clock = clock
        self._processes = processes
        self._workshop = workshop
        self._entropy = entropy
        self._known: dict[str, _Apart] = {}

    def handlers(
        self, branch: Branch, running: Callable[[], Running], on_line: OnLine
    ) -> Mapping[str, Handler]:
        """Return what a process of a cell may ask for."""

        async def start(call: Call) -> str:
            asked = msgspec.convert(call.params, ApartCall)
            return await self._start(branch, running(), asked, on_line)

        async def wait(call: Call) -> Any:
            found = self._of(running(), call.params)
            done, _ = await asyncio.wait({found.end}, timeout=WAIT_SECONDS)
            if not done:
                used = await asyncio.to_thread(found.group.usage)
                self._count(found, used.cpu_ms or 0, used.memory_bytes or 0)
                return None
            self._known.pop(call.params, None)
            return msgspec.to_builtins(found.end.result())

        async def stop(call: Call) -> None:
            found = self._known.get(call.params)
            if found is not None and found.owner is running():
                _signal(found, signal.SIGTERM)

        return {"apart_start": start, "apart_wait": wait, "apart_stop": stop}

    def _of(self, running: Running, number: str) -> _Apart:
        found = self._known.get(number)
        if found is None or found.owner is not running:
            raise NOT_FOUND(f"There is no program {number[:20]} here.")
        return found

    async def _start(
        self, branch: Branch, running: Running, asked: ApartCall, on_line: OnLine
    ) -> str:
        if asked.resource not in running.resources:
            raise DENIED(f"{asked.resource} is not served here.")
        if sum(each.owner is running for each in self._known.values()) >= EACH_MAX:
            raise BUSY(f"{EACH_MAX} programs run apart already.")
        program = asked.program
        record = branch.record(asked.resource)
        # Policy may have changed since the process woke.
        self._workshop.decide(branch, record)
        run = self._workshop.run(record)
        parts = PurePath(program.folder).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise INVALID(f"{program.folder[:60]!r} is not below the folder of the resource.")
        number = self._entropy.bytes(8).hex()
        spec, group = self._workshop.apart(branch, running.instance, number, program, run)
        try:
            child = await self._processes.fork()
        except BaseException:
            await asyncio.to_thread(group.remove)
            raise
        loop = asyncio.get_running_loop()
        end = loop.create_task(self._end(child, group))
        reading = loop.create_task(read_lines(child.output, on_line, LINE_BYTES_MAX))
        now = self._clock.monotonic()
        found = self._known[number] = _Apart(running, child, group, reading, end, now)
        end.add_done_callback(lambda task: self._count_end(found, task))
        try:
            # Nothing that the program starts may be outside of its group.
            await asyncio.to_thread(group.add, child.pid)
            data = msgspec.msgpack.encode(spec)
            child.channel.setblocking(False)
            await loop.sock_sendall(child.channel, len(data).to_bytes(4) + data)
        except BaseException:
            self._known.pop(number, None)
            await self._kill(found)
            raise
        return number

    async def _end(self, child: Child, group: Group) -> ApartEnd:
        """Wait for the end of a program; return what it used."""
        ended = await child.ended
        used = await asyncio.to_thread(group.usage)
        killed = await asyncio.to_thread(group.oom_kills)
        child.channel.close()
        try:
            await asyncio.to_thread(group.clear)
        except OSError as error:
            _log.warning("the group of a program stays for now: %s", error)
        return ApartEnd(
            cpu_ms=used.cpu_ms or ended.cpu_ms,
            memory_bytes=used.memory_peak_bytes or ended.memory_bytes,
            out_of_memory=bool(killed),
        )

    def _count_end(self, found: _Apart, task: asyncio.Task[ApartEnd]) -> None:
        """Count the last of what a program used, once it has ended."""
        if not task.cancelled() and task.exception() is None:
            self._count(found, task.result().cpu_ms, task.result().memory_bytes)

    def _count(self, found: _Apart, cpu_ms: int, memory_bytes: int) -> None:
        """Add what was used since the last time to the process that asked for the program.

        CPU is a running total; memory is taken to have been as much since then.
        """
        now = self._clock.monotonic()
        found.owner.apart_cpu_ms += max(0, cpu_ms - found.cpu_ms)
        found.owner.apart_memory_mib_s += memory_bytes / (1 << 20) * (now - found.sampled)
        found.cpu_ms, found.sampled = max(cpu_ms, found.cpu_ms), now

    async def _kill(self, found: _Apart) -> None:
        await asyncio.to_thread(found.group.kill)
        _signal(found, signal.SIGKILL)
        await asyncio.wait({found.end}, timeout=_KILL_SECONDS)
        await asyncio.wait({found.reading}, timeout=_KILL_SECONDS)

    async def end_of(self, running: Running) -> None:
        """End the programs of a process of a cell that has ended."""
        owned = [number for number, each in self._known.items() if each.owner is running]
        await asyncio.gather(*(self._kill(self._known.pop(number)) for number in owned))


def _signal(found: _Apart, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if not found.child.ended.done():
            os.kill(found.child.pid, number)
