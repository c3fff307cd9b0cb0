"""Starting processes of a sandbox from its keeper, which has one thread and may fork."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skerry.node.sandbox import Confinement, Limits, landlock, linux, seccomp
from skerry.node.sandbox.confinement import (
    close_descriptors,
    confine_launcher,
    limit_process,
)
from skerry.node.workload.classes import Launch, Place
from skerry.node.workload.classes.base import INSIDE_ID, Program

CANNOT_START = 126
_NAMESPACES = {
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
    "net": linux.CLONE_NEWNET,
    "pid": linux.CLONE_NEWPID,
    "cgroup": linux.CLONE_NEWCGROUP,
    "mnt": linux.CLONE_NEWNS,
}
_EVERY = frozenset((*_NAMESPACES, "user"))
_NS_GET_PARENT = 0xB702
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41


@dataclass(slots=True)
class Child:
    """A process that was started: `ended` gets its exit code, negative for a signal.

    From then on `cpu_ms` is what it and all that it waited for have used.
    """

    pid: int
    ended: asyncio.Future[int]
    cpu_ms: int = 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; nothing if it has ended."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def fork(
    work: Callable[[], None], streams: tuple[int, int, int], keep: Sequence[int] = ()
) -> Child:
    """Fork a child with these standard streams that does `work`, which must not return.

    Of other descriptors it has those of `keep` alone: the keeper's lock and its listening sockets
    must end with the keeper.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            for place, descriptor in enumerate(streams):
                os.dup2(descriptor, place)
            close_descriptors(keep)
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            work()
        except BaseException as error:
            os.write(2, f"skerry: {error}\n".encode())
        finally:
            os._exit(CANNOT_START)
    return _watch(pid)


def _watch(pid: int) -> Child:
    """Take note of the end of a child."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    child = Child(pid, ended)
    descriptor = os.pidfd_open(pid)

    def reap() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        _, status, used = os.wait4(pid, 0)
        child.cpu_ms = int((used.ru_utime + used.ru_stime) * 1000)
        if not ended.done():
            ended.set_result(os.waitstatus_to_exitcode(status))

    loop.add_reader(descriptor, reap)
    return child


def start(launch: Launch, place: Place, streams: tuple[int, int, int]) -> Child:
    """Start the first process of a sandbox."""
    parent = os.getpid()

    def work() -> None:
        if launch.work is not None:
            launch.work()
            return
        for descriptor in launch.keep:
            os.set_inheritable(descriptor, True)
        if launch.own_network:
            linux.unshare(linux.CLONE_NEWNET)
            _raise_loopback()
        if launch.network_of is not None:
            enter(open_namespaces(launch.network_of, ("net",)))
        confine_launcher(
            Confinement(
                uid=launch.uid,
                gid=launch.uid,
                limits=launch.limits,
                cgroup=place.membership,
            ),
            parent=parent,
            scoped=launch.scoped,
        )
        os.execve(launch.argv[0], launch.argv, launch.env)  # noqa: S606 (no shell is meant)

    return fork(work, streams, launch.keep)


def _raise_loopback() -> None:
    """Bring up the loopback of a new network namespace (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", b"lo", _IFF_UP_RUNNING)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def join(
    first: int,
    place: Place,
    limits: Limits,
    program: Program,
    streams: tuple[int, int, int],
) -> Child:
    """Start a program beside the first one: in its namespaces and cgroup, with its filter."""

    def work() -> None:
        namespaces = open_namespaces(first)
        os.setsid()
        for path in place.membership.paths:
            Path(path).write_text("0", encoding="ascii")
        os.umask(0o022)
        if os.geteuid() == 0:
            os.setgroups([])
        outside = Path("/").stat()
        enter(namespaces)
        if os.path.samestat(outside, Path("/").stat()):
            raise PermissionError("the sandbox is not complete")
        child = os.fork()
        if child:
            _stand_in(child)
        _take_session(program.terminal)
        close_descriptors(())
        _become_inside()
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        limit_process(Confinement(uid=INSIDE_ID, limits=limits, cgroup=place.membership))
        os.chdir(program.directory)
        landlock.enforce_scopes()
        if seccomp.supported():
            seccomp.confine(tight=False, own_signals_only=False)
        _execute(program.argv, program.env)

    return fork(work, streams)


def open_namespaces(first: int, kinds: Container[str] = _EVERY) -> list[tuple[int, int]]:
    """Open the namespaces of a process that are not this process's own, in the order of entering.

    What gives the right to enter namespaces is the user namespace that they belong to: an ordinary
    user enters that first. Bubblewrap puts its program into one more below it, which comes last.
    """
    found = []
    for name, kind in _NAMESPACES.items():
        path = Path(f"/proc/{first}/ns/{name}")
        if name not in kinds or not path.exists() or _is_own(path.stat().st_ino, name):
            continue
        found.append((os.open(path, os.O_RDONLY | os.O_CLOEXEC), kind))
    if "user" not in kinds:
        return found
    users = list(_user_namespaces(first))
    return found + users if os.geteuid() == 0 or not users else [users[0], *found, *users[1:]]


def _user_namespaces(first: int) -> Iterator[tuple[int, int]]:
    """Yield the user namespace of a process, after the one above it if that is not this one's."""
    path = Path(f"/proc/{first}/ns/user")
    if _is_own(path.stat().st_ino, "user"):
        return
    inner = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.geteuid() != 0:
        above = fcntl.ioctl(inner, _NS_GET_PARENT)
        if not _is_own(os.fstat(above).st_ino, "user"):
            yield above, linux.CLONE_NEWUSER
    yield inner, linux.CLONE_NEWUSER


def _is_own(inode: int, name: str) -> bool:
    return Path(f"/proc/self/ns/{name}").stat().st_ino == inode


def enter(namespaces: list[tuple[int, int]]) -> None:
    """Enter namespaces in this order."""
    for descriptor, kind in namespaces:
        linux.join_namespace(descriptor, kind)


def _take_session(terminal: bool) -> None:
    """Lead a session, within the sandbox's own processes, and control its terminal."""
    os.setsid()
    if terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _become_inside() -> None:
    """Become the sandbox's user without any capability, for good."""
    linux.drop_bounding_set()
    os.setresgid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
    os.setresuid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
    linux.drop_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def _execute(argv: list[str], env: dict[str, str]) -> None:
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606 (no shell is meant)
    except OSError as error:
        code = 127 if error.errno == errno.ENOENT else CANNOT_START
        sys.stderr.write(f"{argv[0]}: {os.strerror(error.errno or 0)}\n")
        sys.stderr.flush()
        os._exit(code)


def _stand_in(child: int) -> None:
    """Wait for the child in the other process namespace, and end as it did."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, _: os.kill(child, got))
    while True:
        try:
            _, status = os.waitpid(child, 0)
            break
        except InterruptedError:
            continue
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)
