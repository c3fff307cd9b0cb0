"""One process of a cell, forked ahead of need: a wake then does not wait for fork and cgroup.

It is nobody's: it waits for its first frame, which says what it is to be, and has read nothing
before. Forking takes the kernel some milliseconds, moving a process into its group some more.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from skerry.kernel.clock import Entropy
from skerry.kernel.errors import SkerryError
from skerry.node.processes import Child, Processes
from skerry.node.sandbox.cgroup import Group

CALM_SECONDS = 0.2
"""How long nothing is started before the next one is made, so that it delays nobody's start."""
_END_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Spare:
    """A process that waits for its first frame, in its group, without limits yet."""

    instance: str
    child: Child
    group: Group


class Spares:
    """Keeps one; `make_group` makes the group of an instance."""

    def __init__(
        self, processes: Processes, make_group: Callable[[str], Group], entropy: Entropy
    ) -> None:
        self._processes = processes
        self._make_group = make_group
        self._entropy = entropy
        self._spare: Spare | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._making: asyncio.Task[None] | None = None
        self._clearing: set[asyncio.Task[None]] = set()
        self._closed = False

    def take(self) -> Spare | None:
        """Return the spare process, which is the caller's from now on; None if there is none."""
        spare, self._spare = self._spare, None
        return spare

    def pids(self) -> list[int]:
        """Return the process that is kept ready, if there is one."""
        return [self._spare.child.pid] if self._spare is not None else []

    def refill(self, like: int) -> None:
        """Make another one soon, ready to do what the process `like` has done since its fork."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CALM_SECONDS, self._begin, like)

    def discard(self, spare: Spare) -> None:
        """End a spare process that was taken."""
        task = asyncio.get_running_loop().create_task(_end(spare))
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def close(self) -> None:
        """End the spare process, and make no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._making is not None:
            await asyncio.wait({self._making})
        spare = self.take()
        if spare is not None:
            self.discard(spare)
        await asyncio.gather(*self._clearing)

    def _begin(self, like: int) -> None:
        if self._closed or self._spare is not None or self._making is not None:
            return
        self._making = asyncio.get_running_loop().create_task(self._make(like))

    async def _make(self, like: int) -> None:
        try:
            instance = self._entropy.bytes(4).hex()
            group = await asyncio.to_thread(self._make_group, instance)
            try:
                child = await self._processes.fork(like)
            except BaseException:
                await asyncio.to_thread(group.remove)
                raise
            spare = Spare(instance, child, group)
            try:
                await asyncio.to_thread(group.add, child.pid)
            except BaseException:
                await _end(spare)
                raise
        except (OSError, SkerryError):
            _log.warning("no process was forked ahead", exc_info=True)
        else:
            self._spare = spare
            child.ended.add_done_callback(lambda _: self._lost(spare))
        finally:
            self._making = None

    def _lost(self, spare: Spare) -> None:
        """Forget it if it has died before it was taken."""
        if self._spare is spare:
            self._spare = None
            self.discard(spare)


async def _end(spare: Spare) -> None:
    """Close its channel, by which it ends, and remove its group."""
    spare.child.channel.close()
    os.close(spare.child.output)
    await asyncio.wait({spare.child.ended}, timeout=_END_SECONDS)
    try:
        await asyncio.to_thread(spare.group.clear)
    except (OSError, SkerryError):
        _log.warning("the group %s could not be removed", spare.group.name, exc_info=True)
