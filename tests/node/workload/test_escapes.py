"""Programs that try to get out, to see, to reach, or to use more than agreed; in every class."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node.workload.scene import need, python, run_to_end, said, shell, until

from skerry.node.workload import Mount, Port
from skerry.node.workload.disk import ENFORCED
from skerry.node.workload.spec import MIB
from skerry.node.workload.supervisor import Workloads

LINUX = ("bwrap", "crun", "gvisor")
GROUPED = "enforced for all processes together"

ATTEMPTS = r"""
import ctypes, errno, json, os, socket, stat, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
given = json.loads(os.environ["GIVEN"])
found = {}

def attempt(name, work):
    try:
        found[name] = ["done", str(work())[:300]]
    except BaseException as error:
        found[name] = ["refused", type(error).__name__ + " " + str(error)[:100]]

def call(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, errno.errorcode.get(number, "?"))
    return result

def connect(host, port):
    with socket.create_connection((host, port), timeout=2) as made:
        return made.getpeername()

def datagram(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        return made.sendto(b"x", address)

def abstract(name):
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(2)
        made.connect("\0" + name)
        return "connected"

def unix(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(2)
        made.connect(path)
        return "connected"

def write(path):
    with open(path, "a") as file:
        file.write("x")

def read(path):
    with open(path, "rb") as file:
        return file.read(200)

def setuid_copy():
    with open("/usr/bin/id", "rb") as file:
        data = file.read()
    with open("/workload/id", "wb") as file:
        file.write(data)
    os.chmod("/workload/id", 0o6755)
    said = subprocess.run(["/workload/id", "-u"], capture_output=True, text=True).stdout.strip()
    if said == "1000":
        raise PermissionError("still user 1000")
    return said

def shared_memory():
    with open("/dev/shm/x", "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))

status = dict(line.split(":", 1) for line in open("/proc/self/status"))
facts = {
    "uid": os.getuid(),
    "groups": os.getgroups(),
    "capabilities": int(status["CapEff"].strip(), 16) | int(status["CapBnd"].strip(), 16),
    "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:10],
    "interfaces": [name for _, name in socket.if_nameindex()],
    "environment": sorted(os.environ),
    "processes": len([n for n in os.listdir("/proc") if n.isdigit()]),
    "privileges": status.get("NoNewPrivs", "").strip(),
}
for path in given["files"]:
    attempt("read " + path, lambda: read(path))
    attempt("list " + path, lambda: os.listdir(os.path.dirname(path)).index("secret"))
for path in ("/etc/shadow", "/proc/kcore", "/proc/keys", "/dev/mem", "/dev/kvm", "/dev/vda",
             "/dev/loop0"):
    attempt("read " + path, lambda: read(path) or 1 / 0)
for path in ("/usr/x", "/etc/x", "/x", "/dev/x", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
             "/sys/kernel/x", "/etc/passwd", "/proc/1/mem"):
    attempt("write " + path, lambda: write(path))
attempt("read the keeper's files", lambda: [read(f"/proc/1/root{p}") for p in given["files"]])
for pid in given["pids"]:
    attempt(f"kill {pid}", lambda: os.kill(pid, 9))
    attempt(f"see {pid}", lambda: read(f"/proc/{pid}/cmdline"))
attempt("signal all", lambda: os.kill(-1, 0))
attempt("ptrace 1", lambda: call(libc.ptrace(16, 1, 0, 0)))
for address in given["addresses"]:
    attempt("connect " + ":".join(map(str, address)), lambda: connect(*address))
attempt("abstract", lambda: abstract(given["abstract"]))
attempt("unix", lambda: unix(given["unix"]))
attempt("name service", lambda: socket.getaddrinfo("example.com", 80))
attempt("datagram out", lambda: datagram(("192.0.2.1", 53)))
attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet socket", lambda: socket.socket(17, socket.SOCK_RAW, 3))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("become root", lambda: os.setuid(0))
attempt("become another", lambda: os.setresuid(65534, 65534, 65534))
attempt("groups", lambda: os.setgroups([0]))
attempt("set-user-id", setuid_copy)
attempt("mount", lambda: call(libc.mount(b"tmpfs", b"/workload", b"tmpfs", 0, b"")))
attempt("bind mount", lambda: call(libc.mount(b"/usr", b"/workload", None, 4096, None)))
attempt("remount", lambda: call(libc.mount(None, b"/", None, 32 | 4096, None)))
attempt("unmount", lambda: call(libc.umount2(b"/usr", 2)))
attempt("chroot", lambda: os.chroot("/workload"))
attempt("device", lambda: os.mknod("/workload/disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0)))
attempt("host name", lambda: socket.sethostname("x"))
attempt("clock", lambda: call(libc.settimeofday(ctypes.byref((ctypes.c_long * 2)(1, 0)), None)))
attempt("reboot", lambda: call(libc.reboot(0)))
attempt("module", lambda: call(libc.syscall(313, 0, b"", 0)))
attempt("bpf", lambda: call(libc.syscall(321, 0, 0, 0)))
attempt("keyring", lambda: call(libc.syscall(248, b"user", b"x", b"y", 1, -3)))
attempt("io_uring", lambda: call(libc.syscall(425, 1, ctypes.create_string_buffer(256))))
attempt("userfaultfd", lambda: call(libc.syscall(323, 0)))
attempt("perf", lambda: call(libc.syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0)))
attempt("new user namespace", lambda: call(libc.unshare(0x10000000)))
attempt("new mount namespace", lambda: call(libc.unshare(0x00020000)))
attempt("enter a namespace", lambda: call(libc.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
attempt("more files than allowed", lambda: [os.dup(1) for _ in range(70000)])
attempt("shared memory", shared_memory)
print(json.dumps({"found": found, "facts": facts}))
"""


@contextlib.contextmanager
def host() -> Iterator[dict[str, Any]]:
    """Give what is to be protected: files, processes, servers and sockets of the machine."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="skerry-secret-"))
        Path(folder).chmod(0o755)
        secret = Path(folder, "secret")
        secret.write_text("secret")
        secret.chmod(0o644)
        server = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        port = server.getsockname()[1]
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0skerry-{os.getpid()}")
        abstract.listen()
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        named.bind(f"{folder}/socket")
        Path(f"{folder}/socket").chmod(0o777)
        named.listen()
        own = [["127.0.0.1", port], ["::ffff:127.0.0.1", port]]
        own += [[address, port] for address in _addresses()]
        yield {
            "files": [str(secret), *(["/root/.bashrc"] if Path("/root/.bashrc").exists() else [])],
            "pids": [os.getpid(), os.getppid()],
            "addresses": own,
            "abstract": f"skerry-{os.getpid()}",
            "unix": f"{folder}/socket",
        }


def _addresses() -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [probe.getsockname()[0]]


@pytest.fixture(params=LINUX)
async def isolation(request: pytest.FixtureRequest, workloads: Workloads) -> str:
    await need(workloads, request.param)
    return str(request.param)


class TestOut:
    async def test_nothing_of_the_machine_is_reached(
        self, workloads: Workloads, isolation: str
    ) -> None:
        listen = (
            "import socket, time; s = socket.create_server(('0.0.0.0', 7100));"
            " print('up', flush=True); time.sleep(60)"
        )
        tenant = await workloads.run(
            python(listen, isolation=isolation, ports=(Port(7100, "tcp"),)), "tenant"
        )
        first = workloads.known.find("tenant").kept.first
        with host() as given:
            outside = int(tenant.ports[0].address.rpartition(":")[2])
            given["addresses"] += [["127.0.0.1", outside], ["127.0.0.1", 7100]]
            given["pids"] += [first.pid] if first else []
            spec = python(ATTEMPTS, isolation=isolation, env={"GIVEN": json.dumps(given)})
            info = await run_to_end(workloads, spec, "escapee")
        lines = await said(workloads, "escapee")
        assert lines, (info, await said(workloads, "escapee", "stderr"))
        report = json.loads(lines[-1])
        done = {name for name, (outcome, _) in report["found"].items() if outcome == "done"}
        assert done <= ALLOWED[isolation], {name: report["found"][name] for name in done}
        assert len(report["found"]) > 50
        facts = report["facts"]
        assert (facts["uid"], facts["capabilities"]) == (1000, 0)
        assert 0 not in facts["groups"]
        assert facts["interfaces"] in (["lo"], [])
        assert facts["descriptors"][:3] == [0, 1, 2]
        assert len(facts["descriptors"]) <= 4
        assert facts["processes"] <= 4
        assert not {"PYTHONPATH", "VIRTUAL_ENV", "SKERRY_HOME", "PYTEST_VERSION"} & set(
            facts["environment"]
        )
        if isolation != "gvisor":
            assert facts["privileges"] == "1"
        assert (await workloads.info("tenant")).exit is None

    async def test_a_session_has_no_more_rights(self, workloads: Workloads, isolation: str) -> None:
        await workloads.run(shell("sleep 60", isolation=isolation), "a")
        with host() as given:
            session = await workloads.execute(
                "a", ("/usr/bin/python3", "-I", "-c", ATTEMPTS), env={"GIVEN": json.dumps(given)}
            )
            output = b"".join([data async for _, data in session.output()])
            await session.close()
        assert b'{"found"' in output, output
        report = json.loads(output.splitlines()[-1])
        done = {name for name, (outcome, _) in report["found"].items() if outcome == "done"}
        assert done <= ALLOWED[isolation], {name: report["found"][name] for name in done}
        facts = report["facts"]
        assert (facts["uid"], facts["capabilities"]) == (1000, 0)
        assert len(facts["descriptors"]) <= 4
        if isolation != "gvisor":
            assert facts["privileges"] == "1"
        assert "HOME" in facts["environment"]


ALLOWED: dict[str, set[str]] = {
    # Its own processes may be signalled: it sees no others.
    "bwrap": {"signal all"},
    "crun": {"signal all"},
    # What gVisor's own kernel allows touches nothing of the machine.
    "gvisor": {
        "signal all",
        "new user namespace",
        "new mount namespace",
        "io_uring",
        "priority",
        "write /dev/x",
    },
}


class TestAmounts:
    async def test_memory(self, workloads: Workloads, isolation: str) -> None:
        script = "x = bytearray(); print('up', flush=True)\nwhile True: x += bytes(1 << 20)"
        info = await run_to_end(workloads, python(script, isolation=isolation), "a")
        if info.bounds["memory"] == GROUPED:
            assert info.exit is not None
            assert info.exit.reason == "out-of-memory", info.exit
        else:
            assert "MemoryError" in " ".join(await said(workloads, "a", "stderr"))

    async def test_memory_of_many_together(self, workloads: Workloads, isolation: str) -> None:
        script = (
            "import os, time\n"
            "for _ in range(8):\n"
            "    if os.fork() == 0:\n"
            "        x = b'x' * (32 << 20); time.sleep(20); os._exit(0)\n"
            "codes = [os.wait()[1] for _ in range(8)]; print(sum(map(bool, codes)), flush=True)"
        )
        await workloads.run(python(script, isolation=isolation), "a")
        info = await workloads.info("a")
        if info.bounds["memory"] != GROUPED:
            pytest.skip("without a cgroup memory is bounded for each process")
        info = await until(
            workloads, "a", lambda info: info.exit is not None or killed_some(workloads), 40
        )
        record = workloads.known.find("a")
        group = workloads._cgroups.create(record.order.group)
        peak = group.usage().memory_peak_bytes
        overhead = 64 * MIB if isolation == "gvisor" else 0
        # The kernel charges in batches, so the peak may be a few pages over.
        assert peak is None or peak <= 65 * MIB + overhead

    async def test_files_in_memory_count_as_memory(
        self, workloads: Workloads, isolation: str
    ) -> None:
        script = (
            "import sys\n"
            "for n in range(4):\n"
            "    for place in ('/tmp', '/dev/shm', '/run'):\n"
            "        try:\n"
            "            open(f'{place}/{n}', 'wb').write(b'x' * (24 << 20))\n"
            "        except OSError as error: print(error.strerror)\n"
            "print('all', flush=True)"
        )
        info = await run_to_end(workloads, python(script, isolation=isolation), "a")
        lines = await said(workloads, "a")
        assert info.exit is not None
        assert info.exit.reason == "out-of-memory" or lines.count("No space left on device") >= 4

    async def test_a_fork_bomb(self, workloads: Workloads, isolation: str) -> None:
        script = (
            "import os, time\n"
            "made = 0\n"
            "try:\n"
            "    while made < 3000:\n"
            "        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
            "        made += 1\n"
            "except OSError as error: print(made, type(error).__name__, flush=True)\n"
            "else: print(made, 'none', flush=True)\n"
            "os._exit(0)"
        )
        info = await run_to_end(workloads, python(script, isolation=isolation), "a")
        if isolation == "gvisor" and not await said(workloads, "a"):
            # gVisor itself ends when the machine gives it no more threads.
            assert info.exit is not None
            assert not info.exit.clean
            return
        made, error = (await said(workloads, "a"))[-1].split()
        overhead = 100 if isolation == "gvisor" else 0
        if info.bounds["pids"] != GROUPED:
            # What else the user ran when it began was added, and some of that has ended since.
            overhead = 24
        assert error == "BlockingIOError"
        assert int(made) <= 24 + overhead

    async def test_a_real_bomb_is_cleared_away(self, workloads: Workloads) -> None:
        await need(workloads, "bwrap")
        await workloads.run(shell("b() { b | b & }; b; sleep 60"), "a")
        await asyncio.sleep(0.5)
        group = workloads._cgroups.create(workloads.known.find("a").order.group)
        if group.version:
            assert len(group.processes()) <= 24
        await workloads.stop_one("a", grace_seconds=0.1)
        assert group.processes() == []

    async def test_cpu(self, workloads: Workloads, isolation: str) -> None:
        script = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
        spec = python(script, isolation=isolation, cpu_millicores=200)
        info = await workloads.run(spec, "a")
        if info.bounds["cpu"] != GROUPED:
            pytest.skip("without a cgroup CPU is not bounded")
        before, began = (await workloads.usage("a")).cpu_ms, time.monotonic()
        await asyncio.sleep(2.0)
        used = (await workloads.usage("a")).cpu_ms - before
        seconds = time.monotonic() - began
        # A period of the scheduler may be under way at both ends.
        assert used <= 200 * seconds + 2 * 20 + 20

    async def test_disk(self, workloads: Workloads, isolation: str) -> None:
        script = (
            "import os, time\n"
            "try:\n"
            "    for n in range(64): open(f'/data/{n}', 'wb').write(b'x' * (1 << 20))\n"
            "    print('all', flush=True); time.sleep(20)\n"
            "except OSError as error: print(error.strerror, n, flush=True)"
        )
        spec = python(script, isolation=isolation, mounts=(Mount("data", "/data"),))
        info = await run_to_end(workloads, spec, "a")
        if info.bounds["disk"] == ENFORCED:
            text, _, number = (await said(workloads, "a"))[-1].rpartition(" ")
            assert text == "No space left on device"
            assert int(number) <= 8
        else:
            assert info.exit is not None
            assert info.exit.reason == "disk-full"

    async def test_inodes_do_not_fill_the_machine(
        self, workloads: Workloads, isolation: str
    ) -> None:
        script = (
            "n = 0\n"
            "try:\n"
            "    while n < 100000: open(f'/workload/{n}', 'w').close(); n += 1\n"
            "except OSError as error: print(error.strerror, flush=True)"
        )
        info = await run_to_end(workloads, python(script, isolation=isolation), "a")
        if info.bounds["disk"] == ENFORCED:
            assert await said(workloads, "a") == ["No space left on device"]


def killed_some(workloads: Workloads) -> bool:
    record = workloads.known.find("a")
    return workloads._cgroups.create(record.order.group).oom_kills() > 0
