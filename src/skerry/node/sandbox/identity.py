"""The user that an app's processes run as.

A node that runs as root gives every app a user id of its own from a range that needs no account;
one app's files and processes are then closed to another by the oldest rule of Unix. A node that
runs as an ordinary user cannot, and leaves it to Landlock.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FIRST = 700_000
COUNT = 65_536
GUEST_SHARE = 16
"""One of so many ids is left to workloads, whose programs belong to no app."""

_COUNT_LEAST = 1_000


class Identity(msgspec.Struct, frozen=True):
    """A user and its group, by number."""

    uid: int
    gid: int


class Range(msgspec.Struct, frozen=True):
    """User ids that this machine leaves to apps, by their order; the last few are for workloads."""

    first: int
    count: int

    @property
    def guests(self) -> int:
        """How many workloads can have an identity of their own at a time."""
        return self.count // GUEST_SHARE

    def identity(self, index: int) -> Identity:
        """Return the identity of the app with that index; raise ValueError beyond the range."""
        apps = self.count - self.guests
        if not 0 <= index < apps:
            raise ValueError(f"app index {index} is not within 0..{apps - 1}")
        return Identity(self.first + index, self.first + index)

    def guest(self, slot: int) -> Identity:
        """Return the identity of the workload in a slot; raise ValueError beyond the range."""
        if not 0 <= slot < self.guests:
            raise ValueError(f"slot {slot} is not within 0..{self.guests - 1}")
        last = self.first + self.count - 1
        return Identity(last - slot, last - slot)


def identities(maps: tuple[str, ...] | None = None) -> Range | None:
    """Return the ids for apps, or None where the node cannot change its user.

    In a container only some ids exist (user_namespaces(7)); then the upper half of the largest
    stretch is used. `maps` are the texts of `/proc/self/uid_map` and `gid_map`.
    """
    if maps is None:
        if os.geteuid() != 0:
            return None
        own = Path("/proc/self")
        if not (own / "uid_map").exists():
            return Range(FIRST, COUNT)
        maps = ((own / "uid_map").read_text(), (own / "gid_map").read_text())
    stretches = _intersect(*(_stretches(text) for text in maps))
    if any(start <= FIRST and end >= FIRST + COUNT for start, end in stretches):
        return Range(FIRST, COUNT)
    start, end = max(stretches, key=lambda each: each[1] - each[0], default=(0, 0))
    count = min(COUNT, (end - start) // 2)
    return Range(end - count, count) if count >= _COUNT_LEAST else None


def _stretches(text: str) -> list[tuple[int, int]]:
    rows = [line.split() for line in text.splitlines()]
    return [(int(first), int(first) + int(count)) for first, _, count in rows]


def _intersect(ones: list[tuple[int, int]], others: list[tuple[int, int]]) -> list[tuple[int, int]]:
    both = [(max(one[0], other[0]), min(one[1], other[1])) for one in ones for other in others]
    return [(start, end) for start, end in both if start < end]
