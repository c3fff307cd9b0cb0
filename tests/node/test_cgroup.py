"""Cgroups: the machine's own where they can be written; version 2's files on a stand-in tree."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skerry.kernel.errors import SkerryError
from skerry.node.sandbox import Confinement, confine
from skerry.node.sandbox.cgroup import Cgroups, Group, detect
from skerry.node.sandbox.limits import Limits

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

MIB = 1 << 20


@pytest.fixture(scope="module")
def cgroups() -> Cgroups:
    found = detect()
    if not found.version:
        pytest.skip("no cgroup can be written here; rlimits bound each process")
    return found


@pytest.fixture
def prefix(cgroups: Cgroups) -> Iterator[str]:
    name = f"test-{os.getpid()}-{time.monotonic_ns()}."
    yield name
    cgroups.reap(name)


def child_in(group: Group, work: Callable[[], None]) -> int:
    """Fork a child that joins the group before it works."""
    child = os.fork()
    if child == 0:
        try:
            for path in group.join_paths:
                Path(path).write_text("0")
            work()
        finally:
            os._exit(0)
    return child


def sleep() -> None:
    time.sleep(30)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_use_is_measured(cgroups: Cgroups, prefix: str) -> None:
    if cgroups.version == 1 and "cpuacct" not in cgroups.controllers:
        pytest.skip("the controller cpuacct cannot be written")

    def burn() -> None:
        data = bytearray(40 * MIB)
        end = time.process_time() + 0.2
        while time.process_time() < end:
            data[0] ^= 1

    group = cgroups.create(f"{prefix}burn")
    assert (group.usage().cpu_ms or 0) < 50
    os.waitpid(child_in(group, burn), 0)
    usage = group.usage()
    assert usage.cpu_ms is not None
    assert 150 <= usage.cpu_ms < 2000
    if "memory" in cgroups.controllers:
        assert usage.memory_peak_bytes is not None
        assert 40 * MIB <= usage.memory_peak_bytes < 120 * MIB
        assert (usage.memory_bytes or 0) < 40 * MIB


def test_too_much_memory_kills_only_the_group(cgroups: Cgroups, prefix: str) -> None:
    if "memory" not in cgroups.controllers:
        pytest.skip("the controller memory cannot be written")

    def grow() -> None:
        kept = [bytearray(MIB) for _ in range(200)]
        assert kept

    greedy = cgroups.create(f"{prefix}greedy", Limits(memory_bytes=64 * MIB))
    modest = cgroups.create(f"{prefix}modest", Limits(memory_bytes=64 * MIB))
    assert "memory" in greedy.membership.bounds
    bystander = child_in(modest, sleep)
    status = os.waitpid(child_in(greedy, grow), 0)[1]
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    os.kill(bystander, 0)
    assert os.waitpid(bystander, os.WNOHANG) == (0, 0)
    os.kill(bystander, signal.SIGKILL)
    os.waitpid(bystander, 0)


def test_a_fork_bomb_is_bounded_and_killed_whole(cgroups: Cgroups, prefix: str) -> None:
    if "pids" not in cgroups.controllers:
        pytest.skip("the controller pids cannot be written")

    def bomb() -> None:
        while True:
            try:
                os.fork()
            except BlockingIOError:
                time.sleep(0.01)

    group = cgroups.create(f"{prefix}bomb", Limits(processes=25, cpu_cores=0.5))
    child = child_in(group, bomb)
    wait_until(lambda: len(group.processes()) >= 25)
    assert len(group.processes()) == 25
    group.kill()
    assert group.processes() == []
    os.waitpid(child, 0)


def test_cpu_is_bounded(cgroups: Cgroups, prefix: str) -> None:
    group = cgroups.create(f"{prefix}slow", Limits(cpu_cores=0.1))
    if "cpu" not in group.membership.bounds:
        pytest.skip("the controller cpu cannot be written")

    def burn() -> None:
        while True:
            pass

    child = child_in(group, burn)
    time.sleep(0.8)
    group.kill()
    os.waitpid(child, 0)
    assert (group.usage().cpu_ms or 0) < 300


def test_a_frozen_group_stands_still(cgroups: Cgroups, prefix: str) -> None:
    group = cgroups.create(f"{prefix}frozen")
    reader, writer = os.pipe()

    def tick() -> None:
        while True:
            os.write(writer, b"x")
            time.sleep(0.001)

    child = child_in(group, tick)
    os.set_blocking(reader, False)
    os.close(writer)
    wait_until(lambda: state_of(child) in "SR" and group.processes() == [child])
    try:
        group.freeze()
    except SkerryError as error:
        assert error.code == "UNSUPPORTED"
        pytest.skip("no freezer")
    finally:
        drain(reader)
    time.sleep(0.05)
    assert drain(reader) == 0
    group.thaw()
    wait_until(lambda: drain(reader) > 0)
    group.freeze()
    group.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(reader)


def drain(reader: int) -> int:
    try:
        return len(os.read(reader, 1 << 16))
    except BlockingIOError:
        return 0


def test_a_confined_process_joins_and_leaves_its_limits_to_the_group(
    cgroups: Cgroups, prefix: str
) -> None:
    limits = Limits(memory_bytes=64 * MIB, processes=10)
    group = cgroups.create(f"{prefix}confined", limits)
    if not {"memory", "processes"} <= set(group.membership.bounds):
        pytest.skip("the controllers memory and pids cannot be written")
    uid = 700_505 if os.geteuid() == 0 else None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            confine(Confinement(uid=uid, limits=limits, cgroup=group.membership))
            free = resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
            os.write(writer, b"free" if free else b"bound")
            fork_all()
        finally:
            os._exit(1)
    assert os.read(reader, 10) == b"free"
    wait_until(lambda: len(group.processes()) == 10)
    group.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(reader)
    os.close(writer)


def fork_all() -> None:
    while True:
        try:
            if os.fork() == 0:
                time.sleep(30)
        except BlockingIOError:
            time.sleep(0.01)


def test_a_group_that_another_process_removed_has_nothing_to_kill(
    cgroups: Cgroups, prefix: str
) -> None:
    group = cgroups.create(f"{prefix}removed")
    cgroups.create(f"{prefix}removed").remove()
    group.kill()
    group.remove()
    assert not cgroups.exists(f"{prefix}removed")


def test_groups_of_a_dead_node_are_reaped(cgroups: Cgroups, prefix: str) -> None:
    group = cgroups.create(f"{prefix}left")
    cgroups.create(f"{prefix}empty")
    child = child_in(group, sleep)
    wait_until(lambda: group.processes() == [child])
    assert detect().reap(prefix) == 2
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not any(Path(path).exists() for path in group.join_paths)
    assert detect().reap(prefix) == 0
    group.remove()


def test_the_parent_can_add_a_child(cgroups: Cgroups, prefix: str) -> None:
    group = cgroups.create(f"{prefix}added")
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    group.add(child)
    assert group.processes() == [child]
    group.kill()
    os.waitpid(child, 0)
    group.remove()


def test_names_cannot_lead_elsewhere(cgroups: Cgroups) -> None:
    for name in ("../up", "a/b", "", ".", "A"):
        with pytest.raises(SkerryError) as caught:
            cgroups.create(name)
        assert caught.value.code == "INVALID"


def test_without_cgroups_a_group_bounds_nothing() -> None:
    group = detect(mounts="", own="").create("any", Limits(memory_bytes=1, processes=1))
    assert group.version == 0
    assert group.join_paths == ()
    assert group.membership.bounds == ()
    assert group.usage().cpu_ms is None
    with pytest.raises(SkerryError) as caught:
        group.freeze()
    assert caught.value.code == "UNSUPPORTED"
    group.kill()
    group.remove()


class TestVersion2OnTheMachine:
    """Its own calls on the machine's version 2 hierarchy, even where that has no controllers."""

    @pytest.fixture
    def group(self) -> Iterator[Group]:
        mount = next((at for at in unified_mounts() if os.access(at, os.W_OK)), None)
        if mount is None or os.geteuid():
            pytest.skip("no writable cgroup2 file system is mounted")
        folder = mount / f"skerry-test-{os.getpid()}-{time.monotonic_ns()}"
        folder.mkdir()
        group = Cgroups(2, {"any": folder}).create("one")
        yield group
        group.kill()
        group.remove()
        folder.rmdir()

    def test_freeze_measure_and_kill(self, group: Group) -> None:
        def burn() -> None:
            while True:
                pass

        child = child_in(group, burn)
        wait_until(lambda: (group.usage().cpu_ms or 0) > 20)
        group.freeze()
        before = group.usage().cpu_ms
        time.sleep(0.05)
        assert group.usage().cpu_ms == before
        group.thaw()
        wait_until(lambda: (group.usage().cpu_ms or 0) > (before or 0))
        group.freeze()
        group.kill()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def unified_mounts() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(line.split()[4]) for line in lines if " - cgroup2 " in line]


class TestVersion2OnAStandIn:
    """What is written where, on a directory with the kernel's file names."""

    @pytest.fixture
    def mounts(self, tmp_path: Path) -> str:
        return f"30 20 0:25 / {tmp_path} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"

    @staticmethod
    def fill(folder: Path, controllers: str = "cpuset cpu io memory pids") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.controllers").write_text(controllers + "\n")
        (folder / "cgroup.subtree_control").write_text("\n")
        (folder / "cgroup.procs").write_text("")

    def test_controllers_are_passed_on_and_limits_set(self, tmp_path: Path, mounts: str) -> None:
        self.fill(tmp_path)
        self.fill(tmp_path / "skerry", "cpu memory pids")
        cgroups = detect(mounts=mounts, own="0::/\n")
        assert cgroups.version == 2
        assert set(cgroups.controllers) == {"cpu", "memory", "pids"}
        for place in (tmp_path, tmp_path / "skerry"):
            assert (place / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
        place = tmp_path / "skerry/one"
        self.fill(place)
        for file in ("memory.max", "memory.swap.max", "pids.max", "cpu.max"):
            (place / file).write_text("max")
        (place / "cpu.stat").write_text("usage_usec 123456\nuser_usec 1\n")
        (place / "memory.current").write_text("5\n")
        (place / "memory.peak").write_text("7\n")
        group = cgroups.create("one", Limits(memory_bytes=1000, processes=9, cpu_cores=1.5))
        assert (place / "memory.max").read_text() == "1000"
        assert (place / "memory.swap.max").read_text() == "0"
        assert (place / "pids.max").read_text() == "9"
        assert (place / "cpu.max").read_text() == "150000 100000"
        assert group.join_paths == (str(place / "cgroup.procs"),)
        assert set(group.membership.bounds) == {"memory", "processes", "cpu"}
        usage = group.usage()
        assert (usage.cpu_ms, usage.memory_bytes, usage.memory_peak_bytes) == (123, 5, 7)

    def test_a_service_stays_within_its_own_group(self, tmp_path: Path, mounts: str) -> None:
        own = tmp_path / "system.slice/skerry.service"
        self.fill(own)
        (own / "cgroup.type").write_text("domain\n")
        (own / "cgroup.procs").write_text(f"{os.getpid()}\n")
        self.fill(own / "skerry", "memory pids cpu")
        self.fill(tmp_path)
        cgroups = detect(mounts=mounts, own="0::/system.slice/skerry.service\n")
        assert cgroups.version == 2
        assert (own / "skerry-node/cgroup.procs").read_text() == "0"
        assert not (tmp_path / "skerry").exists()
        (own / "cgroup.procs").write_text("")
        again = detect(mounts=mounts, own="0::/system.slice/skerry.service/skerry-node\n")
        assert again.create("one").join_paths == (str(own / "skerry/one/cgroup.procs"),)

    def test_a_group_shared_with_others_is_left_alone(self, tmp_path: Path, mounts: str) -> None:
        """The kernel refuses to pass controllers on from a group with processes."""
        own = tmp_path / "session.scope"
        self.fill(own)
        (own / "cgroup.subtree_control").unlink()
        (own / "cgroup.subtree_control").mkdir()
        (own / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
        self.fill(tmp_path)
        self.fill(tmp_path / "skerry", "memory pids cpu")
        cgroups = detect(mounts=mounts, own="0::/session.scope\n")
        assert cgroups.create("one").join_paths == (str(tmp_path / "skerry/one/cgroup.procs"),)
        assert not (own / "skerry").exists()

    def test_without_memory_version_2_is_left_for_version_1(
        self, tmp_path: Path, mounts: str
    ) -> None:
        self.fill(tmp_path / "unified", "hugetlb")
        lines = [mounts.replace(str(tmp_path), str(tmp_path / "unified"))]
        for name in ("memory", "pids"):
            (tmp_path / name).mkdir()
            lines.append(f"35 31 0:31 / {tmp_path / name} rw - cgroup cgroup rw,{name}")
        cgroups = detect(mounts="\n".join(lines), own="0::/\n4:memory:/\n")
        assert cgroups.version == 1
        assert cgroups.controllers == ("memory", "pids")
        shutil.rmtree(tmp_path / "memory")
