"""Leases in memory: for tests of what is built on leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from skerry.kernel.clock import BootClock, Clock
from skerry.kernel.errors import CONFLICT
from skerry.kernel.lease import RegisterLeases, Slot


class MemoryRegister:
    """A `Register` in this process: linearizable, because one task at a time runs."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self._revision = 0
        self._changed = asyncio.Condition()

    async def read(self, subject: str) -> Slot | None:
        """See `Register.read`."""
        return self._slots.get(subject)

    async def write(self, subject: str, data: bytes, revision: int) -> int:
        """See `Register.write`."""
        slot = self._slots.get(subject)
        if (slot.revision if slot else 0) != revision:
            raise CONFLICT(f"{subject} has another revision than {revision}.")
        self._revision += 1
        self._slots[subject] = Slot(data, self._revision)
        async with self._changed:
            self._changed.notify_all()
        return self._revision

    async def watch(self) -> AsyncIterator[tuple[str, Slot]]:
        """See `Register.watch`."""
        seen = 0
        while True:
            fresh = [each for each in self._slots.items() if each[1].revision > seen]
            for subject, slot in sorted(fresh, key=lambda each: each[1].revision):
                seen = slot.revision
                yield subject, slot
            async with self._changed:
                await self._changed.wait_for(lambda: self._revision > seen)  # noqa: B023


def memory_leases(
    register: MemoryRegister | None = None, clock: Clock | None = None
) -> RegisterLeases:
    """Return leases as one node sees them; nodes that share them share the register."""
    return RegisterLeases(register or MemoryRegister(), clock or BootClock())
