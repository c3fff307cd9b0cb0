#!/usr/bin/env python3
"""Everything that a developer runs, on a machine that has Python 3.11 and pip and nothing else.

    python3 dev.py setup     make .venv from the lock file; at once if nothing changed
    python3 dev.py up        set up, then start a node with the newsroom example
    python3 dev.py check     set up, then format, lint, types, layers, tidy, docs and all tests
    python3 dev.py docs      write the generated pages of docs/ anew
    python3 dev.py lock      resolve pyproject.toml and clients anew into requirements/

Nothing is installed outside this folder, with one exception that is announced: `check` as root on
Debian installs the small system packages without which some tests would be left out (not with
`--fast`).
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {each: ROOT / "requirements" / f"{each}.lock" for each in ("up", "dev")}
"""What is installed to run a node, and what to develop Skerry: the second holds the first."""
CLIENTS = ROOT / "tests" / "clients"
DOCS_MODULE = "skerry.surfaces.docs"
ENVIRONMENTS_MODULE = "skerry.kinds.quantum.tests.environments"
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11")
OLDEST = 0x030B0000
UV = "uv>=0.5"
STEP_SECONDS = 1800
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 12 << 30


class StepError(Exception):
    """A step that failed: what, why, and what to do next."""

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        lines += [f"  why:  {self.why}"] if self.why else []
        lines += [f"  hint: {self.hint}"] if self.hint else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Tool:
    """A program that widens the set of tests, and the Debian package that brings it."""

    program: str
    package: str
    without: str


TOOLS = (
    Tool("mkfs.btrfs", "btrfs-progs", "the btrfs volume driver"),
    Tool("mkfs.xfs", "xfsprogs", "the reflink volume driver"),
    Tool("psql", "postgresql-client", "psql as a client"),
    Tool("aws", "awscli", "the AWS CLI as a client"),
    Tool("bwrap", "bubblewrap", "workloads of class bwrap"),
    Tool("crun", "crun", "workloads of class crun"),
    Tool("runsc", "runsc", "workloads of class gvisor"),
    Tool("restic", "restic", "off-site backups"),
    Tool("etcd", "etcd-server", "leases in an etcd"),
)


# ---- running programs -------------------------------------------------------------------------


def say(text: str) -> None:
    """Print at once, so that lines of child processes stay in order."""
    print(text, flush=True)


def run(
    command: Sequence[str | Path],
    cwd: Path = ROOT,
    seconds: int = STEP_SECONDS,
    more: Mapping[str, str] | None = None,
) -> None:
    """Run a program in the foreground; raise `StepError` if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            env=environment() | dict(more or {}),
        )
    except OSError as error:
        raise StepError(f"{words[0]} cannot be run.", str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise StepError(f"{Path(words[0]).name} ran longer than {seconds} s.") from error
    if done.returncode:
        raise StepError(f"{Path(words[0]).name} ended with {done.returncode}.", " ".join(words))


def answers(command: Sequence[str | Path]) -> bool:
    """Tell whether a program runs and ends well; nothing is printed."""
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def environment() -> dict[str, str]:
    """Return the environment of child processes: the virtual environment's programs first."""
    trust = {"UV_NATIVE_TLS": "true", "UV_SYSTEM_CERTS": "true"}  # the machine's, as pip's is
    # Without bytecode each of hundreds of processes would compile the same modules.
    kept = dict(trust | os.environ, PYTHONHOME="", PYTHONDONTWRITEBYTECODE="")
    path = f"{VENV / 'bin'}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return {**kept, "VIRTUAL_ENV": str(VENV), "PATH": path}


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Announce a step of the set-up, and say how long it took."""
    say(f"  … {name}")
    start = time.monotonic()
    yield
    say(f"  ✓ {name} ({time.monotonic() - start:.1f} s)")


# ---- set-up -----------------------------------------------------------------------------------


def setup(lock: str = "dev") -> None:
    """Bring .venv to what a lock file says; at once if it is there already.

    Two set-ups at a time wait for each other by a lock on this folder.
    """
    if is_current(lock):
        return
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        if not take(folder):
            say("  … waiting for another set-up in this folder")
            fcntl.flock(folder, fcntl.LOCK_EX)
        if not is_current(lock):
            build(lock)
    finally:
        os.close(folder)


def take(folder: int) -> bool:
    """Try to take the lock on a folder."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def build(lock: str) -> None:
    """Make the virtual environment and install what is locked, then this project."""
    if not os.access(ROOT, os.W_OK):
        raise StepError(f"{ROOT} is not writable.", "It belongs to another user.", "clone your own")
    start = time.monotonic()
    say(f"Setting up .venv with Python {sys.version.split()[0]}")
    (VENV / "stamp").unlink(missing_ok=True)
    with step("virtual environment"):
        make_venv()
    installers = list(find_installers(LOCKS[lock]))
    if not installers:
        raise StepError(
            "There is no pip.",
            f"{sys.executable} has neither pip nor ensurepip, and uv is not on the PATH.",
            "apt-get install python3-pip",
        )
    with step("locked dependencies"):
        first_that_works([installer.locked for installer in installers])
    with step("this project, editable"):
        first_that_works([installer.project for installer in installers])
    (VENV / "stamp").write_text(stamp(lock))
    say(f"Ready in {time.monotonic() - start:.1f} s")


def make_venv() -> None:
    """Make .venv, anew if its interpreter is gone, without the parts that Debian splits off."""
    if answers([PYTHON, "-c", "import sys; sys.exit(sys.hexversion < 0x030B0000)"]):
        return
    if VENV.exists():
        shutil.rmtree(VENV)
    run([sys.executable, "-m", "venv", "--without-pip", VENV])


@dataclass(frozen=True)
class Installer:
    """The two commands with which uv or pip installs into .venv."""

    locked: list[str | Path]
    project: list[str | Path]


def find_installers(lock: Path) -> Iterator[Installer]:
    """Yield what can install a lock file into .venv, the fastest first.

    uv does not read pip's settings (a company's mirror, say), hence pip is the second try even
    where there is uv. pip works from outside of .venv; where this Python has none, ensurepip
    lays one into .venv.
    """
    quiet: list[str | Path] = [] if sys.stdout.isatty() else ["--quiet"]
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", PYTHON]
    if not answers([*pip, "--version"]):
        pip = [PYTHON, "-m", "pip"] if answers([PYTHON, "-m", "ensurepip"]) else []
    if uv := find_uv(pip):
        own: list[str | Path] = [uv, "pip"]
        to: list[str | Path] = ["--python", PYTHON, "--link-mode", "copy", *quiet]
        yield Installer(
            [*own, "sync", *to, "--require-hashes", "--compile-bytecode", lock],
            [*own, "install", *to, "--no-deps", "--no-build-isolation", "--editable", ROOT],
        )
    if pip:
        pip += ["install", "--disable-pip-version-check", "--no-input", *quiet]
        yield Installer(
            [*pip, "--require-hashes", "--requirement", lock],
            [*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT],
        )


def find_uv(pip: Sequence[str | Path]) -> Path | None:
    """Return uv: one on the PATH or in .venv, else the locked one, laid beside by pip.

    Where pip was told of another index, uv would ask in the wrong place, and none is laid.
    """
    found = shutil.which("uv")
    own = [VENV / each / "uv" for each in ("bin", "uv/bin")]
    places = [Path(found), *own] if found else own
    locked = re.search(r"^uv==(.*\\\n)+.*", LOCKS["dev"].read_text(), re.MULTILINE)
    told = os.environ.get("PIP_INDEX_URL") or answers([*pip, "config", "get", "global.index-url"])
    if pip and locked and not told and not any(answers([each, "--version"]) for each in places):
        with step("uv, which installs"), tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(locked[0])
            file.flush()
            quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes"]
            answers([*pip, "install", *quiet, "--target", VENV / "uv", "--requirement", file.name])
    return next((each for each in places if answers([each, "--version"])), None)


def first_that_works(commands: Sequence[Sequence[str | Path]]) -> None:
    """Run the first command, and the next if it fails; raise the last failure."""
    for command in commands[:-1]:
        try:
            return run(command)
        except StepError as failure:
            say(f"  ! {failure.what} Trying the next way.")
    return run(commands[-1])


def stamp(lock: str) -> str:
    """Return what .venv depends on, in short."""
    digest = hashlib.sha256()
    for path in (LOCKS[lock], ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return f"{lock} {digest.hexdigest()} {ROOT}\n"


def is_current(lock: str) -> bool:
    """Tell whether .venv is what the lock file and pyproject.toml say, or more than that."""
    enough = {stamp(lock), stamp("dev")}
    try:
        return PYTHON.exists() and (VENV / "stamp").read_text() in enough
    except (FileNotFoundError, PermissionError):
        return False


def relock() -> None:
    """Resolve pyproject.toml into the lock files, for every platform and Python that we support."""
    uv = shutil.which("uv") or VENV / "bin" / "uv"
    if not Path(uv).exists():
        with step("uv"):
            run([sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", UV])
    lock(Path(uv), "dev")
    lock(Path(uv), "up", "--constraints", LOCKS["dev"])
    run([PYTHON, "-m", ENVIRONMENTS_MODULE, "--lock"])


def lock(uv: Path, extra: str, *more: str | Path) -> None:
    """Resolve one extra into its lock file."""
    options = "--universal --generate-hashes --no-emit-index-url --no-annotate --no-header"
    wanted = [*options.split(), "--python-version", "3.11", "--extra", extra, *more]
    with step(f"{LOCKS[extra].relative_to(ROOT)}"):
        file = ["--quiet", "--output-file", str(LOCKS[extra])]
        run([uv, "pip", "compile", "pyproject.toml", *file, *wanted])


# ---- checks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a step of `check` ended; a step that is not a run of tests counts as one check."""

    name: str
    seconds: float
    passed: int
    failed: int
    skipped: int = 0


def check(fast: bool) -> int:
    """Run every check, the failing ones too; return the exit code."""
    start = time.monotonic()
    setup()
    if not fast:
        widen()
    outcomes = [measure(name, action) for name, action in steps(fast)]
    return report(outcomes, time.monotonic() - start)


def steps(fast: bool) -> Iterator[tuple[str, Callable[[], Outcome | None]]]:
    """Yield the steps of `check` by name."""
    programs = VENV / "bin"
    environments = None if fast else beside(PYTHON, "-m", ENVIRONMENTS_MODULE)
    types = beside(programs / "mypy", "--no-error-summary")
    yield "format", command(programs / "ruff", "format", "--check", "--quiet", ".")
    yield "lint", command(programs / "ruff", "check", "--quiet", ".")
    yield "layers", command(programs / "lint-imports")
    yield "generated docs", command(PYTHON, "-m", DOCS_MODULE, "--check")
    yield "tidy", lambda: tests("tidy", "tests/repository", "-n", "0")
    if not fast and (CLIENTS / "package.json").exists():
        yield "clients", install_clients
    yield "types", types
    if environments:
        yield "quantum clients", environments
    # One more than there are cores: tests wait for disks and for processes that start.
    workers = str(min((os.cpu_count() or 2) + 1, 8))
    chosen = ["-m", "not slow"] if fast else []
    yield (
        "tests",
        lambda: tests(
            "tests", "--ignore=tests/repository", "-n", workers, "--dist", "worksteal", *chosen
        ),
    )


def command(*words: str | Path) -> Callable[[], None]:
    """Make a step that runs one program."""
    return lambda: run(words)


def beside(*words: str | Path) -> Callable[[], None]:
    """Start a program that runs beside steps; return the step that waits for it.

    What it says is printed by that step, so that it does not stand between the lines of others.
    """
    name = " ".join(map(str, words))
    said = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with this process
    process = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment()
    )
    atexit.register(process.kill)

    def wait() -> None:
        try:
            code = process.wait(STEP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise StepError(f"{name} ran longer than {STEP_SECONDS} s.") from error
        said.seek(0)
        say(said.read().decode(errors="replace").rstrip())
        if code:
            raise StepError(f"{name} ended with {code}.")

    return wait


def measure(name: str, action: Callable[[], Outcome | None]) -> Outcome:
    """Carry out one step, and turn its failure into an outcome."""
    say(f"── {name} " + "─" * (76 - len(name)))
    start = time.monotonic()
    try:
        outcome = action() or Outcome(name, 0, 1, 0)
    except StepError as failure:
        say(str(failure))
        outcome = Outcome(name, 0, 0, 1)
    seconds = time.monotonic() - start
    return Outcome(name, seconds, outcome.passed, outcome.failed, outcome.skipped)


def tests(name: str, *arguments: str) -> Outcome:
    """Run pytest and count what it ran."""
    with tempfile.TemporaryDirectory() as folder, scratch() as place:
        result = Path(folder, "result.xml")
        slowest = ["--durations=10", "--durations-min=1.0"]
        failure = None
        try:
            words: list[str | Path] = [
                PYTHON,
                "-m",
                "pytest",
                "-q",
                *slowest,
                f"--junitxml={result}",
                *arguments,
            ]
            run(words, more=place)
        except StepError as error:
            failure = error
        outcome = count(name, result)
    if outcome is None or (failure and not outcome.failed):
        raise failure or StepError("pytest wrote no result.")
    return outcome


@contextlib.contextmanager
def scratch() -> Iterator[dict[str, str]]:
    """Say where tests write: in memory, where there is plenty, unless TMPDIR says where.

    Nodes sync each write to the disk, so that tests would mostly wait for it. That a write is
    synced before it is acknowledged is tested by cutting the power in a model of a disk.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or available(MEMORY) < MEMORY_BYTES_MIN:
        yield {}
        return
    # Short, because paths of sockets are short; open, because cells have users of their own.
    with tempfile.TemporaryDirectory(prefix="s", dir=MEMORY) as folder:
        Path(folder).chmod(0o1777)
        yield {"TMPDIR": folder}


def available(place: Path) -> int:
    """Return how many bytes may be written to a file system in memory."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min(shutil.disk_usage(place).free, *free)


def count(name: str, result: Path) -> Outcome | None:
    """Return what a JUnit file counts, or None if pytest ended before it wrote one."""
    try:
        suites = list(ElementTree.parse(result).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return None

    def total(key: str) -> int:
        return sum(int(suite.get(key, "0")) for suite in suites)

    failed, skipped = total("failures") + total("errors"), total("skipped")
    return Outcome(name, 0, total("tests") - failed - skipped, failed, skipped)


def report(outcomes: Sequence[Outcome], seconds: float) -> int:
    """Print the table of all steps; return the exit code."""
    say("\n" + f"{'step':<16}{'seconds':>9}{'passed':>9}{'failed':>9}{'skipped':>9}")
    for outcome in outcomes:
        numbers = f"{outcome.passed:>9}{outcome.failed:>9}{outcome.skipped:>9}"
        flag = "   FAILED" if outcome.failed else ""
        say(f"{outcome.name:<16}{outcome.seconds:>9.1f}{numbers}{flag}")
    passed, failed, skipped = (
        sum(getattr(outcome, key) for outcome in outcomes)
        for key in ("passed", "failed", "skipped")
    )
    say(f"{'all':<16}{seconds:>9.1f}\n")
    say(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


# ---- what widens the set of tests ---------------------------------------------------------------


def widen() -> None:
    """Install the system packages without which tests are left out, or say which those are."""
    missing = missing_tools()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        packages = [tool.package for tool in missing]
        say(f"Installing Debian packages for more tests: {' '.join(packages)}")
        apt(packages)
        missing = missing_tools()
    for tool in missing:
        say(f"! {tool.program} is missing (package {tool.package}): no tests of {tool.without}")


def missing_tools() -> list[Tool]:
    """Return the optional programs that this machine lacks."""
    path = environment()["PATH"]
    return [tool for tool in TOOLS if not shutil.which(tool.program, path=path)]


def apt(packages: Sequence[str]) -> None:
    """Install Debian packages, with fresh lists if the first try fails; say why if it cannot."""
    install = ["apt-get", "install", "--yes", "-qq", "--no-install-recommends", *packages]
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    try:
        if not answers([*install, "--simulate"]):
            run(["apt-get", "update", "-qq"], seconds=120)
        run(install, seconds=300)
    except StepError as failure:
        say(f"! {failure.what}")


def install_clients() -> None:
    """Install the official JavaScript clients, where the machine has Node and npm."""
    if not (shutil.which("node") and shutil.which("npm")):
        say("! node or npm is missing: NO TESTS OF THE JAVASCRIPT CLIENTS")
        return
    wanted = hashlib.sha256((CLIENTS / "package-lock.json").read_bytes()).hexdigest()
    mark = CLIENTS / "node_modules" / "stamp"
    if mark.exists() and mark.read_text() == wanted:
        return
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]
    run(["npm", "ci", *quiet], cwd=CLIENTS, seconds=600)
    mark.write_text(wanted)


# ---- the command line ---------------------------------------------------------------------------


def prefer_newer_python() -> None:
    """Go on under a newer Python if this one is too old and the machine has one."""
    if sys.hexversion >= OLDEST:
        return
    enough = f"import sys; sys.exit(sys.hexversion < {OLDEST})"
    for name in NEWER_PYTHONS:
        found = shutil.which(name)
        if found and answers([found, "-c", enough]):
            os.execv(found, [found, *sys.argv])
    raise StepError(
        f"Skerry needs Python 3.11 or newer; this is {sys.version.split()[0]}.",
        hint="apt-get install python3.11, or name one: python3.11 dev.py setup",
    )


def up(arguments: Sequence[str]) -> None:
    """Become a node with the newsroom example."""
    setup("up")
    program = VENV / "bin" / "skerry"
    os.execve(program, [str(program), "up", "--example", "newsroom", *arguments], environment())


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Read the command line; what follows `up` is left to the node."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("setup", help="make .venv from the lock file")
    commands.add_parser("up", help="set up and start a node", add_help=False)
    checks = commands.add_parser("check", help="set up and run every check and test")
    checks.add_argument("--fast", action="store_true", help="without slow tests and some clients")
    commands.add_parser("docs", help="write the generated docs anew")
    commands.add_parser("lock", help="resolve the dependencies anew")
    known, rest = parser.parse_known_args(arguments)
    if rest and known.command != "up":
        parser.error(f"unknown: {' '.join(rest)}")
    return known, rest


def main() -> int:
    """Carry out the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        prefer_newer_python()
        options, rest = parse(sys.argv[1:])
        if options.command == "check":
            return check(options.fast)
        if options.command == "up":
            up(rest)
        setup()
        if options.command == "docs":
            run([PYTHON, "-m", DOCS_MODULE])
        if options.command == "lock":
            relock()
    except StepError as failure:
        print(failure, file=sys.stderr)
        return 1
    except OSError as error:
        print(StepError("A file could not be read or written.", str(error)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
