"""The few Linux system calls that Python 3.11 does not offer, by ctypes.

Every function raises `OSError` with the call's name. They are safe in a forked child: none starts
a thread or takes a lock of ours.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_NOATIME = 0x400
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000

MNT_DETACH = 0x2

CAP_SYS_ADMIN = 21

_OPEN_TREE = 428
_MOVE_MOUNT = 429
_OPEN_TREE_CLONE = 0x1
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 0x4

_PR_CAPBSET_DROP = 24
_CAPABILITIES_MAX = 64
_CAPABILITY_VERSION_3 = 0x20080522
_CAPGET = {"x86_64": 125, "aarch64": 90}
_CAPSET = {"x86_64": 126, "aarch64": 91}


def check(result: int, what: str) -> int:
    """Return what a C call returned, or raise its errno."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: int | ctypes.c_void_p | bytes | None) -> int:
    """Make a system call by its number; return a negative value and set errno if it fails."""
    call = _libc.syscall
    call.restype = ctypes.c_long
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return int(call(ctypes.c_long(number), *words))


def prctl(option: int, value: int = 0, pointer: ctypes.c_void_p | None = None) -> None:
    """Set an attribute of this process (prctl(2))."""
    zero = ctypes.c_ulong(0)
    third = pointer if pointer is not None else zero
    call = _libc.prctl
    check(call(option, ctypes.c_ulong(value), third, zero, zero), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (unshare(2))."""
    check(_libc.unshare(flags), "unshare")


def join_namespace(descriptor: int, kind: int) -> None:
    """Enter the namespace that a descriptor names (setns(2))."""
    check(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount a file system or change a mount's propagation (mount(2))."""
    arguments = (source.encode(), os.fsencode(target), kind.encode())
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode())
    check(result, f"mount {target}")


def unmount(target: str, flags: int = 0) -> None:
    """Unmount what is mounted at `target` (umount2(2))."""
    check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


@contextmanager
def cloned_tree(directory: str) -> Iterator[int]:
    """Yield a descriptor of a detached copy of a directory's or a file's mounts (open_tree(2))."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    path = ctypes.c_char_p(os.fsencode(directory))
    descriptor = check(
        syscall(_OPEN_TREE, _AT_FDCWD, ctypes.cast(path, ctypes.c_void_p), flags),
        f"open_tree {directory}",
    )
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def attach_tree(tree: int, target: str) -> None:
    """Mount a detached tree at `target` (move_mount(2))."""
    empty = ctypes.cast(ctypes.c_char_p(b""), ctypes.c_void_p)
    path = ctypes.cast(ctypes.c_char_p(os.fsencode(target)), ctypes.c_void_p)
    check(
        syscall(_MOVE_MOUNT, tree, empty, _AT_FDCWD, path, _MOVE_MOUNT_F_EMPTY_PATH),
        f"move_mount {target}",
    )


def drop_capabilities() -> None:
    """Give up every capability of this thread (capset(2))."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    number = _CAPSET[os.uname().machine]
    pointers = (ctypes.cast(header, ctypes.c_void_p), ctypes.cast(nothing, ctypes.c_void_p))
    check(syscall(number, *pointers), "capset")


def drop_bounding_set() -> None:
    """Give up every capability that a program could gain by being executed (capabilities(7))."""
    for capability in range(_CAPABILITIES_MAX):
        try:
            prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The kernel has no capability of that number, nor any above it.
            return


def has_capability(bit: int) -> bool:
    """Tell whether this process has a capability in effect, by its number in capabilities(7)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    number = _CAPGET[os.uname().machine]
    pointers = (ctypes.cast(header, ctypes.c_void_p), ctypes.cast(sets, ctypes.c_void_p))
    check(syscall(number, *pointers), "capget")
    effective = (sets[0], sets[3])[bit // 32]
    return bool(effective >> bit % 32 & 1)
