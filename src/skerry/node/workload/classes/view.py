"""What a program sees as its machine: an image, read-only, and its own disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from skerry.node.workload.classes.base import Place, disk_folder
from skerry.node.workload.images import Image
from skerry.node.workload.spec import WorkloadSpec

WORK = "/workload"
SCRATCH = ("/tmp", "/run", "/var/tmp")  # noqa: S108 (places inside a sandbox, private to it)
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)
"""What of the machine's own affairs no program needs to see."""

_SCRATCH_BYTES_LEAST = 1 << 20
_OURS = frozenset(("dev", "proc", "sys", "tmp", "run", "workload"))


class Bind(msgspec.Struct, frozen=True):
    """A path of the machine that is seen inside."""

    there: str
    inside: str
    read_only: bool = True


class View(msgspec.Struct, frozen=True):
    """All that is mounted, in order: links of the root folder, binds, and small folders in memory.

    `scratch` are the folders in memory; what is in them is lost with the program and counts as its
    memory. Where nothing else bounds them together with it, they are so small that all of them are
    half of it at most.
    """

    links: tuple[tuple[str, str], ...]
    binds: tuple[Bind, ...]
    scratch: tuple[str, ...]
    scratch_bytes: int


def view(spec: WorkloadSpec, image: Image, place: Place) -> View:
    """Return what a program of a workload sees."""
    links: list[tuple[str, str]] = []
    binds: list[Bind] = []
    rootfs, disk = place.rootfs, place.disk
    covered = {inside for _, inside in image.binds}
    for each in sorted(rootfs.iterdir()):
        if each.name in _OURS or f"/{each.name}" in covered:
            continue
        if each.is_symlink():
            links.append((str(each.readlink()), f"/{each.name}"))
        else:
            binds.append(Bind(str(each), f"/{each.name}"))
    binds += [Bind(there, inside) for there, inside in image.binds]
    binds.append(Bind(str(disk / "work"), WORK, read_only=False))
    binds += [
        Bind(str(disk / disk_folder(mount.name)), mount.path, mount.read_only)
        for mount in spec.mounts
    ]
    scratch = [each for each in SCRATCH if each != "/var/tmp" or (rootfs / "var/tmp").is_dir()]  # noqa: S108
    share = 2 if "memory" in place.membership.bounds else 8
    size = max(spec.memory_bytes // share, _SCRATCH_BYTES_LEAST)
    return View(tuple(links), tuple(binds), tuple(scratch), size)


def impossible_mounts(spec: WorkloadSpec, image: Image) -> Iterator[str]:
    """Yield the mounts for which an image has no place: only the root folder takes new ones."""
    for mount in spec.mounts:
        parts = PurePosixPath(mount.path).parts[1:]
        place = Path(image.rootfs, *parts)
        if (len(parts) > 1 or (Path(image.rootfs) / parts[0]).is_symlink()) and (
            not place.is_dir() or _passes_link(image, parts)
        ):
            yield f"{image.name} has no folder {mount.path} to mount at"


def _passes_link(image: Image, parts: tuple[str, ...]) -> bool:
    place = Path(image.rootfs)
    for part in parts:
        place = place / part
        if place.is_symlink():
            return True
    return False
