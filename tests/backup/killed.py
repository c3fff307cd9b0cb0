"""A program for a test: it backs a home up, and is killed at one point after the other.

Each time a process of its own does it, forked from one that has everything imported. How each ended
is printed as JSON: the point and the status.

python -m tests.backup.killed HOME STORE
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.backup.conftest import node_at

from skerry.node.backup import cut, digests
from skerry.node.backup.handler import Backup
from skerry.node.backup.meter import Pace
from skerry.node.backup.record import Record
from skerry.node.backup.repository import Repository
from skerry.node.branches import Branches
from skerry.node.log_file import LogFile
from skerry.testing.nodes import perform

POINTS = {
    "before the clone": (Branches, "snapshot", "before"),
    "after the clone": (Branches, "snapshot", "after"),
    "while digesting": (digests.Memory, "note", "before"),
    "after the cut": (cut._Cutter, "make", "after"),
    "while listing": (Repository, "snapshots", "after"),
    "while uploading": (Pace, "hear", "before"),
    "before it is on record": (Record, "note", "before"),
    "after it is on record": (LogFile, "append", "after"),
    "while measuring": (Repository, "size", "before"),
    "before changes leave": (Repository, "ship", "before"),
    "after changes left": (Repository, "ship", "after"),
}


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    owner, name, when = POINTS[point]
    original = getattr(owner, name)
    if when == "before":
        setattr(owner, name, die)
        return

    async def after(*arguments: Any, **named: Any) -> Any:
        await original(*arguments, **named)
        die()

    setattr(owner, name, after)


async def main(home: Path, store: str, point: str) -> None:
    async with node_at(home) as node:
        if not (home / "services" / "backup" / "settings.json").exists():
            await perform(node, "backup.to", url=store)
        arm(point)
        await perform(node, "backup.now")
        await perform(node, "kv.put", app="shop", name="cache", key="k0", value=point)
        service = node.services.handler("backup")
        assert isinstance(service, Backup)
        await service.shipping.ship(at_once="shop")


def died(home: Path, store: str, point: str) -> int:
    """Return how a process that was told to die at a point ended: minus the signal, or its code."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(main(home, store, point))
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    ends = {point: died(Path(sys.argv[1]), sys.argv[2], point) for point in POINTS}
    sys.stdout.write(json.dumps(ends))
