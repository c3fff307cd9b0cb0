"""Confine this process for ever: what a freshly forked child calls before it reads a user's byte.

The order matters. The cgroup comes first so that nothing escapes its counting; files are opened for
Landlock while root can still reach them; the user changes before the death signal is set, because
changing it would clear the signal; the system call filter comes last because it forbids the rest.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from skerry.node.sandbox import landlock, linux, namespaces, seccomp
from skerry.node.sandbox.limits import Limits, Membership

SYSTEM_EXECUTE = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt")
"""Where programs and libraries of the system lie."""

SYSTEM_READ = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki/tls",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/self",
    "/proc/stat",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/uptime",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
)
"""What ordinary programs read of the system; no secrets are there."""

PROCESSES = "/proc"

SYSTEM_WRITE = ("/dev/full", "/dev/null", "/dev/zero")
"""Devices that every program may use."""


class Confinement(msgspec.Struct, frozen=True):
    """All that a process keeps; whatever is not named here is taken from it.

    `uid` and `gid` are the user to become (None keeps it); if it has no account, programs see it
    under the name `account` (unless that is empty) where root may arrange it. `read`, `write` and
    `execute` are paths; each grants what lies below it, `write` includes reading, `execute`
    includes reading. `system` adds the machine's own programs, libraries and harmless settings.
    `hide` are directories to take out of sight but for the granted paths below them; it is for
    nodes without root, where unix sockets of the same user could be reached otherwise. `tight` is
    for code of users.
    `devices` are device files that it may use; with any, it may also set what its user may set of
    a process in /proc.
    `cgroup` is the group to join; the limits that it bounds are left to it. `listen` lets the
    process open TCP ports. `descriptors` are the only ones above 2 that stay open (None: all do).
    """

    uid: int | None = None
    gid: int | None = None
    account: str = "skerry"
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    limits: Limits = Limits()
    tight: bool = True
    cgroup: Membership = Membership()
    system: bool = True
    hide: tuple[str, ...] = ()
    listen: bool = False
    descriptors: tuple[int, ...] | None = None


def confine(confinement: Confinement, *, parent: int | None = None) -> None:
    """Confine this process, which must be freshly forked and have one thread.

    `parent` is the process that forked it: if that has died meanwhile, this one exits. Raises
    `OSError` if the machine refuses a step; the caller must then exit. Features that the machine
    lacks altogether are left out; `abilities` tells them.
    """
    if confinement.descriptors is not None:
        close_descriptors(confinement.descriptors)
    for path in confinement.cgroup.paths:
        Path(path).write_text("0", encoding="utf-8")
    _new_session()
    os.umask(0o077)
    if sys.platform == "linux":
        _confine_linux(confinement, parent)
    else:
        _become(confinement)
        limit_process(confinement)


def confine_launcher(
    confinement: Confinement, *, parent: int | None = None, scoped: bool = True
) -> None:
    """Confine a process that will make its own namespaces, as a container runtime does.

    Everything of `confine` that leaves mounting possible: files and system calls are for the
    runtime to narrow. Of Landlock only the scopes of signals and abstract sockets are set, unless
    not `scoped`: a runtime that must look after another sandbox signals it. Linux only; raises
    `OSError`.
    """
    if confinement.descriptors is not None:
        close_descriptors(confinement.descriptors)
    for path in confinement.cgroup.paths:
        Path(path).write_text("0", encoding="utf-8")
    _new_session()
    os.umask(0o022)
    _become(confinement)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    limit_process(confinement)
    if scoped:
        landlock.enforce_scopes()


def prepare() -> None:
    """Do once, in the process that will fork, what every `confine` would do again."""
    tempfile.gettempdir()
    landlock.abi()
    if seccomp.supported():
        for tight in (True, False):
            seccomp.program(os.uname().machine, tight)


def _confine_linux(confinement: Confinement, parent: int | None) -> None:
    _name_user(confinement)
    if confinement.hide:
        _hide(confinement)
    rules = landlock.Ruleset(listen=confinement.listen) if landlock.abi() else None
    if rules is not None:
        _grant(rules, confinement)
    _become(confinement)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    # Without Landlock, only this keeps others of the same user from reading our memory. With it,
    # the process must own its files in /proc, which changing the user took from it.
    linux.prctl(linux.PR_SET_DUMPABLE, 1 if rules is not None else 0)
    limit_process(confinement)
    if rules is not None:
        rules.enforce()
    if seccomp.supported():
        scoped = landlock.abi() >= landlock.SIGNALS_SCOPED_SINCE
        seccomp.confine(confinement.tight, confinement.tight and not scoped)


def _hide(confinement: Confinement) -> None:
    granted = (*confinement.read, *confinement.write, *confinement.execute, *confinement.devices)
    try:
        namespaces.hide(confinement.hide, granted)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOSPC, errno.ENOSYS, errno.EPERM):
            raise
        # No namespaces for this user here: Landlock still guards the files.


def _name_user(confinement: Confinement) -> None:
    uid = confinement.uid
    if uid is None or not confinement.account:
        return
    if linux.has_capability(linux.CAP_SYS_ADMIN):
        gid = uid if confinement.gid is None else confinement.gid
        namespaces.name_user(confinement.account, uid, gid)


def _grant(rules: landlock.Ruleset, confinement: Confinement) -> None:
    rules.grant_read(confinement.read)
    rules.grant_write(confinement.write)
    rules.grant_execute(confinement.execute)
    if confinement.devices:
        rules.grant_devices(confinement.devices)
        # NVIDIA's driver names its threads by files of /proc, and gives up if it cannot.
        rules.grant_overwrite((PROCESSES,))
    if confinement.system:
        rules.grant_read(SYSTEM_READ)
        rules.grant_write(SYSTEM_WRITE)
        rules.grant_execute(SYSTEM_EXECUTE)


def _new_session() -> None:
    """Leave the terminal and the process group; a process that leads its group did so before."""
    if os.getsid(0) != os.getpid():
        os.setsid()


def _become(confinement: Confinement) -> None:
    """Become the user for good: real, effective and saved ids, and no further groups."""
    if confinement.uid is None:
        return
    gid = confinement.uid if confinement.gid is None else confinement.gid
    os.setgroups([])
    if hasattr(os, "setresuid"):
        os.setresgid(gid, gid, gid)
        os.setresuid(confinement.uid, confinement.uid, confinement.uid)
    else:
        # Where those are not, these set all three ids of a process of root.
        os.setgid(gid)
        os.setuid(confinement.uid)


def limit_process(confinement: Confinement) -> None:
    """Set the bounds of a single process, and those of a group that its cgroup does not set."""
    limits = confinement.limits
    _lower(resource.RLIMIT_CORE, 0)
    if limits.open_files is not None:
        _lower(resource.RLIMIT_NOFILE, limits.open_files)
    if limits.file_bytes is not None:
        _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    bounds = confinement.cgroup.bounds
    if limits.memory_bytes is not None and "memory" not in bounds:
        _lower(resource.RLIMIT_DATA, limits.memory_bytes)
    if limits.processes is not None and "processes" not in bounds:
        # The kernel counts all that the user runs, so what others of it run is added.
        others = 0 if confinement.uid is not None else _threads_of(os.getuid())
        _lower(resource.RLIMIT_NPROC, limits.processes + others)


def _lower(which: int, value: int) -> None:
    """Set both limits, never above what the process was given."""
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _threads_of(uid: int) -> int:
    """Count the threads that a user runs, as RLIMIT_NPROC does; 0 where /proc is not there."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == uid:
                count += (process / "task").stat().st_nlink - 2
        except FileNotFoundError:
            continue
    return count


def close_descriptors(keep: Iterable[int]) -> None:
    """Close every descriptor above 2 that is not to be kept."""
    previous = 2
    for descriptor in sorted({each for each in keep if each > 2}):
        os.closerange(previous + 1, descriptor)
        previous = descriptor
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    os.closerange(previous + 1, highest if highest != resource.RLIM_INFINITY else 1 << 20)
