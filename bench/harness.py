"""What every benchmark shares: interleaved pairs, medians, facts of the machine, and the report."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "skerry-bench"


@dataclass(frozen=True)
class Options:
    """How much is measured: `quick` to try a benchmark out, `full` for the sizes of the aims."""

    quick: bool = False
    full: bool = False

    def pick(self, quick: T, usual: T, full: T | None = None) -> T:
        """Return the value for the size that was asked for."""
        if self.quick:
            return quick
        return full if self.full and full is not None else usual


@dataclass
class Table:
    """Rows of results under headings."""

    heads: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    title: str = ""

    def add(self, *cells: object) -> None:
        """Add a row; numbers are shown with three significant digits."""
        self.rows.append([show(cell) for cell in cells])

    def markdown(self) -> str:
        """Return the table as Markdown, numbers to the right."""
        marks = ["---", *["---:"] * (len(self.heads) - 1)]
        lines = [self.heads, marks, *self.rows]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"**{self.title}**\n\n{text}" if self.title else text


@dataclass
class Report:
    """What a benchmark found: prose, tables, and every single measurement."""

    about: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def skip(self, what: str, why: str) -> None:
        """Say loudly that something was not measured."""
        print(f"!!! NOT MEASURED: {what}: {why}", file=sys.stderr, flush=True)
        self.notes.append(f"Not measured: {what} ({why}).")

    def markdown(self) -> str:
        """Return the section's body."""
        parts = [self.about, *(table.markdown() for table in self.tables)]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return asdict(self)


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def show(cell: object) -> str:
    """Return a number with three significant digits, anything else as text."""
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return str(cell)
    if cell == 0 or not math.isfinite(cell):
        return f"{cell:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(cell))))
    return f"{cell:,.{digits}f}"


def times(ours: float, theirs: float) -> str:
    """Return a ratio as text."""
    return f"{ours / theirs:.2f}\N{MULTIPLICATION SIGN}" if theirs else "n/a"


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that `part` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))]


def interleave(ways: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Measure every way once a round, each other round in the reverse order (A B, B A, …)."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways)
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(ways[name]())
    return found


def clock() -> float:
    """Return seconds of a clock that never jumps."""
    return time.perf_counter()


# ---- processes ----------------------------------------------------------------------------------


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that processes have used since they began, ended children left out."""
    return sum(sum(map(int, stat(pid)[11:13])) / TICK for pid in pids)


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the memory of processes that is theirs alone, plus their share of the rest (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) << 10
    return total


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat that follow the program's name (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children.setdefault(int(stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


@contextlib.contextmanager
def running(
    argv: Sequence[str | Path], cwd: Path | None = None, user: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside us, as another user if one is named; end it at the end."""
    silent = subprocess.DEVNULL
    words = [str(each) for each in argv]
    process = subprocess.Popen(
        words, cwd=cwd, user=user, group=user, stdin=silent, stdout=silent, stderr=silent
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(check: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds; raise TimeoutError if it takes too long."""
    deadline = clock() + seconds
    while not check():
        if clock() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.002)


# ---- places -------------------------------------------------------------------------------------


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Yield a directory that every user may pass through, and that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix=f"skerry-{prefix}-") as made:
        path = Path(made)
        path.chmod(0o711)
        yield path


def peers(name: str, *packages: str) -> Path:
    """Return the programs of a virtual environment with some packages, made at its first use."""
    place = _CACHE / name
    if not (place / "ready").exists():
        say(f"installing {' '.join(packages)} into {place}")
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python"]
        install = [*map(str, pip), "install", "--quiet", *packages]
        subprocess.run(install, check=True, timeout=600, capture_output=True)
        (place / "ready").touch()
    return place / "bin"


def machine() -> dict[str, str]:
    """Return the facts of this machine that results depend on."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": filesystem(Path(tempfile.gettempdir())),
        "python": platform.python_version(),
        "user": "root" if os.geteuid() == 0 else "an ordinary user",
    }


def filesystem(path: Path) -> str:
    """Return the type of the file system that a path is on."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, name = line.split()[:3]
        if (str(path) + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def load_average() -> str:
    """Return the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"
