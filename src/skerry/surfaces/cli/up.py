"""`skerry up`: runs the node, in the foreground or detached."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from skerry.kernel.errors import ENGINE_FAILED, INVALID, TIMED_OUT, SkerryError
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call

_NODE = "skerry.app:up"
_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


@click.command(cls=SkerryCommand)
@click.option("--name", help="the node's name; by default the machine's")
@click.option("--host", metavar="ADDRESS", help="where to listen; by default loopback only")
@click.option("--http-port", type=click.IntRange(0, 65535), help="the port of HTTP")
@click.option("--port", "ports", metavar="WIRE=PORT", multiple=True, help="the port of a port wire")
@click.option("--example", metavar="NAME", help="deploy an example too")
@click.option("--detach", "-d", is_flag=True, help="go on in the background")
@click.pass_obj
def up(
    call: Call,
    *,
    name: str | None,
    host: str | None,
    http_port: int | None,
    ports: tuple[str, ...],
    example: str | None,
    detach: bool,
) -> None:
    """Run the node on this machine, until it is interrupted.

    What is not said here comes from config.toml in the node's home.
    """
    numbers = dict(read_port(each) for each in ports)
    if detach:
        _detach(call)
        return
    from skerry.surfaces.port import UpOptions  # noqa: PLC0415 (not for help)

    module, _, attribute = _NODE.partition(":")
    run = getattr(importlib.import_module(module), attribute)
    run(UpOptions(call.home, name, host, http_port, numbers, example))


def read_port(text: str) -> tuple[str, int]:
    """Return the wire and the port in `wire=port`; raise INVALID."""
    wire, _, number = text.partition("=")
    if not wire or not number.isdecimal() or int(number) > 65535:
        raise INVALID(f"--port {text}: expected a wire and its port.", why="Such as postgres=7432.")
    return wire, int(number)


def _detach(call: Call) -> None:
    """Start the same command in the background and wait until it answers."""
    words = [each for each in sys.argv[1:] if each not in {"--detach", "-d"}]
    log = call.home / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "skerry", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    with call.out.steps() as steps:
        found = _wait(call, process, log, lambda: steps(0, 0, "starting"))
    if call.out.json:
        call.out.data(found)
        return
    from skerry.kernel.commands import NodeStatus  # noqa: PLC0415 (not for help)
    from skerry.surfaces.cli.derive import typed  # noqa: PLC0415
    from skerry.surfaces.cli.render import show  # noqa: PLC0415

    show(call.out, typed(found, NodeStatus))
    call.out.remark("next: skerry stop", "cyan")


def _wait(
    call: Call, process: subprocess.Popen[bytes], log: Path, report: Callable[[], None]
) -> Any:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ENGINE_FAILED(
                "The node ended right after it was started.",
                why=_last_line(log),
                hint="skerry up",
            )
        report()
        try:
            return call.client.call("node.status", {}, seconds=5.0)
        except SkerryError as error:
            if not error.problem.temporary:
                raise
        time.sleep(_POLL_SECONDS)
    raise TIMED_OUT(f"The node did not answer within {_START_SECONDS:g} s.", why=f"See {log}.")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else f"{log} is empty."
