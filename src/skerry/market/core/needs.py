"""What a group needs of a machine, all replicas together."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from skerry.market.core.messages import Capacity
from skerry.market.sdl.model import GroupSpec


class Need(msgspec.Struct, frozen=True):
    """What all replicas of a group need together."""

    cpu_milli: int
    memory_bytes: int
    storage_bytes: int
    gpu_units: int

    def fits(self, capacity: Capacity) -> bool:
        """Tell whether it fits a machine, were that empty."""
        return (
            self.cpu_milli <= capacity.cpu_milli
            and self.memory_bytes <= capacity.memory_bytes
            and self.gpu_units <= capacity.gpu_units
            and self.storage_bytes <= capacity.storage_bytes
        )


@lru_cache(maxsize=4096)
def need(group: GroupSpec) -> Need:
    """Return what a group needs."""
    found = [(unit.resources, unit.count) for unit in group.resources]
    return Need(
        cpu_milli=sum(each.cpu_milli * count for each, count in found),
        memory_bytes=sum(each.memory_bytes * count for each, count in found),
        storage_bytes=sum(
            volume.size_bytes * count for each, count in found for volume in each.storage
        ),
        gpu_units=sum(each.gpu_units * count for each, count in found),
    )
