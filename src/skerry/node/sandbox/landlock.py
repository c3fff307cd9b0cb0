"""Landlock: which files a confined process may touch, whatever its user may (landlock(7)).

Access is denied by default and granted below paths. Newer kernels can refuse more (truncation,
device ioctls, TCP ports, signals and abstract sockets across the border); each is used where the
kernel has it. A process confined here can neither trace nor read the memory of one outside.
"""

from __future__ import annotations

import ctypes
import functools
import os
import stat
import struct
import sys
from collections.abc import Iterable

from skerry.node.sandbox import linux

_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_MAKE_DEVICES = 1 << 6 | 1 << 11
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
_FIRST_RIGHTS = (1 << 13) - 1
_FOR_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_BIND_TCP = 1 << 0
_SCOPE_ABSTRACT_UNIX = 1 << 0
_SCOPE_SIGNAL = 1 << 1

_READ = _READ_FILE | _READ_DIR
_RUN = _READ | _EXECUTE

TRUNCATION_HELD_SINCE = 3
DEVICES_HELD_SINCE = 5
SIGNALS_SCOPED_SINCE = 6


@functools.cache
def abi() -> int:
    """Return the kernel's Landlock version, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    version = linux.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(0, version)


class Ruleset:
    """Rules that are gathered while paths can be opened and enforced later."""

    def __init__(self, *, listen: bool) -> None:
        version = abi()
        self._rights = _FIRST_RIGHTS
        self._rights |= _REFER if version >= 2 else 0
        self._rights |= _TRUNCATE if version >= TRUNCATION_HELD_SINCE else 0
        self._rights |= _IOCTL_DEV if version >= DEVICES_HELD_SINCE else 0
        ports = 0 if listen or version < 4 else _BIND_TCP
        scope = _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL if version >= SIGNALS_SCOPED_SINCE else 0
        size = 24 if version >= SIGNALS_SCOPED_SINCE else 16 if version >= 4 else 8
        attributes = struct.pack("QQQ", self._rights, ports, scope)[:size]
        self._descriptor = linux.check(
            linux.syscall(_CREATE_RULESET, _pointer(attributes), size, 0),
            "landlock_create_ruleset",
        )

    def grant_read(self, paths: Iterable[str]) -> None:
        """Let files below the paths be read; paths that do not exist are left out."""
        self._grant(paths, _READ)

    def grant_execute(self, paths: Iterable[str]) -> None:
        """Let files below the paths be read and executed."""
        self._grant(paths, _RUN)

    def grant_write(self, paths: Iterable[str]) -> None:
        """Let everything below the paths be done but executing and using devices."""
        self._grant(paths, self._rights & ~(_EXECUTE | _IOCTL_DEV | _MAKE_DEVICES))

    def grant_devices(self, paths: Iterable[str]) -> None:
        """Let device files be read, written and controlled."""
        self._grant(paths, _READ_FILE | _WRITE_FILE | _IOCTL_DEV)

    def grant_overwrite(self, paths: Iterable[str]) -> None:
        """Let the files that are there below the paths be read and written, and none be made."""
        self._grant(paths, _READ_FILE | _WRITE_FILE | _TRUNCATE)

    def enforce(self) -> None:
        """Confine this process and its children for ever. Needs no_new_privs."""
        linux.check(linux.syscall(_RESTRICT_SELF, self._descriptor, 0), "landlock_restrict_self")
        os.close(self._descriptor)

    def _grant(self, paths: Iterable[str], rights: int) -> None:
        for path in paths:
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                # Nothing is granted, which is the safe side.
                continue
            try:
                folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
                granted = rights if folder else rights & _FOR_FILES
                rule = struct.pack("=Qi", granted & self._rights, descriptor)
                linux.check(
                    linux.syscall(_ADD_RULE, self._descriptor, _PATH_BENEATH, rule, 0),
                    f"landlock_add_rule {path}",
                )
            finally:
                os.close(descriptor)


def enforce_scopes() -> None:
    """Confine signals, tracing and abstract sockets alone, which leaves the process free to mount.

    Does nothing where the kernel cannot. Needs no_new_privs.
    """
    if abi() < SIGNALS_SCOPED_SINCE:
        return
    attributes = struct.pack("QQQ", 0, 0, _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL)
    descriptor = linux.check(
        linux.syscall(_CREATE_RULESET, _pointer(attributes), len(attributes), 0),
        "landlock_create_ruleset",
    )
    linux.check(linux.syscall(_RESTRICT_SELF, descriptor, 0), "landlock_restrict_self")
    os.close(descriptor)


def _pointer(data: bytes) -> ctypes.c_void_p:
    return ctypes.cast(ctypes.create_string_buffer(data, len(data)), ctypes.c_void_p)
