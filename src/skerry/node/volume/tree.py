"""Copy a directory with all that matters about its files, by a given way of copying one file.

Modes, owners, times, extended attributes, symbolic links and hard links among the files are kept;
sockets, pipes and devices are left out. The source may belong to somebody who wants to lead us
astray, so nothing below it is opened through a symbolic link.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

Immutable = Callable[[PurePosixPath], bool]
"""Tells of a directory, relative to the branch, whether its files never change once written."""

CopyFile = Callable[[int, int, Callable[[int], None]], None]
"""Copies the content of one open file to another and reports the bytes as they are done."""

WORKERS = 4

_OPENAT2 = 437
_NO_SYMLINKS = 0x04
_BENEATH = 0x08
_CANNOT_LINK = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP)

_libc = ctypes.CDLL(None, use_errno=True)


def all_mutable(_directory: PurePosixPath) -> bool:
    """Say of every directory that its files may change."""
    return False


def folders(names: Iterable[str]) -> Immutable:
    """Say of the named directories, relative to the branch, that their files never change."""
    wanted = frozenset(PurePosixPath(each) for each in names)
    return wanted.__contains__


@dataclass(slots=True)
class _File:
    """A file that is to be copied."""

    relative: str
    status: os.stat_result


@dataclass(slots=True)
class _Plan:
    """What a walk over the source found, besides what it could do at once."""

    files: list[_File] = field(default_factory=list)
    twins: list[tuple[str, str]] = field(default_factory=list)
    directories: list[tuple[str, os.stat_result]] = field(default_factory=list)
    first: dict[tuple[int, int], str] = field(default_factory=dict)


class TreeCopy:
    """One copy of one directory; `run` makes it, into a target that must not exist.

    `prepare` is called with the target while it is empty.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        copy_file: CopyFile,
        immutable: Immutable,
        progress: Callable[[int, int], None],
        prepare: Callable[[Path], None] | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._copy_file = copy_file
        self._immutable = immutable
        self._progress = progress
        self._prepare = prepare
        self._lock = threading.Lock()
        self._done = 0
        self._total = 0

    def run(self) -> None:
        """Copy everything; raise the first `OSError` that any file caused."""
        plan = _Plan()
        self._target.mkdir(mode=0o700)
        if self._prepare is not None:
            self._prepare(self._target)
        self._root = os.open(self._source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            self._walk("", plan, linked=False)
            self._total = sum(each.status.st_size for each in plan.files)
            self._progress(0, self._total)
            self._copy_all(plan.files)
            for first, twin in plan.twins:
                os.link(self._target / first, self._target / twin)
            for relative, status in reversed(plan.directories):
                descriptor = self._open(relative, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    _keep_attributes(descriptor, self._target / relative)
                finally:
                    os.close(descriptor)
                _keep_status(self._target / relative, status)
        finally:
            os.close(self._root)

    def _walk(self, relative: str, plan: _Plan, *, linked: bool) -> None:
        """Make directories and links now, and note the files for later."""
        pending = [(relative, linked)]
        while pending:
            relative, linked = pending.pop()
            try:
                descriptor = self._open(relative, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue
            try:
                if relative:
                    (self._target / relative).mkdir(mode=0o700)
                plan.directories.append((relative, os.fstat(descriptor)))
                linked = linked or self._immutable(PurePosixPath(relative or "."))
                for name in os.listdir(descriptor):  # noqa: PTH208
                    below = f"{relative}/{name}" if relative else name
                    status = _status(name, descriptor)
                    if status is None:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        pending.append((below, linked))
                    else:
                        self._leaf(name, descriptor, below, status, plan, linked=linked)
            finally:
                os.close(descriptor)

    def _leaf(
        self,
        name: str,
        directory: int,
        relative: str,
        status: os.stat_result,
        plan: _Plan,
        *,
        linked: bool,
    ) -> None:
        target = self._target / relative
        if stat.S_ISLNK(status.st_mode):
            target.symlink_to(os.readlink(name, dir_fd=directory))
            _keep_status(target, status)
        elif stat.S_ISREG(status.st_mode):
            if linked and _link(name, directory, target):
                return
            identity = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and identity in plan.first:
                plan.twins.append((plan.first[identity], relative))
                return
            plan.first[identity] = relative
            plan.files.append(_File(relative, status))

    def _copy_all(self, files: list[_File]) -> None:
        """Copy files in a few threads; the first failure ends all of them."""
        remaining: Iterator[_File] = iter(files)
        failures: list[BaseException] = []

        def work() -> None:
            while not failures:
                with self._lock:
                    each = next(remaining, None)
                if each is None:
                    return
                try:
                    self._copy_one(each)
                except BaseException as error:
                    failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(min(WORKERS, len(files)) - 1)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _copy_one(self, file: _File) -> None:
        try:
            source = self._open(file.relative, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            # An engine that copies itself consistently (Postgres) may drop files meanwhile.
            return
        path = self._target / file.relative
        try:
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                self._copy_file(source, target, self._report)
                _keep_attributes(source, path)
            finally:
                os.close(target)
        finally:
            os.close(source)
        _keep_status(path, file.status)

    def _report(self, count: int) -> None:
        with self._lock:
            self._done += count
            done = self._done
        self._progress(min(done, self._total), self._total)

    def _open(self, relative: str, flags: int) -> int:
        return open_beneath(self._root, relative or ".", flags)


def open_beneath(root: int, relative: str, flags: int) -> int:
    """Open a path below a directory and through no symbolic link (openat2(2))."""
    if sys.platform != "linux":
        return os.open(relative, flags | os.O_NOFOLLOW, dir_fd=root)
    how = struct.pack("QQQ", flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _NO_SYMLINKS | _BENEATH)
    path = os.fsencode(relative)
    number = ctypes.c_long(_OPENAT2)
    descriptor = int(_libc.syscall(number, root, path, how, ctypes.c_size_t(len(how))))
    if descriptor >= 0:
        return descriptor
    reason = ctypes.get_errno()
    if reason == errno.ENOSYS:
        # Before Linux 5.6, and on other systems, only the last component is guarded.
        return os.open(relative, flags | os.O_NOFOLLOW, dir_fd=root)
    raise OSError(reason, os.strerror(reason), relative)


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _link(name: str, directory: int, target: Path) -> bool:
    """Link a file; tell whether the file system and the file's owner allow it."""
    try:
        os.link(name, target, src_dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise
    return True


def _keep_attributes(source: int, target: Path) -> None:
    """Copy extended attributes that the target's file system takes."""
    if not hasattr(os, "listxattr"):
        return
    try:
        names = os.listxattr(source)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        if name.startswith(("user.", "system.posix_acl_")):
            os.setxattr(target, name, os.getxattr(source, name), follow_symlinks=False)


def _keep_status(target: Path, status: os.stat_result) -> None:
    """Give the target its owner, then its mode (which a change of owner resets), then its times."""
    if os.geteuid() == 0:
        os.lchown(target, status.st_uid, status.st_gid)
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode))
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(target, ns=times, follow_symlinks=False)
