"""Every driver keeps the same promises; the same tests run over each that the machine can do."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from skerry.kernel.errors import SkerryError
from skerry.node.volume import (
    Volume,
    attach,
    create_image,
    detach,
    folders,
    move_in,
    open_volume,
    probe,
)
from skerry.node.volume.image import FILESYSTEMS, mounted_device

MIB = 1 << 20
ROOT = os.geteuid() == 0
SIZES = {"btrfs": 256 * MIB, "xfs": 320 * MIB}
HAS_LOOP = Path("/dev/loop-control").exists()


def has_mkfs(filesystem: str) -> bool:
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return shutil.which(FILESYSTEMS[filesystem].make[0], path=path) is not None


@pytest.fixture(scope="session")
def images() -> Iterator[Callable[[str], Path]]:
    """Give a mounted image of a file system, made once and unmounted at the end."""
    made: dict[str, Path] = {}

    def image(filesystem: str) -> Path:
        if not ROOT:
            pytest.skip("only root can mount an image")
        if not HAS_LOOP:
            pytest.skip("this machine has no loop devices")
        if not has_mkfs(filesystem):
            pytest.skip(f"{FILESYSTEMS[filesystem].package} is not installed")
        if filesystem not in made:
            # Ordinary users must be able to pass through, unlike pytest's own folders.
            place = Path(tempfile.mkdtemp(prefix="skerry-image-"))
            place.chmod(0o711)
            create_image(place / "image", SIZES[filesystem], filesystem)
            attach(place / "image", place / "mount")
            made[filesystem] = place / "mount"
        return made[filesystem]

    yield image
    for mountpoint in made.values():
        detach(mountpoint)
        assert mounted_device(mountpoint) is None
        shutil.rmtree(mountpoint.parent)


class TestImage:
    """An image is made once, survives a restart, and is refused when it cannot be."""

    def test_attach_twice_and_again_after_a_restart(
        self, images: Callable[[str], Path], tmp_path: Path
    ) -> None:
        images("btrfs")
        path, mountpoint = tmp_path / "image", tmp_path / "a folder"
        create_image(path, SIZES["btrfs"])
        assert path.stat().st_blocks * 512 < 16 * MIB
        try:
            for _ in range(2):
                self.attach_and_detach(path, mountpoint)
        finally:
            detach(mountpoint)

    @staticmethod
    def attach_and_detach(path: Path, mountpoint: Path) -> None:
        attach(path, mountpoint)
        attach(path, mountpoint)
        device = mounted_device(mountpoint)
        assert device is not None
        volume = open_volume(mountpoint)
        assert volume.driver == "btrfs"
        if not volume.names():
            write(volume.create("main") / "file", b"kept")
        assert move_in(path, mountpoint) == 0
        assert (volume.path("main") / "file").read_bytes() == b"kept"
        with (volume.path("main") / "file").open("rb"), pytest.raises(SkerryError) as caught:
            detach(mountpoint)
        assert caught.value.code == "CONFLICT"
        detach(mountpoint)
        detach(mountpoint)
        # A node of another test, started meanwhile, has the mount in a namespace of its own.
        backing = Path("/sys/block", Path(device).name, "loop/backing_file")
        deadline = time.monotonic() + 60
        while backing.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not backing.exists()

    def test_an_ordinary_user_can_use_a_btrfs_image(
        self, images: Callable[[str], Path], tmp_path: Path
    ) -> None:
        place = images("btrfs") / tmp_path.name
        place.mkdir()
        os.chown(place, 12345, 12345)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(12345, 12345, 12345)
                os.setresuid(12345, 12345, 12345)
                volume = open_volume(place)
                write(volume.create("main") / "file", b"data")
                clone = volume.clone("main", "copy")
                volume.delete("main")
                good = volume.driver == "btrfs" and (clone / "file").read_bytes() == b"data"
                volume.delete("copy")
                status = 0 if good and not volume.names() else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_mistakes_are_told_and_leave_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "images/image"
        with pytest.raises(SkerryError, match="at least 128 MiB"):
            create_image(path, MIB)
        with pytest.raises(SkerryError, match="cannot be the file system"):
            create_image(path, SIZES["btrfs"], "fat")
        with pytest.raises(SkerryError, match="no volume image"):
            attach(path, tmp_path / "mount")
        if not ROOT:
            with pytest.raises(SkerryError) as caught:
                create_image(path, SIZES["btrfs"])
            assert caught.value.code == "DENIED"
            return
        with pytest.raises(SkerryError) as caught:
            create_image(path, 1 << 50)
        assert caught.value.code in ("DISK_FULL", "EXTRA_MISSING")
        monkeypatch.setattr("skerry.node.volume.image._SEARCH", str(tmp_path))
        with pytest.raises(SkerryError) as caught:
            create_image(path, SIZES["btrfs"])
        assert caught.value.code == "EXTRA_MISSING"
        assert caught.value.hint == "apt-get install -y btrfs-progs"
        assert not list((tmp_path / "images").glob("*"))


@pytest.fixture(params=["btrfs", "reflink on xfs", "reflink on btrfs", "copy", "copy on xfs"])
def volume(
    request: pytest.FixtureRequest, images: Callable[[str], Path], tmp_path: Path
) -> Iterator[Volume]:
    driver, _, filesystem = str(request.param).partition(" on ")
    if driver == "btrfs":
        filesystem = "btrfs"
    directory = images(filesystem) / tmp_path.name if filesystem else tmp_path / "volume"
    opened = open_volume(directory, driver)
    assert opened.driver == driver
    yield opened
    for name in opened.names():
        opened.delete(name)
    shutil.rmtree(directory)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_clone_and_its_source_do_not_see_each_others_writes(volume: Volume) -> None:
    write(volume.create("main") / "db/file", b"before")
    clone = volume.clone("main", "copy")
    assert clone == volume.path("copy")
    (clone / "db/file").write_bytes(b"in the clone")
    write(volume.path("main") / "db/new", b"in the source")
    assert (volume.path("main") / "db/file").read_bytes() == b"before"
    assert not (clone / "db/new").exists()


def test_a_clone_of_a_clone_outlives_both_its_ancestors(volume: Volume) -> None:
    write(volume.create("one") / "file", b"a" * 100_000)
    volume.clone("one", "two")
    write(volume.path("two") / "second", b"b")
    volume.clone("two", "three")
    volume.delete("one")
    volume.delete("two")
    assert volume.names() == ["three"]
    assert (volume.path("three") / "file").read_bytes() == b"a" * 100_000
    assert (volume.path("three") / "second").read_bytes() == b"b"


def test_deleting_a_clone_leaves_its_siblings(volume: Volume) -> None:
    write(volume.create("main") / "wal/segment", os.urandom(50_000))
    for name in ("left", "right"):
        volume.clone("main", name, immutable=folders(["wal"]))
    volume.delete("left")
    expected = (volume.path("main") / "wal/segment").read_bytes()
    assert (volume.path("right") / "wal/segment").read_bytes() == expected


def test_metadata_links_and_holes_are_kept(volume: Volume) -> None:
    source = volume.create("main")
    write(source / "deep/er/file", b"x")
    (source / "deep/er/file").chmod(0o640)
    os.utime(source / "deep/er/file", ns=(10**18, 10**18 + 1))
    os.setxattr(source / "deep/er/file", "user.colour", b"red")
    (source / "deep/link").symlink_to("er/file")
    (source / "deep/dangling").symlink_to("/nowhere")
    os.link(source / "deep/er/file", source / "twin")
    (source / "deep").chmod(0o750)
    with (source / "sparse").open("wb") as file:
        file.truncate(32 * MIB)
        file.seek(16 * MIB)
        file.write(b"middle")
    if ROOT:
        os.chown(source / "deep/er/file", 4321, 1234)
    clone = volume.clone("main", "copy")
    status = (clone / "deep/er/file").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_mtime_ns == 10**18 + 1
    assert (status.st_uid, status.st_gid) == ((4321, 1234) if ROOT else (os.getuid(), os.getgid()))
    assert os.getxattr(clone / "deep/er/file", "user.colour") == b"red"
    assert (clone / "deep/link").readlink() == Path("er/file")
    assert (clone / "deep/dangling").readlink() == Path("/nowhere")
    assert (clone / "twin").samefile(clone / "deep/er/file")
    assert not (clone / "twin").samefile(source / "twin")
    assert stat.S_IMODE((clone / "deep").stat().st_mode) == 0o750
    assert (clone / "sparse").stat().st_size == 32 * MIB
    assert (clone / "sparse").stat().st_blocks * 512 < MIB
    with (clone / "sparse").open("rb") as file:
        file.seek(16 * MIB)
        assert file.read(8) == b"middle\0\0"


def test_sockets_and_pipes_do_not_stop_a_clone(volume: Volume, tmp_path: Path) -> None:
    source = volume.create("main")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(source)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    write(source / "file", b"data")
    clone = volume.clone("main", "copy")
    assert (clone / "file").read_bytes() == b"data"
    if not volume.atomic:
        assert [each.name for each in clone.iterdir()] == ["file"]


def test_immutable_folders_are_shared_where_files_are_copied(volume: Volume) -> None:
    source = volume.create("main")
    write(source / "bucket/objects/ab/cd", b"object")
    write(source / "bucket/index", b"index")
    clone = volume.clone("main", "copy", immutable=folders(["bucket/objects"]))
    assert (clone / "bucket/objects/ab/cd").read_bytes() == b"object"
    shared = (clone / "bucket/objects/ab/cd").samefile(source / "bucket/objects/ab/cd")
    assert shared == (not volume.atomic)
    assert not (clone / "bucket/index").samefile(source / "bucket/index")


def test_progress_reaches_the_total_and_the_source_is_released(volume: Volume) -> None:
    source = volume.create("main")
    for index in range(5):
        write(source / str(index), bytes(1000))
    seen: list[tuple[int, int]] = []
    released: list[bool] = []
    volume.clone(
        "main",
        "copy",
        progress=lambda done, total: seen.append((done, total)),
        copied=lambda: released.append(volume.path("copy").exists()),
    )
    assert seen[-1][0] == seen[-1][1]
    assert released == [False]


def test_names_are_checked(volume: Volume) -> None:
    volume.create("main")
    for call, code in (
        (lambda: volume.create("main"), "ALREADY_EXISTS"),
        (lambda: volume.clone("main", "main"), "ALREADY_EXISTS"),
        (lambda: volume.clone("nobody", "copy"), "NOT_FOUND"),
        (lambda: volume.delete("nobody"), "NOT_FOUND"),
        (lambda: volume.path("../etc"), "INVALID"),
        (lambda: volume.path(".hidden"), "INVALID"),
    ):
        with pytest.raises(SkerryError) as caught:
            call()
        assert caught.value.code == code
    assert volume.names() == ["main"]


def test_what_a_crash_left_is_gone_when_the_volume_is_opened(volume: Volume) -> None:
    write(volume.create("main") / "file", b"data")
    volume.clone("main", "half").rename(volume.directory / ".making-half")
    volume.clone("main", "dying").rename(volume.directory / ".deleting-dying")
    again = open_volume(volume.directory, volume.driver)
    assert sorted(each.name for each in volume.directory.iterdir()) == ["main"]
    assert (again.clone("main", "half") / "file").read_bytes() == b"data"


def test_a_failed_clone_leaves_nothing(volume: Volume) -> None:
    write(volume.create("main") / "file", b"data")

    def fail(_done: int, _total: int) -> None:
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        volume.clone("main", "copy", progress=fail)
    assert [each.name for each in volume.directory.iterdir()] == ["main"]


def test_a_killed_clone_is_repeated_after_a_restart(volume: Volume) -> None:
    write(volume.create("main") / "file", b"data")

    def die(_done: int, _total: int) -> None:
        os._exit(9)

    child = os.fork()
    if child == 0:
        volume.clone("main", "copy", progress=die)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [each.name for each in volume.directory.iterdir()] != ["main"]
    again = open_volume(volume.directory, volume.driver)
    assert again.names() == ["main"]
    assert (again.clone("main", "copy") / "file").read_bytes() == b"data"


def test_blocks_are_shared_where_the_driver_says_so(volume: Volume) -> None:
    able = {each.driver: each.ok for each in probe(volume.directory)}
    content = os.urandom(8 * MIB)
    write(volume.create("main") / "file", content)
    os.sync()
    assert volume.exclusive_bytes("main") >= 8 * MIB
    clone = volume.clone("main", "copy")
    os.sync()
    assert (clone / "file").read_bytes() == content
    if volume.shares_blocks:
        assert volume.exclusive_bytes("copy") < MIB
        with (clone / "file").open("r+b") as file:
            file.write(os.urandom(2 * MIB))
            os.fsync(file.fileno())
        assert 2 * MIB <= volume.exclusive_bytes("copy") < 4 * MIB
    elif not able["reflink"]:
        # Where files can be cloned, the kernel does so even when it is asked to copy.
        assert volume.exclusive_bytes("copy") >= 8 * MIB


def used_bytes(path: Path) -> int:
    os.sync()
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize("filesystem", ["btrfs", "xfs"])
def test_the_cost_of_a_clone_does_not_grow_with_the_data(
    images: Callable[[str], Path], filesystem: str, tmp_path: Path
) -> None:
    volume = open_volume(images(filesystem) / tmp_path.name)
    assert volume.driver == ("btrfs" if filesystem == "btrfs" else "reflink")
    costs = []
    for size in (MIB, 64 * MIB):
        write(volume.create(f"of-{size}") / "file", os.urandom(size))
        before = used_bytes(volume.directory)
        volume.clone(f"of-{size}", f"copy-{size}")
        costs.append(used_bytes(volume.directory) - before)
    for name in volume.names():
        volume.delete(name)
    assert max(costs) < MIB, costs


@pytest.mark.skipif(not ROOT, reason="only root can mount a small disk")
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "x", tmp_path], check=True)
    try:
        volume = open_volume(tmp_path / "branches", "copy")
        write(volume.create("main") / "file", os.urandom(3 * MIB))
        with pytest.raises(SkerryError) as caught:
            volume.clone("main", "copy")
        assert caught.value.code == "DISK_FULL"
        assert [each.name for each in volume.directory.iterdir()] == ["main"]
        assert (volume.path("main") / "file").stat().st_size == 3 * MIB
    finally:
        detach(tmp_path)


@pytest.mark.parametrize("filesystem", ["btrfs", "xfs"])
def test_on_a_full_image_a_clone_is_whole_or_refused(
    images: Callable[[str], Path], filesystem: str, tmp_path: Path
) -> None:
    images(filesystem)
    create_image(tmp_path / "image", FILESYSTEMS[filesystem].least_bytes, filesystem)
    attach(tmp_path / "image", tmp_path / "mount")
    try:
        volume = open_volume(tmp_path / "mount/branches")
        source = volume.create("main")
        for index in range(200):
            write(source / f"small/{index}", os.urandom(100))
        with pytest.raises(OSError, match="No space"), (source / "big").open("wb") as file:
            while True:
                file.write(os.urandom(MIB))
        made = 0
        try:
            for made in range(20):
                volume.clone("main", f"copy{made}")
        except SkerryError as error:
            assert error.code == "DISK_FULL"
            assert not volume.path(f"copy{made}").exists()
        for name in volume.names():
            assert len(list((volume.path(name) / "small").iterdir())) == 200
        assert not list(volume.directory.glob(".*"))
    finally:
        detach(tmp_path / "mount")


def test_probe_leaves_nothing_and_copy_always_works(tmp_path: Path) -> None:
    findings = probe(tmp_path)
    assert [each.driver for each in findings] == ["btrfs", "reflink", "copy"]
    assert findings[-1].ok
    assert all(each.detail for each in findings)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SkerryError) as caught:
        open_volume(tmp_path, "floppy")
    assert caught.value.code == "UNSUPPORTED"


def test_a_source_cannot_lead_the_copy_out_of_itself(tmp_path: Path) -> None:
    """A folder that turns into a symbolic link while it is copied is not followed."""
    write(tmp_path / "outside/secret", b"secret")
    volume = open_volume(tmp_path / "volume", "copy")
    source = volume.create("main")
    write(source / "folder/secret", b"harmless")

    def swap(done: int, _total: int) -> None:
        if done == 0 and not (source / "folder").is_symlink():
            (source / "folder").rename(source / "aside")
            (source / "folder").symlink_to(tmp_path / "outside")

    with pytest.raises(OSError, match="symbolic links"):
        volume.clone("main", "copy", progress=swap)
    assert volume.names() == ["main"]


class Branches(RuleBasedStateMachine):
    """Any sequence of branching and writing agrees with a dictionary of dictionaries."""

    branches: Bundle[str] = Bundle("branches")

    @initialize(target=branches)
    def begin(self) -> str:
        self.place = Path(tempfile.mkdtemp(prefix="skerry-volume-"))
        self.volume = open_volume(self.place)
        self.model: dict[str, dict[str, bytes]] = {"b0": {}}
        self.count = 1
        self.volume.create("b0")
        return "b0"

    @rule(target=branches, source=branches)
    def clone(self, source: str) -> str:
        name = f"b{self.count}"
        self.count += 1
        self.volume.clone(source, name, immutable=folders(["fixed"]))
        self.model[name] = dict(self.model[source])
        return name

    @rule(branch=branches, name=st.sampled_from(["a", "d/b", "d/e/c"]), content=st.binary())
    def write(self, branch: str, name: str, content: bytes) -> None:
        write(self.volume.path(branch) / name, content)
        self.model[branch][name] = content

    @rule(branch=branches, content=st.binary(min_size=1))
    def add_immutable(self, branch: str, content: bytes) -> None:
        name = f"fixed/{content[:20].hex()}-{self.count}"
        self.count += 1
        write(self.volume.path(branch) / name, content)
        self.model[branch][name] = content

    @rule(branch=consumes(branches))
    def delete(self, branch: str) -> None:
        if len(self.model) > 1:
            self.volume.delete(branch)
            del self.model[branch]

    @rule()
    def reopen(self) -> None:
        self.volume = open_volume(self.place)

    def teardown(self) -> None:
        if not hasattr(self, "volume"):
            return
        assert self.volume.names() == sorted(self.model)
        for branch, files in self.model.items():
            top = self.volume.path(branch)
            found = {
                str(each.relative_to(top)): each.read_bytes()
                for each in top.rglob("*")
                if each.is_file()
            }
            assert found == files
        shutil.rmtree(self.place)


TestBranches = Branches.TestCase
TestBranches.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
