"""The keeper's own view of the machine, and the disk of its workload.

A keeper that runs as root has a mount namespace of its own. There it shows its workload's image and
disk, and what a runtime needs, at a place that the workload's user can reach, wherever the node's
home is. The
disk is a file system of exactly the agreed size in a file, mounted for the keeper alone: it is gone
with it, and no start has to clean up. Without root, or without loop devices, the disk is a folder
that is measured, and a workload that writes more than was agreed is stopped.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from skerry.kernel.errors import UNSUPPORTED
from skerry.node.sandbox import Membership, linux
from skerry.node.workload.classes import LADDER
from skerry.node.workload.classes.base import Place, disk_folder
from skerry.node.workload.classes.crun import hide_unified
from skerry.node.workload.disk import MEASURED, make_disk
from skerry.node.workload.images import tree_bytes
from skerry.node.workload.order import Folder, Order

NO_DISK = "none: the class has no files"
_STAGE_OPTIONS = "mode=711,size=64m"
_STAGES = ("/mnt", "/srv", "/media", "/opt")


class Stage:
    """What the keeper made: the place of the workload, and how its disk is bounded."""

    def __init__(self, place: Place, bound: str) -> None:
        self.place = place
        self.bound = bound

    @property
    def measured(self) -> bool:
        """Whether the keeper itself must see that the disk holds no more than agreed."""
        return self.bound == MEASURED

    def disk_bytes(self) -> int:
        """Return what the disk holds."""
        if self.bound == NO_DISK:
            return 0
        if self.measured:
            return tree_bytes(self.place.disk)
        status = os.statvfs(self.place.disk)
        return (status.f_blocks - status.f_bfree) * status.f_frsize


def set_stage(order: Order, folder: Folder, membership: Membership) -> Stage:
    """Make the place of a workload. Raises DISK_FULL or ENGINE_FAILED."""
    rootfs = Path(order.image.rootfs)
    if order.uid is None:
        place = Place(folder.bundle, rootfs, folder.disk, membership)
        bound = NO_DISK if order.image.kind == "wasm" else _make_folder(place.disk)
        _make_places(order, place.disk)
        return Stage(place, bound)
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_SLAVE | linux.MS_REC)
    with contextlib.suppress(OSError):
        # Only crun minds, and says so.
        hide_unified()
    if order.image.kind == "wasm":
        return Stage(Place(folder.bundle, rootfs, folder.disk, membership), NO_DISK)
    bound = make_disk(folder, order.spec.disk_bytes)
    with linux.cloned_tree(str(rootfs)) as image, linux.cloned_tree(str(folder.disk)) as disk:
        stage = _empty_stage()
        for name, tree in (("rootfs", image), ("disk", disk)):
            (stage / name).mkdir(mode=0o755)
            linux.attach_tree(tree, str(stage / name))
    place = Place(stage / "bundle", stage / "rootfs", stage / "disk", membership)
    _make_places(order, place.disk)
    return Stage(place, bound)


def _empty_stage() -> Path:
    stage = next((Path(each) for each in _STAGES if Path(each).is_dir()), None)
    if stage is None:
        raise UNSUPPORTED(f"None of {', '.join(_STAGES)} is there to show an image at.")
    linux.mount("tmpfs", str(stage), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, _STAGE_OPTIONS)
    return stage


def _make_folder(disk: Path) -> str:
    disk.mkdir(mode=0o700, exist_ok=True)
    return MEASURED


def _make_places(order: Order, disk: Path) -> None:
    """Make the folders that the program sees, and give them to its user."""
    if order.image.kind == "wasm":
        return
    for name in ("work", *(disk_folder(mount.name) for mount in order.spec.mounts)):
        path = disk / name
        path.mkdir(mode=0o755, exist_ok=True)
        owner = LADDER[order.spec.isolation].owner(order)
        if owner is not None:
            os.chown(path, owner, owner)
