"""The keeper's own view of the machine, and the disk of its workload.

A keeper that runs as root has a mount namespace of its own. There it shows its workload's image and
disk at a place that the workload's user can reach, whoever else may not enter the node's home. The
disk is a file system of exactly the agreed size in a file, mounted for the keeper alone: it is gone
with it, and no start has to clean up. Without root, or without loop devices, the disk is a folder
that is measured, and a workload that writes more than was agreed is stopped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from skerry.kernel.errors import DISK_FULL, ENGINE_FAILED, UNSUPPORTED
from skerry.node.sandbox import Membership, linux
from skerry.node.workload.classes import LADDER
from skerry.node.workload.classes.base import Place, disk_folder, find_program
from skerry.node.workload.classes.crun import hide_unified
from skerry.node.workload.images import tree_bytes
from skerry.node.workload.order import Folder, Order
from skerry.node.workload.spec import MIB

ENFORCED = "enforced: a file system of that size"
MEASURED = "measured every second: a workload that exceeds it is stopped"
NO_DISK = "none: the class has no files"
_STAGES = ("/mnt", "/srv", "/media", "/opt")
_JOURNAL_BYTES_LEAST = 32 * MIB
_SECONDS = 60.0


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
        place = Place(folder, rootfs, folder.disk, membership)
        bound = NO_DISK if order.image.kind == "wasm" else _make_folder(place.disk)
        _make_places(order, place.disk)
        return Stage(place, bound)
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_SLAVE | linux.MS_REC)
    with contextlib.suppress(OSError):
        # Only crun minds, and says so.
        hide_unified()
    if order.image.kind == "wasm":
        return Stage(Place(folder, rootfs, folder.disk, membership), NO_DISK)
    bound = _make_disk(order, folder)
    with linux.cloned_tree(str(rootfs)) as image, linux.cloned_tree(str(folder.disk)) as disk:
        stage = _empty_stage()
        for name, tree in (("rootfs", image), ("disk", disk)):
            (stage / name).mkdir(mode=0o755)
            linux.attach_tree(tree, str(stage / name))
    place = Place(folder, stage / "rootfs", stage / "disk", membership)
    _make_places(order, place.disk)
    return Stage(place, bound)


def _empty_stage() -> Path:
    stage = next((Path(each) for each in _STAGES if Path(each).is_dir()), None)
    if stage is None:
        raise UNSUPPORTED(f"None of {', '.join(_STAGES)} is there to show an image at.")
    linux.mount("tmpfs", str(stage), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=711,size=1m")
    return stage


def _make_folder(disk: Path) -> str:
    disk.mkdir(mode=0o700, exist_ok=True)
    return MEASURED


def _make_disk(order: Order, folder: Folder) -> str:
    """Mount the disk, made if it is new; fall back to a folder where there is no loop device."""
    folder.disk.mkdir(mode=0o700, exist_ok=True)
    if any(folder.disk.iterdir()):
        return MEASURED
    mkfs, mount = find_program("mkfs.ext4"), find_program("mount")
    if mkfs is None or mount is None or not Path("/dev/loop-control").exists():
        return MEASURED
    if not folder.disk_image.exists():
        _make_image(mkfs, folder.disk_image, order.spec.disk_bytes)
    options = "loop,noatime,nosuid,nodev,discard"
    done = _run(mount, "-t", "ext4", "-o", options, str(folder.disk_image), str(folder.disk))
    if done is None:
        return ENFORCED
    if _holds_data(folder):
        raise ENGINE_FAILED("The disk of the workload cannot be mounted.", why=done)
    folder.disk_image.unlink()
    return MEASURED


def _holds_data(folder: Folder) -> bool:
    """Tell whether a program has run on the disk before, so that it must not be made anew."""
    return folder.state().started > 0


def _make_image(mkfs: str, path: Path, size_bytes: int) -> None:
    if shutil.disk_usage(path.parent).free < size_bytes:
        raise DISK_FULL(f"The machine has no room for a disk of {size_bytes // MIB} MiB.")
    unfinished = path.with_name(".disk.new")
    with unfinished.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        os.truncate(file.fileno(), size_bytes)
    journal = [] if size_bytes >= _JOURNAL_BYTES_LEAST else ["-O", "^has_journal"]
    extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    why = _run(mkfs, "-q", "-F", "-m", "0", *journal, "-E", extended, str(unfinished))
    if why is not None:
        raise ENGINE_FAILED("The disk of the workload cannot be made.", why=why)
    unfinished.rename(path)


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


def _run(program: str, *arguments: str) -> str | None:
    """Run a program; return why it failed, None if it did not."""
    done = subprocess.run(
        [program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    return (done.stderr.strip()[-300:] or str(done.returncode)) if done.returncode else None
