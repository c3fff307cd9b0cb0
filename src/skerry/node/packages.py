"""The packages that apps require, installed when they are deployed.

Each set of requirements is installed once into an environment of its own, found again by the hash
of what was asked for, and linked into every version of an app that asks for it:

<cache>/<hash>/packages/            what goes on `sys.path`, after the app's own code
<cache>/<hash>/requirements.lock    what was chosen: name==version

Installing runs no code of the packages. Only wheels are taken, requirements by URL or path are
refused, and pip runs under an audit hook that forbids it to start programs. Indexes are named by
the operator (pip's own configuration), never by an app.

Processes of cells are forked from one that has packages in memory already. They are the same for
all apps, so an environment is resolved to just these versions, and an app that cannot live with
them is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import signal
import stat
import sys
import sysconfig
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from skerry.kernel.errors import CONFIG_INVALID, ENGINE_FAILED, TIMED_OUT, SkerryError
from skerry.kernel.manifest import read_manifests
from skerry.node.requirements import Requirements, normal_name, same_version
from skerry.node.zygote import preload

INSTALL_SECONDS = 600.0
COMPILE_SECONDS = 120.0
PRELOADED_SECONDS = 60.0
_LINE_BYTES_MAX = 1 << 20
_LAST_LINES = 12
_PASSED_ON = frozenset(
    (
        "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
        "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    )
)  # fmt: skip
_PIP = """
import runpy, sys

FORBIDDEN = {
    "subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn",
    "os.system",
}

def refuse(event, arguments):
    if event in FORBIDDEN:
        raise PermissionError("only wheels are installed here, and nothing is built or run")

sys.addaudithook(refuse)
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""

OnLine = Callable[[str], None]


class Packages:
    """Installs requirements of apps; `preloaded` are the versions in memory, by normal name."""

    def __init__(self, cache: Path, preloaded: Mapping[str, str]) -> None:
        self._cache = cache
        self._preloaded = dict(preloaded)
        self._building: dict[str, asyncio.Lock] = {}

    async def install(self, requirements: Requirements, target: Path, on_line: OnLine) -> Path:
        """Provide what is required in the new folder `target`; return it.

        Raises CONFIG_INVALID for versions that clash, ENGINE_FAILED with what pip said, TIMED_OUT.
        """
        self._refuse_pins(requirements)
        key = self._key(requirements)
        place = self._cache / key
        lock = self._building.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if place.exists():
                    on_line("The packages are installed already.")
                else:
                    await self._build(requirements, place, on_line)
        finally:
            if not lock.locked():
                self._building.pop(key, None)
        await asyncio.to_thread(_link_tree, place / "packages", target)
        return target

    def _key(self, requirements: Requirements) -> str:
        python = f"{sys.implementation.cache_tag} {sysconfig.get_platform()}"
        parts = [python, requirements.text(), *self._constraints(requirements)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def _constraints(self, requirements: Requirements) -> list[str]:
        """Return what binds pip's choice. A hashed file has chosen all by itself."""
        if requirements.hashed:
            return list(requirements.constraints)
        preloaded = [f"{name}=={version}" for name, version in sorted(self._preloaded.items())]
        return [*requirements.constraints, *preloaded]

    def _refuse_pins(self, requirements: Requirements) -> None:
        for name, version in requirements.pins().items():
            self._refuse_clash(name, version)

    def _refuse_clash(self, name: str, version: str) -> None:
        ours = self._preloaded.get(normal_name(name))
        if ours is not None and not same_version(ours, version):
            raise CONFIG_INVALID(
                f"The app requires {name} {version}, but this node has {name} {ours} in memory.",
                why="All functions of a node share the packages that Skerry itself uses.",
                hint=f"Require {name}=={ours}, or leave its version open.",
            )

    async def _build(self, requirements: Requirements, place: Path, on_line: OnLine) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=self._cache))
        try:
            packages = work / "packages"
            packages.mkdir()
            await self._run_pip(requirements, work, packages, on_line)
            found = await asyncio.to_thread(_installed, packages)
            for name, version in found.items():
                self._refuse_clash(name, version)
            lock = "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))
            (work / "requirements.lock").write_text(lock)
            on_line(f"Compiling {len(found)} packages.")
            for problem in await compile_folder(packages):
                on_line(problem)
            await asyncio.to_thread(_seal, work)
            await asyncio.to_thread(work.rename, place)
            await asyncio.to_thread(_sync, self._cache)
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    async def _run_pip(
        self, requirements: Requirements, work: Path, packages: Path, on_line: OnLine
    ) -> None:
        asked, bounds = work / "requirements.txt", work / "constraints.txt"
        asked.write_text(requirements.text())
        bounds.write_text("\n".join(self._constraints(requirements)))
        command = [
            *(sys.executable, "-I", "-c", _PIP, "install"),
            *("--target", str(packages), "--only-binary", ":all:", "--no-compile", "--no-input"),
            *("--disable-pip-version-check", "--progress-bar", "off", "--no-color"),
            *("--requirement", str(asked), "--constraint", str(bounds)),
        ]
        if requirements.hashed:
            command.append("--require-hashes")
        status, last = await _run(command, work, INSTALL_SECONDS, on_line)
        for path in (asked, bounds):
            path.unlink()
        if status != 0:
            raise _pip_failed(last)


def _pip_failed(last: Sequence[str]) -> SkerryError:
    text = "\n".join(last)
    hint = "Correct the app's requirements."
    if "(constraint)" in text:
        hint = "Leave the versions of what Skerry itself uses open: they are this node's."
    elif "No matching distribution" in text:
        hint = "Only wheels are installed; is there one for this machine and Python?"
    return ENGINE_FAILED("The app's packages could not be installed.", why=text, hint=hint)


async def compile_folder(folder: Path) -> list[str]:
    """Compile all modules below a folder, so that starts need not; return what does not compile.

    The code is parsed in a child and not run. Raises TIMED_OUT.
    """
    command = [sys.executable, "-I", "-m", "compileall", "-q", str(folder)]
    problems: list[str] = []
    status, _ = await _run(command, folder, COMPILE_SECONDS, problems.append)
    if status != 0 and not problems:
        problems.append(f"The compiler ended with status {status}.")
    return problems


async def preloaded(kinds: Sequence[str]) -> dict[str, str]:
    """Return the packages that processes of cells have in memory from the start: name → version."""
    lines: list[str] = []
    command = [sys.executable, "-m", "skerry.node.packages", *kinds]
    status, last = await _run(command, Path.cwd(), PRELOADED_SECONDS, lines.append)
    if status != 0:
        what = "Skerry's own packages cannot be listed."
        raise ENGINE_FAILED(what, why="\n".join(last), hint="skerry doctor")
    return msgspec.json.decode(lines[-1], type=dict[str, str])


async def _run(
    command: Sequence[str], folder: Path, seconds: float, on_line: OnLine
) -> tuple[int, list[str]]:
    """Run a program without this process's secrets; return its status and last lines."""
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=_LINE_BYTES_MAX,
    )
    assert child.stdout is not None
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        async with asyncio.timeout(seconds):
            async for data in child.stdout:
                line = data.decode(errors="replace").rstrip()
                if line:
                    last.append(line)
                    on_line(line)
            status = await child.wait()
    except TimeoutError as error:
        text = "\n".join(last)
        raise TIMED_OUT(f"It took longer than {seconds:g} s.", why=text) from error
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    return status, list(last)


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith("PIP_")
    }


def _installed(packages: Path) -> dict[str, str]:
    found = importlib.metadata.distributions(path=[str(packages)])
    return {normal_name(each.name): each.version for each in found}


def _seal(work: Path) -> None:
    """Make a finished environment readable by processes of apps, and durable."""
    for folder, _, names in os.walk(work, topdown=False):
        for name in names:
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode):
                raise ENGINE_FAILED(f"A package has a file of a strange sort: {name}.")
            path.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
            _sync(path)
        Path(folder).chmod(0o755)
        _sync(Path(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_tree(source: Path, target: Path) -> None:
    """Copy a tree by hard links; by content where the file system has none."""
    for folder, _, names in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True)
        here.chmod(0o755)
        for name in names:
            try:
                os.link(Path(folder) / name, here / name)
            except OSError:
                shutil.copy2(Path(folder) / name, here / name)
        _sync(here)


def _main(kinds: Sequence[str]) -> None:
    """Write which packages are in memory once `kinds` are preloaded, as one line of JSON."""
    preload(read_manifests(kinds))
    in_memory = {name.partition(".")[0] for name in sys.modules}
    found = {
        normal_name(package): importlib.metadata.version(package)
        for module, packages in importlib.metadata.packages_distributions().items()
        if module in in_memory
        for package in packages
    }
    found.pop("skerry", None)
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
