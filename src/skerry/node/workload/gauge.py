"""What a workload uses: read every second, kept in counters that survive `kill -9`."""

from __future__ import annotations

from skerry.kernel.clock import Clock
from skerry.node.sandbox import Membership
from skerry.node.sandbox.cgroup import Group
from skerry.node.tree_usage import tree_usage
from skerry.node.workload.order import Folder, Order
from skerry.node.workload.spec import MIB
from skerry.node.workload.stage import Stage

PROC_SECONDS = 5.0
"""How often processes are looked at one by one, where there is no cgroup to ask."""


class Gauge:
    """Adds the growth of a cgroup's, or of a process tree's, use to the counters."""

    def __init__(self, folder: Folder, group: Group, clock: Clock) -> None:
        self._clock = clock
        self._meter = folder.meter()
        self._group = group
        self._cpu_ms = group.usage().cpu_ms or 0
        self._sampled = self._clock.monotonic()
        self._fraction = 0.0
        self._grouped = group.usage().cpu_ms is not None
        self.first: int | None = None
        self.memory_bytes = 0

    def begin(self) -> None:
        """Start to count a new program."""
        self._sampled = self._clock.monotonic()
        if not self._grouped:
            self._cpu_ms = 0

    def end(self, cpu_ms: int) -> None:
        """The program has ended with this use of CPU: nothing is held any more."""
        if not self._grouped and cpu_ms > self._cpu_ms:
            self._meter.add("cpu_ms", cpu_ms - self._cpu_ms)
        self.memory_bytes = 0
        self.first = None

    def sample(self) -> None:
        """Read what is used now, and add what it grew by."""
        now = self._clock.monotonic()
        if not self._grouped and now - self._sampled < PROC_SECONDS and self.memory_bytes:
            return
        cpu_ms, memory_bytes = self._read()
        if cpu_ms > self._cpu_ms:
            self._meter.add("cpu_ms", cpu_ms - self._cpu_ms)
            self._cpu_ms = cpu_ms
        held = max(memory_bytes, self.memory_bytes) / MIB * (now - self._sampled) + self._fraction
        self._meter.add("memory_mib_s", int(held))
        self._fraction = held - int(held)
        self.memory_bytes, self._sampled = memory_bytes, now

    def _read(self) -> tuple[int, int]:
        if self._grouped:
            usage = self._group.usage()
            return usage.cpu_ms or 0, usage.memory_bytes or 0
        if self.first is None:
            return self._cpu_ms, 0
        return tree_usage({self.first})[self.first]


def bounds_of(order: Order, membership: Membership, stage: Stage) -> dict[str, str]:
    """Say of every amount how it is bounded here."""
    inside = membership.bounds
    return {
        "memory": "enforced for all processes together"
        if "memory" in inside
        else "enforced for each process, not for all together: no cgroup can be written here",
        "cpu": "enforced for all processes together"
        if "cpu" in inside
        else "not enforced: no cgroup can be written here",
        "pids": "enforced for all processes together"
        if "processes" in inside
        else "enforced for the node's user: no cgroup can be written here",
        "disk": stage.bound,
        "user": "of its own" if order.uid is not None else "the node's own",
    }
