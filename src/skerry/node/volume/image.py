"""A file system that can clone, in a file, for machines whose own cannot (root only).

The file is sparse: it grows as it is filled, and deleted branches give their room back. It is
attached through a loop device that disappears when it is detached. Needs `mkfs.btrfs` or `mkfs.xfs`
and util-linux, which run as programs of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from skerry.kernel.errors import (
    ALREADY_EXISTS,
    CONFLICT,
    DENIED,
    DISK_FULL,
    ENGINE_FAILED,
    EXTRA_MISSING,
    INVALID,
    NOT_FOUND,
    SkerryError,
)
from skerry.node.volume.drivers import open_volume
from skerry.node.volume.volume import fsync_directory

_SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_TIMEOUT_SECONDS = 120
_MIB = 1 << 20


class _Filesystem(msgspec.Struct, frozen=True):
    """How a file system is made and mounted."""

    package: str
    least_bytes: int
    make: tuple[str, ...]
    options: str


FILESYSTEMS = {
    "btrfs": _Filesystem(
        "btrfs-progs",
        128 * _MIB,
        ("mkfs.btrfs", "--quiet", "--label", "skerry"),
        "noatime,discard=async,user_subvol_rm_allowed",
    ),
    "xfs": _Filesystem(
        "xfsprogs",
        320 * _MIB,
        ("mkfs.xfs", "-q", "-m", "reflink=1", "-L", "skerry"),
        "noatime,discard",
    ),
    "ext4": _Filesystem(
        "e2fsprogs",
        64 * _MIB,
        ("mkfs.ext4", "-q", "-O", "encrypt", "-L", "skerry"),
        "noatime,discard",
    ),
}
"""The file systems that an image may hold, by name. btrfs and XFS clone; ext4 encrypts directories
under keys of their own, and copies."""


def create_image(path: Path, size_bytes: int, filesystem: str = "btrfs") -> None:
    """Make a sparse file of `size_bytes` that holds an empty file system.

    Raises ALREADY_EXISTS, DENIED (not root), DISK_FULL, EXTRA_MISSING (mkfs), INVALID.
    """
    kind = FILESYSTEMS.get(filesystem)
    if kind is None:
        known = ", ".join(FILESYSTEMS)
        raise INVALID(
            f"{filesystem} cannot be the file system of a volume.", hint=f"One of {known}."
        )
    if size_bytes < kind.least_bytes:
        least = kind.least_bytes // _MIB
        raise INVALID(f"A volume of {filesystem} needs at least {least} MiB.")
    _require_root()
    if path.exists():
        raise ALREADY_EXISTS(f"There is a file {path} already.", hint="skerry volume attach")
    program = _program(kind.make[0], kind.package)
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if size_bytes > free:
        raise DISK_FULL(
            f"A volume of {size_bytes // _MIB} MiB does not fit beside {path.parent}.",
            why=f"{free // _MIB} MiB are free there.",
        )
    unfinished = path.with_name(f".{path.name}.making")
    try:
        with unfinished.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.truncate(file.fileno(), size_bytes)
        _run(program, *kind.make[1:], str(unfinished))
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.rename(path)
        fsync_directory(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def attach(path: Path, mountpoint: Path) -> None:
    """Mount an image; where it is mounted there already, as after a restart, nothing happens.

    Raises NOT_FOUND, DENIED (not root), CONFLICT (something else is mounted there), ENGINE_FAILED.
    """
    if not path.is_file():
        raise NOT_FOUND(f"There is no volume image {path}.", hint="skerry volume create")
    _require_root()
    mountpoint.mkdir(parents=True, exist_ok=True)
    mountpoint = mountpoint.resolve()
    device = mounted_device(mountpoint)
    if device is not None:
        if _backing_file(device) != path.resolve():
            raise CONFLICT(f"{device} is mounted at {mountpoint}, not {path}.")
        return
    filesystem = image_filesystem(path)
    options = FILESYSTEMS[filesystem].options
    mount = _program("mount", "mount")
    _run(mount, "-t", filesystem, "-o", f"loop,{options}", str(path), str(mountpoint))
    _skip_double_caching(mounted_device(mountpoint))


def image_filesystem(path: Path) -> str:
    """Return the file system that an image holds. Raises INVALID if it is none of ours."""
    blkid = _program("blkid", "util-linux")
    filesystem = _run(blkid, "-p", "-o", "value", "-s", "TYPE", str(path)).strip()
    if filesystem not in FILESYSTEMS:
        raise INVALID(f"{path} holds {filesystem or 'no file system'}, no volume of Skerry.")
    return filesystem


def move_in(image: Path, directory: Path) -> int:
    """Make an image the volume at `directory`, with the branches that lie there; return how many.

    The branches are copied; the directory that held them stays beside it, named `*.before`, until
    the operator removes it. Nothing may use the volume meanwhile. Raises what `attach` raises.
    """
    mounted = directory.is_dir() and mounted_device(directory.resolve()) is not None
    branches = sorted(directory.iterdir()) if directory.is_dir() and not mounted else []
    if not branches:
        attach(image, directory)
        return 0
    staging = directory.with_name(f".{directory.name}.moving")
    attach(image, staging)
    try:
        volume = open_volume(staging)
        for branch in branches:
            target = volume.create(branch.name)
            _run(_program("cp", "coreutils"), "-a", f"{branch}/.", str(target))
        _run(_program("sync", "coreutils"), "-f", str(staging))
    finally:
        detach(staging)
        staging.rmdir()
    directory.rename(directory.with_name(f"{directory.name}.before"))
    attach(image, directory)
    return len(branches)


def detach(mountpoint: Path) -> None:
    """Unmount an image and free its loop device; where none is mounted, nothing happens.

    Raises CONFLICT if files of it are in use, DENIED (not root).
    """
    _require_root()
    mountpoint = mountpoint.resolve()
    if mounted_device(mountpoint) is None:
        return
    try:
        _run(_program("umount", "mount"), str(mountpoint))
    except SkerryError as error:
        raise CONFLICT(
            f"The volume at {mountpoint} is in use.",
            why=error.why,
            hint="Stop the node first: skerry stop",
        ) from error


def mounted_device(mountpoint: Path) -> str | None:
    """Return the device that is mounted at a directory, or None."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        where = fields.split()[4].encode().decode("unicode_escape")
        if where == str(mountpoint):
            found = rest.split()[1]
    return found


def _backing_file(device: str) -> Path | None:
    file = Path("/sys/block", Path(device).name, "loop/backing_file")
    return Path(file.read_text(encoding="utf-8").rstrip("\n")) if file.exists() else None


def _skip_double_caching(device: str | None) -> None:
    """Let the loop device pass the page cache by; where the host cannot, it works as well."""
    if device is None:
        return
    program = _program("losetup", "mount")
    subprocess.run([program, "--direct-io=on", device], check=False, capture_output=True)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise DENIED(
            "Only root can make or mount a volume image.",
            why="Loop devices and mounts belong to root.",
            hint="sudo skerry volume create, or put the home on XFS, btrfs or ZFS",
        )


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=_SEARCH)
    if found is None:
        raise EXTRA_MISSING(
            f"{name} is not installed.",
            why="Skerry makes and mounts volumes with the system's own programs.",
            hint=f"apt-get install -y {package}",
        )
    return found


def _run(program: str, *arguments: str) -> str:
    """Run a program; raise ENGINE_FAILED with its last words."""
    result = subprocess.run(
        [program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if result.returncode != 0:
        raise ENGINE_FAILED(
            f"{Path(program).name} failed for {arguments[-1]}.",
            why=result.stderr.strip()[-400:] or f"It exited with {result.returncode}.",
        )
    return result.stdout
