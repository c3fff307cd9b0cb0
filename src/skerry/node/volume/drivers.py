"""Choose how a directory's branches are cloned, by trying."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from skerry.kernel.errors import UNSUPPORTED
from skerry.node.volume.btrfs import BtrfsVolume
from skerry.node.volume.copying import CopyVolume, ReflinkVolume, clone_file
from skerry.node.volume.volume import Volume

DRIVERS: tuple[type[Volume], ...] = (BtrfsVolume, ReflinkVolume, CopyVolume)
"""The drivers, best first."""

_REASONS = {
    errno.ENOTTY: "the file system does not know it",
    errno.EOPNOTSUPP: "the file system does not offer it",
    errno.EXDEV: "the file system does not offer it",
    errno.EINVAL: "the file system does not offer it",
    errno.EPERM: "the mount does not allow it to this user",
    errno.ENOSPC: "it cannot be tried: the disk is full",
    errno.EDQUOT: "it cannot be tried: the quota is used up",
}


class Finding(msgspec.Struct, frozen=True):
    """Whether a driver works in a directory, and why not."""

    driver: str
    ok: bool
    detail: str


def open_volume(directory: Path, driver: str | None = None) -> Volume:
    """Open the volume in a directory, made if need be, with the best or the named driver.

    Branches that a crash left unfinished are removed. Raises UNSUPPORTED if the named driver cannot
    work there.
    """
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    findings = probe(directory)
    for kind, finding in zip(DRIVERS, findings, strict=True):
        if driver in (None, kind.driver) and finding.ok:
            return kind(directory)
    reason = next((each.detail for each in findings if each.driver == driver), "no such driver")
    raise UNSUPPORTED(
        f"The volume driver {driver} does not work in {directory}.",
        why=f"{reason[:1].upper()}{reason[1:]}.",
        hint="skerry doctor",
    )


def probe(directory: Path) -> tuple[Finding, ...]:
    """Try every driver in a directory, best first, and leave nothing behind. Raises `OSError`."""
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=directory) as name:
        place = Path(name)
        return (
            _try(BtrfsVolume.driver, place, _try_btrfs, "a snapshot takes milliseconds"),
            _try(ReflinkVolume.driver, place, _try_reflink, "files share their blocks"),
            Finding(CopyVolume.driver, True, "every byte is copied"),
        )


def _try(driver: str, place: Path, attempt: Callable[[Path], None], good: str) -> Finding:
    try:
        attempt(place)
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        return Finding(driver, False, _REASONS[error.errno])
    return Finding(driver, True, good)


def _try_btrfs(place: Path) -> None:
    volume = BtrfsVolume(place)
    volume.create("one")
    volume.clone("one", "two")
    volume.delete("one")
    volume.delete("two")


def _try_reflink(place: Path) -> None:
    (place / "source").write_bytes(bytes(4096))
    source = os.open(place / "source", os.O_RDONLY)
    target = os.open(place / "target", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        clone_file(source, target, lambda _count: None)
    finally:
        os.close(source)
        os.close(target)
