"""Users of apps, and reaching Python where only root may enter."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import skerry.kernel.errors
from skerry.app import kinds
from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.http.request import request
from skerry.node.sandbox import Confinement, confine, expose, identities, linux
from skerry.node.sandbox.identity import COUNT, FIRST, Identity
from skerry.testing.nodes import deploy, open_directory, perform, running_node

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

ROOT = os.geteuid() == 0
UID = 700_303
MS_SHARED = 1 << 20
SOURCE = Path(skerry.kernel.errors.__file__).parents[2]

needs_root = pytest.mark.skipif(not ROOT, reason="only root can change mounts and users")

WHOLE = "0 0 4294967295\n"


class TestIdentities:
    def test_every_app_has_its_own(self) -> None:
        found = identities((WHOLE, WHOLE))
        assert found is not None
        assert found.identity(0) == Identity(FIRST, FIRST)
        assert found.identity(7) == Identity(FIRST + 7, FIRST + 7)
        for index in (-1, COUNT - COUNT // 16, COUNT):
            with pytest.raises(ValueError, match="not within"):
                found.identity(index)

    def test_a_container_with_few_ids_uses_their_upper_half(self) -> None:
        few = "0 100000 65536\n"
        found = identities((few, few))
        assert found is not None
        assert (found.first, found.count) == (32768, 32768)
        split = "0 1000 1\n1 100000 65535\n"
        both = identities((split, "0 1000 1\n1 100000 30000\n"))
        assert both is not None
        assert (both.first, both.first + both.count) == (15001, 30001)

    def test_where_only_one_id_exists_there_are_none(self) -> None:
        assert identities(("0 1000 1\n", "0 1000 1\n")) is None
        assert identities(("", "")) is None

    def test_this_machine(self) -> None:
        found = identities()
        assert (found is not None) == ROOT or Path("/proc/self/uid_map").read_text() != WHOLE


@pytest.fixture
def barred() -> Iterator[Path]:
    """Give a directory that only root may enter, as /root is, with things in it."""
    path = Path(tempfile.mkdtemp(prefix="skerry-barred-"))
    (path / "python/lib").mkdir(parents=True)
    (path / "python/lib/module").write_text("code")
    (path / "venv").mkdir()
    (path / "venv/python").symlink_to("../python")
    (path / "venv/deep").mkdir()
    (path / "private").mkdir()
    (path / "private/key").write_text("secret")
    (path / "private/key").chmod(0o600)
    for folder in (path, path / "private"):
        folder.chmod(0o700)
    for each in ("python", "python/lib", "venv", "venv/deep"):
        (path / each).chmod(0o755)
    (path / "python/lib/module").chmod(0o644)
    yield path
    shutil.rmtree(path)


def in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def check(good: bool, what: str) -> None:
    if not good:
        raise AssertionError(what)


@needs_root
class TestExpose:
    def test_only_the_paths_appear_and_only_there(self, barred: Path) -> None:
        mounts = Path("/proc/self/mountinfo").read_text()

        def work() -> None:
            os.chdir(barred)
            check(expose([barred / "venv/python/lib", barred / "venv/deep"]) == (barred,), "cover")
            check(Path.cwd() in (barred, Path("/")), "the working directory is not outside")
            check(not (barred / "private").exists(), "even root sees no more than it must")
            become(UID)
            module = barred / "venv/python/lib/module"
            check(module.read_text() == "code", "by the symbolic link")
            check((barred / "python/lib/module").read_text() == "code", "by the real path")
            check((barred / "venv/deep").is_dir(), "a second path")
            for path in (barred, barred / "venv", barred / "python"):
                try:
                    list(path.iterdir())
                except PermissionError:
                    continue
                raise AssertionError(f"{path} can be listed")

        assert in_child(work) == 0
        assert Path("/proc/self/mountinfo").read_text() == mounts
        assert stat.S_IMODE(barred.stat().st_mode) == 0o700
        assert (barred / "private/key").read_text() == "secret"

    def test_without_it_nothing_is_reached(self, barred: Path) -> None:
        def work() -> None:
            become(UID)
            try:
                (barred / "python/lib/module").read_text()
            except PermissionError:
                return
            raise AssertionError("the fixture bars nobody")

        assert in_child(work) == 0

    def test_single_files_and_barred_roots(self, barred: Path) -> None:
        (barred / "private/public").mkdir(mode=0o755)
        (barred / "private/public").chmod(0o755)
        (barred / "private/public/file").write_text("x")
        (barred / "private/public/file").chmod(0o644)
        (barred / "private/key").unlink()

        def work() -> None:
            expose([barred / "private", barred / "python/lib/module"])
            become(UID)
            check((barred / "private/public/file").read_text() == "x", "entries of a barred root")
            check((barred / "python/lib/module").read_text() == "code", "a single file")

        assert in_child(work) == 0

    def test_what_others_cannot_read_is_refused_with_a_hint(self, barred: Path) -> None:
        def work() -> None:
            with pytest.raises(SkerryError) as caught:
                expose([barred / "private"])
            check(caught.value.code == "UNSUPPORTED", caught.value.code)
            check(caught.value.hint == f"chmod -R o+rX {barred / 'private'}", caught.value.hint)
            with pytest.raises(SkerryError, match="does not exist"):
                expose([barred / "nothing"])

        assert in_child(work) == 0

    def test_reachable_paths_need_nothing(self) -> None:
        def work() -> None:
            before = Path("/proc/self/ns/mnt").readlink()
            check(expose(["/usr/bin", "/etc"]) == (), "nothing is covered")
            check(Path("/proc/self/ns/mnt").readlink() == before, "no namespace is made")

        assert in_child(work) == 0

    def test_later_mounts_of_the_machine_appear(self, barred: Path) -> None:
        """A volume that is attached after the zygote has started reaches its cells."""
        target = barred / "python/lib"

        def machine() -> None:
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount("", "/", "", MS_SHARED | linux.MS_REC)
            ready, go = os.pipe(), os.pipe()
            child = os.fork()
            if child == 0:
                os._exit(in_child(lambda: zygote(ready[1], go[0])))
            os.read(ready[0], 1)
            linux.mount("tmpfs", str(target), "tmpfs", 0)
            (target / "late").touch()
            os.write(go[1], b"x")
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            check(status == 0, "the zygote")

        def zygote(ready: int, go: int) -> None:
            expose([target])
            os.write(ready, b"x")
            os.read(go, 1)
            check((target / "late").exists(), "a later mount")

        assert in_child(machine) == 0

    def test_this_python_runs_as_a_bare_user(self) -> None:
        """A cell imports lazily and starts programs from where Python really lies."""

        def work() -> None:
            expose([sys.prefix, sys.base_prefix, SOURCE])
            paths = (sys.prefix, sys.base_prefix, str(SOURCE))
            confine(Confinement(uid=UID, gid=UID, execute=paths))
            import ftplib

            check(bool(ftplib.FTP_PORT), "a lazy import")
            script = "import skerry.kernel.kind, wave, os; print(os.getuid())"
            said = subprocess.run(
                [sys.executable, "-c", script], check=True, capture_output=True, text=True
            )
            check(said.stdout.strip() == str(UID), "a program")

        assert in_child(work) == 0


@needs_root
async def test_a_home_where_only_root_may_enter_serves_apps() -> None:
    toml = '[app]\nname = "shop"\n[functions.web]\nentry = "web:handle"\n[kv.cache]\n'
    handler = "async def handle(request):\n    return 'open'\n"
    with open_directory() as barred:
        barred.chmod(0o700)
        async with running_node(kinds(), home=barred / "h") as node:
            await deploy(node, {"skerry.toml": toml, "web.py": handler})
            url = f"http://shop.localhost:{node.http_port}/"
            answer = await asyncio.to_thread(request, url)
            assert (answer.status, answer.body) == (200, b"open")
            await perform(node, "kv.put", app="shop", name="cache", key="n", value="1")
        assert stat.S_IMODE(barred.stat().st_mode) == 0o700


@pytest.mark.skipif(ROOT, reason="root can expose what it likes")
def test_an_ordinary_user_is_told_what_to_do() -> None:
    barred = Path(tempfile.mkdtemp(prefix="skerry-barred-"))
    try:
        with pytest.raises(SkerryError) as caught:
            expose([barred])
        assert caught.value.code == "UNSUPPORTED"
        assert "chmod o+x" in caught.value.hint
    finally:
        barred.rmdir()
