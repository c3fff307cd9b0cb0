"""Environments of vendors' clients that cannot live beside the others, made from locked packages.

    python -m skerry.kinds.quantum.tests.environments          make those that are missing or old
    python -m skerry.kinds.quantum.tests.environments --lock   resolve their packages anew

`dev.py check` runs the first and `dev.py lock` the second. An environment lies below .venv, so that
nothing is installed outside of the clone; one whose lock did not change is left as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from skerry.kinds.quantum import stacks
from skerry.kinds.quantum.stacks import COMPLETE, STACKS, Stack

ROOT = Path(__file__).resolve().parents[5]
LOCKS = ROOT / "requirements" / "clients"
PLACE = Path(sys.prefix) / "clients"
BYTES_EACH = 450 << 20
"""What an environment takes on average, with some to spare: the eight take 3 GB."""
SECONDS_MAX = 600
NEWEST_MINOR = 19
OPTIONS = "--universal --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet"


class EnvironmentsError(Exception):
    """What went wrong, why, and what to do next."""

    def __init__(self, what: str, why: str, hint: str) -> None:
        super().__init__(f"error: {what}\n  why:  {why}\n  hint: {hint}")


def wanted() -> dict[str, Stack]:
    """Return the clients that this environment does not have."""
    return {
        name: stack
        for name, stack in STACKS.items()
        if name.startswith("clients-") and not stacks.is_here(name)
    }


def lock_of(name: str) -> Path:
    """Return the lock file of a client."""
    return LOCKS / f"{name.removeprefix('clients-')}.lock"


def find_python(oldest: tuple[int, int]) -> str | None:
    """Return an interpreter of at least a version: this one, one on the PATH, or one of pyenv's.

    None is downloaded, because none comes from a registry of packages.
    """
    if sys.version_info >= oldest:
        return sys.executable
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for minor in range(oldest[1], NEWEST_MINOR):
        on_path = shutil.which(f"python3.{minor}")
        kept = sorted(home.glob(f"versions/3.{minor}.*/bin/python"))
        for each in ([on_path] if on_path else []) + [str(path) for path in kept]:
            # What pyenv puts on the PATH stands for versions that may not be chosen.
            if subprocess.run([each, "-c", ""], check=False, capture_output=True).returncode == 0:
                return each
    return None


def stamp(lock: Path, python: str) -> str:
    """Return what an environment depends on, in short."""
    return f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {Path(python).resolve()}\n"


def stale(place: Path) -> dict[str, str]:
    """Return the clients whose environment is to be made, with the interpreter that each gets."""
    found = {}
    for name, stack in wanted().items():
        python = find_python(stack.python)
        if python is None:
            needed = ".".join(map(str, stack.python))
            _say(f"! Python {needed} is missing: NO TESTS OF {name}")
            continue
        if not lock_of(name).exists():
            raise EnvironmentsError(
                f"{name} is not locked.", f"{lock_of(name)} is missing.", "python3 dev.py lock"
            )
        mark = stacks.folder(place, name) / COMPLETE
        if not mark.exists() or mark.read_text() != stamp(lock_of(name), python):
            found[name] = python
    return found


def make_all(place: Path = PLACE) -> None:
    """Make every environment that is missing or old; raise `EnvironmentsError` if one cannot be."""
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        names = stale(place)
        check_space(place, len(names))
        for name, python in names.items():
            start = time.monotonic()
            make(stacks.folder(place, name), lock_of(name), python)
            _say(f"  ✓ {name} ({time.monotonic() - start:.1f} s)")
        if not names:
            _say("  ✓ as locked")


def check_space(place: Path, count: int, bytes_each: int = BYTES_EACH) -> None:
    """Raise `EnvironmentsError` if there is too little space for so many environments."""
    needed, free = count * bytes_each, shutil.disk_usage(place).free
    if needed > free:
        raise EnvironmentsError(
            f"There is too little space for {count} clients of quantum computers.",
            f"They take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free at {place}.",
            "make space, or leave them out: python3 dev.py check --fast",
        )


def make(target: Path, lock: Path, python: str) -> None:
    """Make one environment with what is locked; it is complete only after all of it is there.

    uv reads no settings of pip's, such as a company's mirror, hence pip is tried after it.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    run([python, "-m", "venv", "--without-pip", target])
    inside = target / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", inside, "install"]
    ways = [[*pip, "--no-input", "--quiet", "--require-hashes", "--requirement", lock]]
    if uv := find_uv():
        options = ["--quiet", "--no-python-downloads", "--require-hashes"]
        ways.insert(0, [uv, "pip", "sync", *options, "--python", inside, lock])
    for number, way in enumerate(ways, start=1):
        try:
            run(way)
            break
        except EnvironmentsError as failure:
            if number == len(ways):
                raise
            _say(f"{failure}\n  ! Trying the next way.")
    (target / COMPLETE).write_text(stamp(lock, python))


def find_uv() -> str | None:
    """Return uv: this environment's, or the one on the PATH."""
    return shutil.which("uv", path=f"{Path(sys.prefix, 'bin')}:{os.environ.get('PATH', '')}")


def lock_all() -> None:
    """Resolve the packages of every client anew, for every platform and Python that they take."""
    uv = find_uv()
    if uv is None:
        raise EnvironmentsError("There is no uv.", "Locks are made by it.", "python3 dev.py setup")
    LOCKS.mkdir(parents=True, exist_ok=True)
    for name, stack in wanted().items():
        version = ["--python-version", ".".join(map(str, stack.python))]
        options = [*OPTIONS.split(), *version, "--output-file", str(lock_of(name))]
        run([uv, "pip", "compile", "-", *options], stack.packages)
        _say(f"  ✓ {lock_of(name).relative_to(ROOT)}")


def run(command: Sequence[str | Path], lines: Sequence[str] = ()) -> None:
    """Run a program to its end, given lines to read; raise `EnvironmentsError` if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            check=False,
            input="\n".join(lines),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentsError(f"{words[0]} did not end.", str(error), "see above") from error
    if done.returncode:
        what = f"{Path(words[0]).name} ended with {done.returncode}."
        raise EnvironmentsError(what, done.stdout[-2000:].strip(), " ".join(words))


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Wait until no other process makes environments in a folder."""
    folder = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Carry out the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", action="store_true", help="resolve the packages anew")
    try:
        if parser.parse_args().lock:
            lock_all()
        else:
            make_all()
    except EnvironmentsError as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
