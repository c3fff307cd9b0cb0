"""`skerry stop`: asks the node to stop, and waits until it has ended."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

import click

from skerry.kernel.errors import TIMED_OUT
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.derive import perform
from skerry.surfaces.cli.tree import node_command

_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02


@click.command("stop", cls=SkerryCommand)
@click.option("--no-wait", is_flag=True, help="return at once")
@click.pass_obj
def stop(call: Call, no_wait: bool) -> None:
    """Stop the node: what is in flight finishes, and every branch goes to sleep.

    \b
    API: POST /v1/node.stop
    """
    perform(call, node_command("node.stop"), {})
    file = call.home / "node.pid"
    deadline = time.monotonic() + _STOP_SECONDS
    while not no_wait and in_use(file):
        if time.monotonic() > deadline:
            raise TIMED_OUT("The node has not ended yet.", hint="skerry status")
        time.sleep(_POLL_SECONDS)


def in_use(file: Path) -> bool:
    """Tell whether a node of this machine holds the home of a pid file."""
    if not file.exists():
        return False
    with file.open() as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
