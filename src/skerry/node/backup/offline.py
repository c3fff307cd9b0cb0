"""What the command line does itself: a lost machine has no node to ask."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from pathlib import Path

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import INVALID
from skerry.node.backup.messages import RestoredInfo, RestoreOf
from skerry.node.backup.plan import parse_moment

Progress = Callable[[int, int, str], None]


def restore(params: RestoreOf, home: Path, progress: Progress) -> RestoredInfo | None:
    """Rebuild a home, if that is asked for; else leave the command to the node."""
    if not params.onto_new_node:
        return None
    if params.as_branch or params.resource or params.snapshot:
        raise INVALID("A new machine gets the whole node, not a branch or a resource of it.")
    if not params.key:
        raise INVALID(
            "A new machine needs the recovery key.",
            hint="skerry restore --onto-new-node --key FILE",
        )
    from skerry.node.backup.rebuild import rebuild  # noqa: PLC0415 (only for a new machine)

    at = None if params.at is None else parse_moment(params.at, SystemClock().now())
    found = asyncio.run(rebuild(home.absolute(), params.key, at, progress))
    moment = datetime.datetime.fromtimestamp(found.cut / 1e9, datetime.UTC)
    return RestoredInfo(
        message=f"{found.home} is the node {found.node} with {found.branches} branches, "
        f"as of backup {found.snapshot}, taken on to {moment:%Y-%m-%d %H:%M:%S} UTC.",
        app="",
        branch="",
        seconds=found.seconds,
        files=found.files,
        bytes=found.bytes,
        sources=(),
        next=f"skerry up --home {found.home}",
    )
