"""Counting what is used, where it is used.

A meter only adds. It must survive `kill -9` of its process, so the node hands each process a meter
over shared memory and turns the growth of its counters into postings, once each.
"""

from __future__ import annotations

from typing import Protocol

COMPUTE_UNITS = ("cpu_ms", "memory_mib_s")
"""What the node itself counts for every process of a cell."""


class Meter(Protocol):
    """Counts the units that a resource's kind declares."""

    def add(self, unit: str, amount: int = 1) -> None:
        """Add to a counter; never blocks, never fails for a declared unit."""
        ...


class NoMeter:
    """A meter that counts nothing, for tools and tests that do not bill."""

    def add(self, unit: str, amount: int = 1) -> None:
        """See `Meter.add`."""
