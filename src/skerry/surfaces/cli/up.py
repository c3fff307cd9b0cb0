"""`skerry up`: runs the node, in the foreground or detached."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.kernel.errors import (
    ALREADY_RUNNING,
    ENGINE_FAILED,
    INVALID,
    NOT_FOUND,
    TIMED_OUT,
    SkerryError,
)
from skerry.kernel.names import did_you_mean
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.stop import in_use

if TYPE_CHECKING:
    from skerry.surfaces.cli.output import Output

_NODE = "skerry.app:up"
_PACKAGE = Path(__file__).parents[2]
_EXAMPLES = (_PACKAGE / "_examples", _PACKAGE.parents[1] / "examples")
_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


@click.command(cls=SkerryCommand)
@click.option("--name", help="the node's name; by default the machine's")
@click.option("--host", metavar="ADDRESS", help="where to listen; by default loopback only")
@click.option("--http-port", type=click.IntRange(0, 65535), help="the port of HTTP; 0 is any")
@click.option("--port", "ports", metavar="WIRE=PORT", multiple=True, help="the port of a port wire")
@click.option("--volume", "volume_driver", metavar="DRIVER", help="btrfs, reflink or copy")
@click.option("--example", metavar="NAME", help="deploy an example too")
@click.option("--detach", "-d", is_flag=True, help="go on in the background")
@click.pass_obj
def up(
    call: Call, /, *, ports: tuple[str, ...], example: str | None, detach: bool, **said: Any
) -> None:
    """Run the node on this machine, until it is interrupted.

    What is not said here comes from config.toml in the node's home, then from defaults.
    """
    numbers = dict(read_port(each) for each in ports)
    folder = find_example(example) if example else None
    if detach:
        _refuse_a_second(call.home)
        process, log = _start(call)
        announce(call, folder, lambda: _alive(process, log) and _runs(call.home, process.pid))
        return
    from skerry.node import memory  # noqa: PLC0415 (not for help)
    from skerry.node.node import Options  # noqa: PLC0415 (not for help)

    memory.keep_in_one()
    # What a start makes is there to stay, and is looked through again and again for nothing.
    gc.disable()
    module, _, attribute = _NODE.partition(":")
    run = getattr(importlib.import_module(module), attribute)
    greeting = threading.Thread(target=_greet, args=(call, folder), name="greeting", daemon=True)
    greeting.start()
    run(Options(home=call.home, ports=numbers, **said))


def read_port(text: str) -> tuple[str, int]:
    """Return the wire and the port in `wire=port`; raise INVALID."""
    wire, _, number = text.partition("=")
    if not wire or not number.isdecimal() or int(number) > 65535:
        raise INVALID(f"--port {text}: expected a wire and its port.", why="Such as pg=7432.")
    return wire, int(number)


def find_example(name: str) -> Path:
    """Return the folder of an example; raise NOT_FOUND."""
    root = next((place for place in _EXAMPLES if place.is_dir()), None)
    known = [each.parent.name for each in root.glob("*/skerry.toml")] if root else []
    if root is None or name not in known:
        hint = f"skerry up --example {known[0]}" if known else ""
        raise NOT_FOUND(f"There is no example {name}.", why=did_you_mean(name, known), hint=hint)
    return root / name


def _refuse_a_second(home: Path) -> None:
    """Raise ALREADY_RUNNING, as the node itself would, if a node has this home."""
    file = home / "node.pid"
    if in_use(file):
        raise ALREADY_RUNNING(
            f"A node runs on {home} already, as process {file.read_text().strip()}.",
            hint="skerry status",
        )


def _start(call: Call) -> tuple[subprocess.Popen[bytes], Path]:
    """Start the same command in the background."""
    words = [each for each in sys.argv[1:] if each not in {"--detach", "-d"}]
    call.home.mkdir(parents=True, exist_ok=True)
    log = call.home / "up.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # an example's passwords are printed there
        process = subprocess.Popen(
            [sys.executable, "-m", "skerry", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return process, log


def _alive(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Tell that the process that was started goes on; raise if it has ended."""
    if process.poll() is None:
        return True
    lines = log.read_text(errors="replace").strip().splitlines()
    raise ENGINE_FAILED(
        "The node ended right after it was started.",
        why="\n".join(lines[-6:])[:1000] or f"{log} is empty.",
        hint="skerry up",
    )


def _runs(home: Path, process: int) -> bool:
    """Tell whether the node of a home is this process, and not one that was there before."""
    from skerry.node.home import Home  # noqa: PLC0415 (not for help)

    with contextlib.suppress(FileNotFoundError):
        return Home(home).pid_file.read_text() == str(process)
    return False


def _greet(call: Call, example: Path | None) -> None:
    """Say where the node is once it answers, in a thread beside it."""
    try:
        announce(call, example, lambda: _runs(call.home, os.getpid()))
    except SkerryError as error:
        call.out.failure(error, f"skerry docs errors#{error.code.lower()}")


def announce(call: Call, example: Path | None, started: Callable[[], bool]) -> None:
    """Wait until the node answers, deploy the example, and say where everything is."""
    status = _wait(call, started)
    out = call.out
    if not out.json:
        out.result("\n".join(_status_lines(out, status)))
    deployed = _deploy(call, example) if example else None
    if out.json:
        out.data({"node": status, "example": deployed}, line=True)
    elif deployed is not None:
        _show_example(call, deployed)


def _status_lines(out: Output, status: dict[str, Any]) -> Iterator[str]:
    ports = {wire: f"port {number}" for wire, number in status["ports"].items()}
    home = f"{status['home']}  ({status['volume']})"
    rows = {"http": status["http"], **ports, "home": home, "console": "skerry open"}
    width = max(map(len, rows))
    yield f"{out.styled('✓', 'green')} {status['node']} is up"
    yield from (f"  {name:<{width}}  {value}" for name, value in rows.items())


def _wait(call: Call, started: Callable[[], bool]) -> Any:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if started():
                return call.client.call("node.status", {}, seconds=5.0)
        except SkerryError as error:
            if not error.problem.temporary:
                raise
        time.sleep(_POLL_SECONDS)
    raise TIMED_OUT(f"The node did not answer within {_START_SECONDS:g} s.", hint="skerry doctor")


def _deploy(call: Call, folder: Path) -> Any:
    from skerry.surfaces.cli.deploy import find_project, upload_and_deploy  # noqa: PLC0415

    project = find_project(call, str(folder))
    with call.out.steps() as steps:
        return upload_and_deploy(call, project, None, steps)


def _show_example(call: Call, deployed: dict[str, Any]) -> None:
    """Print the example's URL and a line for each of its resources."""
    out, place = call.out, {"app": deployed["app"], "branch": deployed["branch"]}
    for each in deployed["remarks"]:
        out.remark(f"! {each}", "yellow")
    out.result(
        f"{out.styled('✓', 'green')} {deployed['app']}  {out.styled(deployed['url'], 'cyan')}"
    )
    for each in call.client.call("resource.list", place):
        found = call.client.call("resource.connect", {"name": each["name"], **place})
        if found["lines"]:
            out.result(f"  {each['name']:<9} {found['lines'][0]['line']}")
