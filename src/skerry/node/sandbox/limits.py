"""How much of the machine one process group may use."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Upper bounds; None leaves a resource unbounded.

    `memory_bytes`, `processes` (threads count too) and `cpu_cores` bound the whole group where the
    machine has cgroups, else memory bounds each process and processes bound the user.
    `open_files` and `file_bytes` (the size of any one file written) bound each process.
    """

    memory_bytes: int | None = None
    processes: int | None = None
    cpu_cores: float | None = None
    open_files: int | None = None
    file_bytes: int | None = None


class Membership(msgspec.Struct, frozen=True):
    """How a process joins a cgroup: it writes "0" into each of `paths`.

    `bounds` names the limits that the group enforces ("memory", "processes", "cpu").
    """

    paths: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
