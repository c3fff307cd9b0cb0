"""Code in the sandbox tries to get out; whatever the machine can hold, must hold."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import pickle
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node.boxed import (
    APP,
    PYTHON,
    ROOT,
    confinement,
    finish,
    needs_landlock,
    refused,
    run,
    start,
)

from skerry.node.sandbox import Limits, abilities, linux, seccomp
from skerry.node.sandbox import landlock as landlock_module
from skerry.node.sandbox.syscalls import NUMBERS

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

MIB = 1 << 20
NUMBER = NUMBERS.get(os.uname().machine, {})

needs_seccomp = pytest.mark.skipif(
    not seccomp.supported(), reason="this machine has no seccomp filter"
)
needs_root = pytest.mark.skipif(not ROOT, reason="only root can give each app a user of its own")


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory that every user can pass through; pytest's own are its owner's alone."""
    path = Path(tempfile.mkdtemp(prefix="skerry-sandbox-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def folder_of_app(place: Path, name: str, uid: int | None = None) -> Path:
    path = place / name
    path.mkdir(mode=0o700)
    (path / "file").write_text(f"data of {name}")
    if ROOT:
        uid = APP["uid"] if uid is None else uid
        for each in (path, path / "file"):
            os.chown(each, uid, uid)
    return path


class TestFiles:
    def test_own_files_can_be_read_and_written(self, place: Path) -> None:
        own = folder_of_app(place, "own")

        def work() -> str:
            (own / "new").write_text("more")
            (own / "new").rename(own / "file")
            (own / "folder").mkdir()
            os.truncate(own / "file", 3)
            return (own / "file").read_text()

        assert run(confinement(write=(str(own),)), work) == ("ok", "mor")

    @needs_landlock
    def test_another_app_cannot_be_read_listed_or_written(self, place: Path) -> None:
        """Even where it belongs to the same user, as all do on a node without root."""
        own = folder_of_app(place, "own")
        other = folder_of_app(place, "other")
        attempts: list[Callable[[], Any]] = [
            (other / "file").read_text,
            lambda: list(other.iterdir()),
            lambda: list(place.iterdir()),
            lambda: (other / "file").write_text("gone"),
            (other / "file").unlink,
            lambda: os.link(other / "file", own / "link"),
            lambda: (other / "file").rename(own / "moved"),
        ]
        if landlock_module.abi() >= landlock_module.TRUNCATION_HELD_SINCE:
            attempts.append(lambda: os.truncate(other / "file", 0))
        for attempt in attempts:
            outcome = run(confinement(write=(str(own),)), attempt)
            assert refused(outcome) or outcome == ("errno", errno.EXDEV), outcome
        assert (other / "file").read_text() == "data of other"

    @needs_root
    def test_permissions_hold_another_app_even_where_a_path_is_granted(self, place: Path) -> None:
        other = folder_of_app(place, "other", uid=700_202)
        outcome = run(confinement(write=(str(place),)), (other / "file").read_text)
        assert refused(outcome)

    @needs_landlock
    def test_secrets_of_the_machine_and_the_node_cannot_be_read(self, place: Path) -> None:
        (place / "node.key").write_text("secret")
        (place / "node.key").chmod(0o600)
        own = folder_of_app(place, "own")
        for path in (place / "node.key", Path("/etc/shadow"), Path("/etc/hostname")):
            if path.exists():
                assert refused(run(confinement(write=(str(own),)), path.read_text)), path
        environment = Path(f"/proc/{os.getpid()}/environ")
        assert refused(run(confinement(), environment.read_bytes))
        assert refused(run(confinement(), lambda: list(Path("/proc").iterdir())))

    @needs_landlock
    def test_what_may_be_read_may_not_be_written(self, place: Path) -> None:
        code = folder_of_app(place, "code")
        may_read = confinement(read=(str(code),))
        assert run(may_read, (code / "file").read_text) == ("ok", "data of code")
        assert refused(run(may_read, lambda: (code / "file").write_text("x")))
        assert refused(run(may_read, (code / "new").touch))
        assert refused(run(may_read, lambda: Path("/usr/skerry-was-here").touch()))

    @needs_landlock
    def test_what_may_be_written_may_not_be_executed(self, place: Path) -> None:
        own = folder_of_app(place, "own")
        shutil.copy("/usr/bin/true", own / "program")
        (own / "program").chmod(0o755)

        def work() -> int:
            return subprocess.run([own / "program"], check=False).returncode

        assert run(confinement(execute=(*PYTHON, str(own))), work) == ("ok", 0)
        assert refused(run(confinement(write=(str(own),)), work))

    def test_descriptors_from_before_are_closed(self, place: Path) -> None:
        (place / "node.key").write_text("secret")
        key = os.open(place / "node.key", os.O_RDONLY)
        kept = os.open("/dev/null", os.O_RDONLY)
        try:
            # The pipe of the result has some of the other numbers.
            keep = tuple(number for number in range(3, 1024) if number != key)
            outcome = run(confinement(descriptors=keep), lambda: os.read(key, 10))
            assert outcome == ("errno", errno.EBADF)
            assert run(confinement(descriptors=keep), lambda: os.read(kept, 10)) == ("ok", b"")
        finally:
            os.close(key)
            os.close(kept)

    def test_ordinary_python_works_inside(self, place: Path) -> None:
        """Lazy imports, threads, programs, name lookups, TLS and temporary files."""
        own = folder_of_app(place, "own")

        def work() -> list[Any]:
            import pwd
            import sqlite3
            import ssl
            import uuid

            thread = threading.Thread(target=uuid.uuid4)
            thread.start()
            thread.join()
            database = sqlite3.connect(own / "db")
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE t (a)")
            ssl.create_default_context()
            left, right = socket.socketpair()
            left.send(b"x")
            script = "import json; print(json.dumps([1]))"
            said = subprocess.run(
                [sys.executable, "-c", script], check=True, capture_output=True, text=True
            )
            socket.getaddrinfo("localhost", 80)
            return [
                said.stdout.strip(),
                right.recv(1),
                not ROOT or pwd.getpwuid(os.getuid()).pw_name == "skerry",
                len(os.sched_getaffinity(0)) > 0,
                any(Path("/proc/self/fd").iterdir()),
            ]

        assert run(confinement(write=(str(own),)), work) == ("ok", ["[1]", b"x", True, True, True])

    @pytest.mark.skipif(not shutil.which("fc-list"), reason="fontconfig is not installed")
    def test_libraries_that_draw_find_the_fonts_of_the_system(self, place: Path) -> None:
        own = folder_of_app(place, "own")

        def work() -> str:
            kept = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(own), "HOME": str(own)}
            return subprocess.run(
                ["fc-list"], check=True, capture_output=True, text=True, env=kept
            ).stderr

        assert run(confinement(write=(str(own),)), work) == ("ok", "")


def own_process(writer: int) -> None:
    os.write(writer, b"x")
    time.sleep(30)


class TestOtherProcesses:
    @pytest.fixture
    def sibling(self) -> Iterator[int]:
        """A confined process of the same user, such as a function of another branch."""
        reader, writer = os.pipe()
        child, result = start(confinement(), lambda: own_process(writer))
        os.read(reader, 1)
        yield child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for each in (reader, writer, result):
            os.close(each)

    @pytest.mark.skipif(
        landlock_module.abi() < 6 and not seccomp.supported(),
        reason="nothing on this machine parts processes of one user",
    )
    def test_a_sibling_of_the_same_user_cannot_be_signalled(self, sibling: int) -> None:
        for number in (0, signal.SIGKILL, signal.SIGSTOP):
            outcome = run(confinement(), functools.partial(os.kill, sibling, number))
            assert outcome == ("errno", errno.EPERM)
        assert refused(run(confinement(), lambda: os.kill(os.getppid(), signal.SIGTERM)))
        os.kill(sibling, 0)

    def test_everybody_at_once_cannot_be_signalled(self, sibling: int) -> None:
        run(confinement(), lambda: os.kill(-1, signal.SIGKILL))
        os.kill(sibling, 0)
        assert os.waitpid(sibling, os.WNOHANG) == (0, 0)

    @needs_seccomp
    def test_a_sibling_cannot_be_traced_or_read(self, sibling: int) -> None:
        attach = 16

        def trace() -> None:
            linux.check(linux.syscall(NUMBER["ptrace"], attach, sibling, 0, 0), "ptrace")

        def read() -> None:
            zeros = (sibling, 0, 0, 0, 0, 0)
            linux.check(linux.syscall(NUMBER["process_vm_readv"], *zeros), "process_vm_readv")

        for attempt in (trace, read):
            assert run(confinement(), attempt) == ("errno", errno.EPERM)
        for file in ("mem", "environ", "maps"):
            outcome = run(confinement(), Path(f"/proc/{sibling}/{file}").read_bytes)
            assert refused(outcome), (file, outcome)
        # With every path granted, it is the sibling's own protection that counts.
        for file in ("mem", "environ"):
            everything = confinement(read=("/",))
            assert refused(run(everything, Path(f"/proc/{sibling}/{file}").read_bytes)), file

    def test_own_children_can_be_signalled(self) -> None:
        def work() -> int:
            child = subprocess.Popen(["/usr/bin/sleep", "30"])
            child.terminate()
            return child.wait(5)

        if landlock_module.abi() < 6:
            pytest.skip("on this kernel functions can signal only themselves")
        assert run(confinement(), work) == ("ok", -signal.SIGTERM)

    @pytest.mark.skipif(landlock_module.abi() < 6, reason="this kernel does not scope sockets")
    def test_abstract_sockets_of_others_cannot_be_reached(self) -> None:
        name = f"\0skerry-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
            listener.listen()

            def connect() -> None:
                socket.socket(socket.AF_UNIX).connect(name)

            assert run(confinement(), connect) == ("errno", errno.EPERM)

    def test_it_dies_with_the_process_that_forked_it(self) -> None:
        reader, writer = os.pipe()
        zygote = os.fork()
        if zygote == 0:
            os.close(reader)
            start(confinement(), lambda: own_process(writer))
            os.close(writer)
            time.sleep(30)
            os._exit(0)
        os.close(writer)
        assert os.read(reader, 1) == b"x"
        os.kill(zygote, signal.SIGKILL)
        os.waitpid(zygote, 0)
        ready, _, _ = select.select([reader], [], [], 5)
        assert ready
        assert os.read(reader, 1) == b""
        os.close(reader)


def call(name: str, *arguments: int) -> Callable[[], None]:
    def attempt() -> None:
        linux.check(linux.syscall(NUMBER[name], *arguments), name)

    return attempt


@needs_seccomp
class TestSystemCalls:
    @pytest.mark.parametrize("tight", [True, False], ids=["function", "engine"])
    def test_dangerous_calls_are_refused(self, tight: bool) -> None:
        new_user = linux.CLONE_NEWUSER
        for attempt in (
            call("unshare", new_user),
            call("clone", new_user | signal.SIGCHLD, 0, 0, 0, 0),
            call("setns", 0, 0),
            call("mount", 0, 0, 0, 0, 0),
            call("umount2", 0, 0),
            call("ptrace", 0, 0, 0, 0),
            call("bpf", 0, 0, 0),
            call("keyctl", 0, 0, 0, 0, 0),
            call("perf_event_open", 0, 0, 0, 0, 0),
            call("userfaultfd", 0),
            call("open_by_handle_at", 0, 0, 0),
            call("kexec_load", 0, 0, 0, 0),
            call("pivot_root", 0, 0),
            call("chroot", 0),
            call("reboot", 0, 0, 0, 0),
            call("fsopen", 0, 0),
        ):
            assert run(confinement(tight=tight), attempt) == ("errno", errno.EPERM)

    def test_calls_with_a_fallback_look_absent(self) -> None:
        for attempt in (
            call("clone3", 0, 0),
            call("io_uring_setup", 1, 0),
            lambda: linux.check(linux.syscall(499), "a call of the future"),
            lambda: linux.check(linux.syscall(0x40000000 | 39), "an x32 call"),
        ):
            assert run(confinement(), attempt) == ("errno", errno.ENOSYS)

    def test_only_functions_lose_system_v_memory(self) -> None:
        attempt = call("shmget", 0, 4096, 0o1600)
        assert run(confinement(), attempt) == ("errno", errno.EPERM)
        assert run(confinement(tight=False), call("shmget", 1, 4096, 0)) == ("errno", errno.ENOENT)

    @pytest.mark.parametrize("family", [socket.AF_PACKET, 38, 40, 31], ids=str)
    def test_exotic_sockets_are_refused(self, family: int) -> None:
        outcome = run(confinement(), lambda: socket.socket(family, socket.SOCK_STREAM).close())
        assert outcome == ("errno", errno.EAFNOSUPPORT)

    def test_netlink_beyond_addresses_is_refused(self) -> None:
        firewall = 12
        outcome = run(
            confinement(),
            lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, firewall).close(),
        )
        assert outcome == ("errno", errno.EAFNOSUPPORT)
        assert run(confinement(), lambda: len(socket.if_nameindex()) > 0) == ("ok", True)

    def test_the_terminal_cannot_be_typed_into(self) -> None:
        outcome = run(confinement(), lambda: fcntl.ioctl(0, 0x5412, b"x"))
        assert outcome == ("errno", errno.EPERM)

    @pytest.mark.skipif(os.uname().machine != "x86_64", reason="another machine's call table")
    def test_the_32_bit_call_table_kills(self) -> None:
        """`int 0x80` reaches the i386 table, whose numbers mean other calls."""
        import mmap

        code = bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3])  # mov eax, 20; int 0x80; ret

        def work() -> int:
            page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            page.write(code)
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())

        assert run(confinement(), work) == ("died", -signal.SIGSYS)

    def test_without_signal_scope_the_filter_keeps_signals_in(self) -> None:
        """The stand-in for kernels before 6.12, tried on whatever kernel there is."""

        def work() -> list[bool]:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            seccomp.confine(True, True)
            parent = os.getppid()
            found = []
            for target in (parent, -parent, -1, 1):
                try:
                    os.kill(target, 0)
                    found.append(True)
                except PermissionError:
                    found.append(False)
            os.kill(os.getpid(), 0)
            signal.pthread_kill(threading.get_ident(), 0)
            return found

        def bare() -> tuple[str, Any]:
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                outcome: tuple[str, Any] = ("failed", "")
                try:
                    outcome = ("ok", work())
                except BaseException as error:
                    outcome = ("failed", repr(error))
                finally:
                    os.write(writer, pickle.dumps(outcome))
                    os._exit(0)
            os.close(writer)
            return finish(child, reader)

        assert bare() == ("ok", [False, False, False, False])

    def test_programs_exist_for_both_machines(self) -> None:
        for machine in ("x86_64", "aarch64"):
            for tight in (True, False):
                code = seccomp.program(machine, tight, 42)
                assert len(code) % 8 == 0
                assert 100 < len(code) // 8 < 4096


class TestRights:
    def test_no_privilege_is_left_and_none_can_be_gained(self) -> None:
        def work() -> dict[str, str]:
            lines = Path("/proc/self/status").read_text().splitlines()
            return dict(line.split(":\t", 1) for line in lines)

        outcome, status = run(confinement(), work)
        assert outcome == "ok", status
        assert status["NoNewPrivs"].strip() == "1"
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, name
        uid = APP["uid"] if ROOT else os.getuid()
        assert status["Uid"].split() == [str(uid)] * 4
        if ROOT:
            assert status["Groups"].strip() == ""
            assert status["Gid"].split() == [str(APP["gid"])] * 4

    @needs_root
    def test_root_cannot_be_regained(self) -> None:
        for attempt in (
            lambda: os.setresuid(0, 0, 0),
            lambda: os.setresgid(0, 0, 0),
            lambda: os.setgroups([0]),
        ):
            assert refused(run(confinement(), attempt))

    def test_a_new_session_has_no_terminal(self) -> None:
        assert run(confinement(), lambda: os.getsid(0) == os.getpid()) == ("ok", True)
        assert run(confinement(), lambda: os.open("/dev/tty", os.O_RDWR))[0] == "errno"

    @pytest.mark.skipif(landlock_module.abi() < 4, reason="this kernel does not hold TCP ports")
    def test_listening_needs_leave(self) -> None:
        def listen() -> str:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
            return "bound"

        assert refused(run(confinement(), listen))
        assert run(confinement(listen=True), listen) == ("ok", "bound")


class TestLimits:
    def test_memory_without_a_cgroup_bounds_the_process(self) -> None:
        def work() -> int:
            return len(bytearray(512 * MIB))

        outcome = run(confinement(limits=Limits(memory_bytes=256 * MIB)), work)
        assert outcome == ("failed", "MemoryError()")

    def test_a_fork_bomb_without_a_cgroup_is_bounded(self) -> None:
        def work() -> int:
            children = []
            try:
                for _ in range(500):
                    child = os.fork()
                    if child == 0:
                        time.sleep(30)
                        os._exit(0)
                    children.append(child)
            except BlockingIOError:
                return len(children)
            finally:
                for child in children:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
            return len(children)

        if landlock_module.abi() < 6 and seccomp.supported():
            pytest.skip("on this kernel a function cannot end its children")
        outcome, count = run(confinement(limits=Limits(processes=20)), work)
        assert outcome == "ok"
        assert 1 <= count <= 40

    def test_files(self, place: Path) -> None:
        own = folder_of_app(place, "own")
        limits = Limits(open_files=64, file_bytes=MIB)
        bounded = confinement(write=(str(own),), limits=limits)

        def open_many() -> None:
            for _ in range(100):
                os.open("/dev/null", os.O_RDONLY)

        assert run(bounded, open_many) == ("errno", errno.EMFILE)
        write = run(bounded, lambda: (own / "big").write_bytes(bytes(2 * MIB)))
        assert write == ("errno", errno.EFBIG)
        no_dump = run(confinement(), lambda: resource.getrlimit(resource.RLIMIT_CORE))
        assert no_dump == ("ok", (0, 0))


class TestHiding:
    @pytest.fixture(autouse=True)
    def namespaces(self) -> None:
        found = {each.name: each for each in abilities()}["namespaces"]
        if not found.ok:
            pytest.skip(found.detail)

    def test_sockets_of_the_node_are_out_of_sight(self, place: Path) -> None:
        """No kernel lets Landlock guard them, so without root only hiding does."""
        own = folder_of_app(place, "own")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place / "node.sock"))
            (place / "node.sock").chmod(0o777)
            listener.listen()

            def connect() -> str:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(place / "node.sock"))
                return "connected"

            assert run(confinement(), connect) == ("ok", "connected")
            hidden = confinement(write=(str(own),), hide=(str(place),))
            assert run(hidden, connect) == ("errno", errno.ENOENT)
        assert run(hidden, (own / "file").read_text) == ("ok", "data of own")
        assert run(hidden, lambda: (own / "new").write_text("x")) == ("ok", 1)
        assert (own / "new").read_text() == "x"
        assert (place / "node.sock").exists()


def test_abilities_say_what_is_weaker_where_something_is_missing() -> None:
    found = abilities()
    assert [each.name for each in found] == [
        "users",
        "landlock",
        "seccomp",
        "cgroups",
        "namespaces",
    ]
    for each in found:
        assert each.level
        assert each.detail
        assert each.ok or each.without
