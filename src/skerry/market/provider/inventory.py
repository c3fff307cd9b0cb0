"""What of a provider's capacity is free. A bid reserves what it offers, so that nothing is sold
twice; a lost bid gives it back.
"""

from __future__ import annotations

from skerry.market.core.messages import Capacity
from skerry.market.core.names import OrderId
from skerry.market.core.needs import Need
from skerry.market.sdl.units import show_bytes


class Inventory:
    """The capacity of a provider, and what is reserved of it for which order."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.reserved: dict[OrderId, Need] = {}

    def free(self, *, but: OrderId | None = None) -> Need:
        """Return what is not reserved; `but` counts as not reserved."""
        taken = [each for order, each in self.reserved.items() if order != but]
        return Need(
            self.capacity.cpu_milli - sum(each.cpu_milli for each in taken),
            self.capacity.memory_bytes - sum(each.memory_bytes for each in taken),
            self.capacity.storage_bytes - sum(each.storage_bytes for each in taken),
            self.capacity.gpu_units - sum(each.gpu_units for each in taken),
        )

    def obstacles(self, wanted: Need, order: OrderId | None = None) -> list[str]:
        """Return for every dimension that does not suffice how much there is."""
        free = self.free(but=order)
        found = []
        if wanted.cpu_milli > free.cpu_milli:
            found.append(f"capacity: {wanted.cpu_milli}m of cores asked, {free.cpu_milli}m free")
        for name, asked, there in (
            ("memory", wanted.memory_bytes, free.memory_bytes),
            ("storage", wanted.storage_bytes, free.storage_bytes),
        ):
            if asked > there:
                asked_text, free_text = show_bytes(asked), show_bytes(max(there, 0))
                found.append(f"capacity: {asked_text} of {name} asked, {free_text} free")
        if wanted.gpu_units > free.gpu_units:
            found.append(f"capacity: {wanted.gpu_units} GPU asked, {free.gpu_units} free")
        return found

    def reserve(self, order: OrderId, wanted: Need) -> bool:
        """Reserve for an order; return whether there was enough."""
        if self.obstacles(wanted, order):
            return False
        self.reserved[order] = wanted
        return True

    def release(self, order: OrderId) -> None:
        """Give back what was reserved for an order."""
        self.reserved.pop(order, None)
