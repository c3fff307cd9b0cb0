"""Unpacking root file systems that nobody vouches for: nothing is written outside the folder.

Names are resolved as the image itself would resolve them, with its own folder as root: a symbolic
link to `/etc` inside an image means the image's `/etc`. What an image must not bring is left out:
devices, sockets, set-user-id bits, owners.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from pathlib import Path, PurePosixPath

from skerry.kernel.errors import INVALID, TOO_LARGE

BYTES_MAX = 64 << 30
MEMBERS_MAX = 2_000_000
LINKS_MAX = 40
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
"""How a layer says that a file, or everything before in a folder, is gone (OCI image-spec)."""


class Unpacker:
    """Unpacks one archive, or layers one over another, into a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._bytes = 0
        self._members = 0

    def unpack(self, archive: tarfile.TarFile) -> None:
        """Unpack what an archive holds, over what is there. Raises INVALID or TOO_LARGE."""
        written: set[Path] = set()
        for member in archive:
            self._count(member)
            place = self._place(member.name)
            if place == self._root:
                continue
            if place.name == OPAQUE:
                _empty(place.parent, written)
            elif place.name.startswith(WHITEOUT):
                _remove(place.with_name(place.name.removeprefix(WHITEOUT)))
            else:
                self._make(archive, member, place)
                written.add(place)

    def _count(self, member: tarfile.TarInfo) -> None:
        self._members += 1
        self._bytes += member.size
        if self._members > MEMBERS_MAX or self._bytes > BYTES_MAX:
            raise TOO_LARGE(
                "The image holds too much.",
                why=f"At most {MEMBERS_MAX} files and {BYTES_MAX >> 30} GiB.",
            )

    def _place(self, name: str) -> Path:
        """Return where a member goes; its folder is made, through the image's own links."""
        parts = PurePosixPath(name).parts
        if "\0" in name or ".." in parts:
            raise INVALID(f"The image has a file named {name!r}, which leads out of it.")
        parts = tuple(part for part in parts if part != "/")
        if not parts:
            return self._root
        folder = inside(self._root, PurePosixPath(*parts[:-1]))
        _make_folders(self._root, folder)
        return folder / parts[-1]

    def _make(self, archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
        if member.isdir():
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                _remove(place)
            place.mkdir(exist_ok=True)
            place.chmod(stat.S_IMODE(member.mode) & 0o777 | 0o555)
            return
        if member.issym():
            _remove(place)
            place.symlink_to(member.linkname)
        elif member.islnk():
            source = inside(self._root, PurePosixPath(member.linkname))
            if not source.is_file():
                raise INVALID(f"The image links {member.name} to {member.linkname}, which is none.")
            if source != place:
                _remove(place)
                os.link(source, place, follow_symlinks=False)
        elif member.isreg():
            _remove(place)
            _write(archive, member, place)


def inside(root: Path, path: PurePosixPath) -> Path:
    """Return where a path within `root` leads when `root` is the top of everything.

    The last part is followed too; what does not exist is taken as it is written.
    """
    parts = [part for part in reversed(path.parts) if part != "/"]
    here: list[str] = []
    links = 0
    while parts:
        part = parts.pop()
        if part == "..":
            here = here[:-1]
            continue
        place = root.joinpath(*here, part)
        if not place.is_symlink():
            here.append(part)
            continue
        links += 1
        if links > LINKS_MAX:
            raise INVALID(f"The image has a circle of links at {path}.")
        target = PurePosixPath(place.readlink())
        if target.is_absolute():
            here = []
        parts += [each for each in reversed(target.parts) if each not in ("/", ".")]
    return root.joinpath(*here)


def _make_folders(root: Path, folder: Path) -> None:
    for each in (*reversed(folder.relative_to(root).parents), folder.relative_to(root)):
        place = root / each
        if place.exists() and not place.is_dir():
            _remove(place)
        place.mkdir(mode=0o755, exist_ok=True)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None, "a regular file has content"
    mode = stat.S_IMODE(member.mode) & 0o777 | 0o444
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with source, os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        os.fchmod(file.fileno(), mode)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _empty(folder: Path, written: set[Path]) -> None:
    """Remove what layers below put into a folder, but not what this one did."""
    for each in folder.iterdir():
        if each not in written and not any(each in other.parents for other in written):
            _remove(each)
