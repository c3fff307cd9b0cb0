"""Runs a page of the documentation as its reader would: command by command, against a node.

A page is run if it has blocks whose first line says so:

    ```console run          each line after `$ ` is run, and what follows must be its output
    ```toml file=skerry.toml    the block is written to that file, in the folder of that moment

`…` in an output stands for any text, and on a line of its own for any lines. Spaces and durations
do not count. Only standard output is compared: progress and remarks go to standard error.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_ports

from skerry.surfaces.installed import manifests

PORTS = ("7878", "7432")
"""The ports that pages show; a run has others."""

OTHER_PORTS = (
    "federation",
    *(wire.name for each in manifests() for wire in each.wires if wire.front),
)
"""The ports that no page shows; the system chooses them."""

PAGE_SECONDS = 110
STOP_SECONDS = 40
_FENCE = re.compile(r"^```(\w+) +([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DURATION = re.compile(r"\b\d+(\.\d+)? (ms|s)\b")
_MARK = "@@step"


@dataclass(frozen=True)
class Step:
    """A command, and the lines that it must print."""

    command: str
    expected: tuple[str, ...] = ()


class PageError(AssertionError):
    """A page says what is not so."""


def steps_of(page: str) -> Iterator[Step]:
    """Yield what a reader of the page does, in order."""
    for language, said, block in _FENCE.findall(page):
        if said.startswith("file="):
            name = shlex.quote(said.removeprefix("file=").strip())
            yield Step(
                f"mkdir -p $(dirname {name}) && cat > {name} <<'END_OF_FILE'\n{block}END_OF_FILE"
            )
        elif language == "console" and said.split()[0] == "run":
            yield from _console(block)


def _console(block: str) -> Iterator[Step]:
    command, expected = "", list[str]()
    for line in block.splitlines():
        if command.endswith("\\"):
            command = f"{command}\n{line}"
        elif line.startswith("$ "):
            if command:
                yield Step(command, tuple(expected))
            command, expected = line[2:], []
        else:
            expected.append(line)
    if command:
        yield Step(command, tuple(expected))


def programs_of(steps: list[Step]) -> set[str]:
    """Return the first words of commands, so that a run can tell which programs are missing."""
    commands = "\n".join(step.command for step in steps)
    return set(re.findall(r"(?:^|[|;&(] *)([a-z][\w-]*)\b", commands, re.MULTILINE))


def run_page(page: str, folder: Path) -> int:
    """Run a page's steps in an empty folder with a home of their own; return how many ran."""
    numbers = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    steps = [replace_ports(step, numbers) for step in steps_of(page)]
    environment = prepare(folder, numbers)
    script = folder / "page.sh"
    script.write_text(script_of(steps))
    try:
        done = subprocess.run(
            ["bash", str(script)],
            check=False,
            cwd=folder / "place",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PAGE_SECONDS,
        )
    finally:
        stop(environment)
    compare(steps, done.stdout, done.stderr)
    return len(steps)


def replace_ports(step: Step, numbers: dict[str, str]) -> Step:
    """Return a step with the ports of this run."""

    def replaced(text: str) -> str:
        return re.sub("|".join(numbers), lambda found: numbers[found[0]], text)

    return Step(replaced(step.command), tuple(map(replaced, step.expected)))


def prepare(folder: Path, numbers: dict[str, str]) -> dict[str, str]:
    """Make a home whose node uses the ports of this run; return the environment of the commands."""
    home = folder / "home"
    for each in (home, folder / "place"):
        each.mkdir()
    http, postgres = (numbers[port] for port in PORTS)
    ports = {**dict.fromkeys(OTHER_PORTS, 0), "pg": postgres}
    lines = [f"http-port = {http}", "", "[ports]", *(f"{k} = {v}" for k, v in ports.items())]
    (home / "config.toml").write_text("\n".join(lines) + "\n")
    programs = str(Path(sys.executable).parent)
    return {
        "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder / "place"),
        "SKERRY_HOME": str(home),
        "LANG": "C.UTF-8",
    }


def script_of(steps: list[Step]) -> str:
    """Return a script that runs the steps up to the first that fails, and marks their outputs."""
    lines = []
    for number, step in enumerate(steps):
        lines += [f"printf '\\n{_MARK} {number}\\n'", "{", step.command, "} </dev/null"]
        lines += [f"code=$?; printf '\\n{_MARK} {number} %d\\n' $code; [ $code = 0 ] || exit 1"]
    return "\n".join(lines) + "\n"


def stop(environment: dict[str, str]) -> None:
    """Stop the node of a run, if the page has not done so, and wait until it is gone."""
    program = str(Path(sys.executable).with_name("skerry"))
    subprocess.run(
        [program, "stop"], check=False, env=environment, capture_output=True, timeout=STOP_SECONDS
    )
    mark = Path(environment["SKERRY_HOME"], "node.pid")
    if not mark.exists():
        return
    with mark.open() as file:
        for _ in range(STOP_SECONDS * 10):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.1)
        os.kill(int(file.read()), signal.SIGKILL)
    raise PageError(f"The node did not stop within {STOP_SECONDS} s.")


def compare(steps: list[Step], output: str, errors: str) -> None:
    """Raise PageError at the first step that failed or printed something else."""
    for number, step in enumerate(steps):
        found = re.search(
            rf"^{_MARK} {number}\n(.*?)\n?^{_MARK} {number} (\d+)$",
            output,
            re.MULTILINE | re.DOTALL,
        )
        if found is None or found[2] != "0":
            code = "did not end" if found is None else f"ended with {found[2]}"
            printed = found[1] if found else output[-2000:]
            raise PageError(f"$ {step.command}\n{code}\n{printed}\n{errors[-2000:]}")
        if step.expected and not matches(step.expected, found[1]):
            wanted = "\n".join(step.expected)
            said = f"{found[1]}\n{errors[-2000:]}"
            raise PageError(f"$ {step.command}\nthe page says:\n{wanted}\nit printed:\n{said}")


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Tell whether an output is the one that a page shows."""
    pattern = ""
    for line in map(plain, expected):
        if line == "…":
            pattern += r"(?:[^\n]*\n)*?"
        elif line:
            pattern += r"[^\n]*?".join(re.escape(part) for part in re.split(" ?… ?", line)) + "\n"
    lines = [line for line in map(plain, printed.splitlines()) if line]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def plain(line: str) -> str:
    """Return a line without what differs from run to run."""
    return _DURATION.sub("…", " ".join(line.split()))
