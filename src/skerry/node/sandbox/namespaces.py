"""Mount namespaces: what a process and its children see of the file system.

`expose` serves a node that runs as root from a folder that others cannot enter (Python below
`/root/.pyenv`, say): cells run as unprivileged users and must reach it. `hide` serves a node that
runs as an ordinary user: there all cells share its user, so its own files and sockets are taken out
of their sight. Both change nothing outside the calling process and its children.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from skerry.kernel.errors import UNSUPPORTED
from skerry.node.sandbox import linux

_COVER_SIZE = "size=1m,nr_inodes=4096"
_SYMLINKS_MAX = 40


def expose(paths: Iterable[str | Path]) -> tuple[Path, ...]:
    """Make `paths` reachable for every user, in a mount namespace of this process's own.

    Each ancestor that others cannot enter is covered by an empty directory that they can enter but
    not list, and the paths are mounted back into it. Nothing else below the ancestor remains in
    sight, not even for root; the working directory becomes `/` if it was there. Returns the covered
    directories: none if every path was reachable. Mounts that the machine makes later appear here
    too. Raises UNSUPPORTED if a path cannot be made reachable.
    """
    wanted, links = _resolve(paths)
    barred = {path: _barrier(path) for path in wanted}
    covers = {cover for cover in barred.values() if cover is not None}
    if not covers:
        return ()
    if sys.platform != "linux" or not linux.has_capability(linux.CAP_SYS_ADMIN):
        raise UNSUPPORTED(
            f"Other users cannot enter {min(covers)}, where Skerry or its engines lie.",
            why="Only root can show single folders of it to the users that cells run as.",
            hint=f"chmod o+x {min(covers)}, or install Skerry elsewhere, for example /opt/skerry",
        )
    covers = {each for each in covers if not any(up in covers for up in each.parents)}
    keep = _outermost(
        inner for path in wanted for inner in _readable(path) if _below_any(inner, covers)
    )
    links = {link: to for link, to in links.items() if _below_any(link, covers)}
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_SLAVE | linux.MS_REC)
    for cover in sorted(covers):
        _cover(cover, [path for path in keep if cover in path.parents], 0o711)
    for link, target in links.items():
        if not link.is_symlink() and not link.exists():
            _make_folder(link.parent)
            link.symlink_to(target)
    return tuple(sorted(covers))


def hide(paths: Iterable[str | Path], keep: Iterable[str | Path]) -> None:
    """Take directories out of sight but for what is to be kept below them.

    An ordinary user does this in a user namespace of the process's own and ends without any
    capability in it. Raises `OSError` if the machine does not allow it.
    """
    hidden = _outermost(Path(each).resolve() for each in paths)
    kept = _outermost(path for each in keep if (path := Path(each).resolve()).exists())
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWNS | (linux.CLONE_NEWUSER if uid else 0))
    if uid:
        map_ids(uid, gid)
    try:
        linux.mount("", "/", "", linux.MS_SLAVE | linux.MS_REC)
        for directory in hidden:
            if directory.is_dir():
                _cover(directory, [path for path in kept if directory in path.parents], 0o711)
    finally:
        if uid:
            linux.drop_capabilities()


def name_user(name: str, uid: int, gid: int) -> None:
    """Give a user that has no account a name, in the sight of this process and its children.

    Programs such as `initdb` refuse to run as a user whom `/etc/passwd` does not know. Needs root.
    """
    accounts = Path("/etc/passwd")
    known = accounts.read_text(encoding="utf-8").rstrip()
    if any(line.split(":")[2:3] == [str(uid)] for line in known.splitlines()):
        return
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_SLAVE | linux.MS_REC)
    descriptor, file = tempfile.mkstemp(prefix=".skerry-")
    try:
        os.fchmod(descriptor, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as own:
            own.write(f"{known}\n{name}:x:{uid}:{gid}:Skerry:/:/usr/sbin/nologin\n")
        linux.mount(file, str(accounts), "", linux.MS_BIND)
    finally:
        Path(file).unlink()


def accounts_mark() -> tuple[int, int]:
    """Return what tells the machine's list of users from the one that replaces it.

    Adding a user replaces the file, and with it ends what `name_user` laid over it.
    """
    found = Path("/etc/passwd").stat()
    return found.st_ino, found.st_mtime_ns


def map_ids(uid: int, gid: int) -> None:
    """Keep the own user and group as they are in a new user namespace (user_namespaces(7))."""
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{uid} {uid} 1")
    (own / "gid_map").write_text(f"{gid} {gid} 1")


def _cover(directory: Path, keep: list[Path], mode: int) -> None:
    """Mount an empty directory over `directory` and put the kept paths back into it."""
    here = Path.cwd()
    with ExitStack() as stack:
        trees = [(path, stack.enter_context(linux.cloned_tree(str(path)))) for path in keep]
        folders = {path for path in keep if path.is_dir()}
        linux.mount("tmpfs", str(directory), "tmpfs", _COVER_FLAGS, f"mode={mode:o},{_COVER_SIZE}")
        for path, tree in trees:
            _make_folder(path if path in folders else path.parent)
            if path not in folders:
                path.touch(mode=0o444)
            linux.attach_tree(tree, str(path))
    if here == directory or directory in here.parents:
        # A working directory from before would still see what is covered now.
        os.chdir(here if here.is_dir() else "/")


_COVER_FLAGS = linux.MS_NOSUID | linux.MS_NODEV


def _make_folder(path: Path) -> None:
    """Make a directory and its parents so that all may pass through them."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o711)


def _resolve(paths: Iterable[str | Path]) -> tuple[list[Path], dict[Path, str]]:
    """Return the real paths, and the symbolic links on the way to them with their targets."""
    real: list[Path] = []
    links: dict[Path, str] = {}
    for each in paths:
        path = Path(each).absolute()
        for _ in range(_SYMLINKS_MAX):
            link = next((up for up in (*reversed(path.parents), path) if up.is_symlink()), None)
            if link is None:
                break
            target = str(link.readlink())
            links[link] = target
            path = Path(os.path.normpath(link.parent / target / path.relative_to(link)))
        if not path.exists():
            raise UNSUPPORTED(
                f"{each} does not exist, so cells cannot use it.",
                why=f"It leads to {path}.",
                hint="skerry doctor",
            )
        real.append(path)
    return real, links


def _barrier(path: Path) -> Path | None:
    """Return the outermost directory on the way to `path`, or itself, that others cannot enter."""
    for folder in (*reversed(path.parents), path):
        mode = folder.stat().st_mode
        if stat.S_ISDIR(mode) and not mode & stat.S_IXOTH:
            return folder
    return None


def _readable(path: Path) -> list[Path]:
    """Return `path` if others may read it, or its entries if only the folder itself is barred."""
    mode = path.stat().st_mode
    if mode & stat.S_IROTH and (not path.is_dir() or mode & stat.S_IXOTH):
        return [path]
    if path.is_dir() and mode & stat.S_IXOTH:
        return [path]
    entries = list(path.iterdir()) if path.is_dir() else []
    if not entries or any(not _open_to_others(each) for each in entries):
        raise UNSUPPORTED(
            f"Others cannot read {path}, which cells need.",
            why="Its permissions were set for its owner only.",
            hint=f"chmod -R o+rX {path}",
        )
    return entries


def _open_to_others(path: Path) -> bool:
    mode = path.lstat().st_mode
    need = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & need == need


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Leave out every path that lies below another."""
    every = set(paths)
    return sorted(path for path in every if not any(up in every for up in path.parents))


def _below_any(path: Path, folders: Iterable[Path]) -> bool:
    return any(folder == path or folder in path.parents for folder in folders)
