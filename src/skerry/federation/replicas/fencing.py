"""What a node does that finds another one serving its app: it keeps what the other lacks, aside.

What was written here and never came to the node that took over was acknowledged to nobody where
writes are to survive their node; else it may have been. It is not thrown away: the whole state is
packed into one file, which is named in the audit log.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from skerry.federation.replicas import messages as r
from skerry.kernel.catalogue import App
from skerry.kernel.replica import Mark, Replica
from skerry.node import parcels
from skerry.node.keys.sealing import seal
from skerry.node.node import Node


def tail(node: Node, app: App, taken: r.Marks) -> list[str]:
    """Return the files in which this node has something that the other one did not have."""
    found = []
    for branch in app.branches.values():
        for record in branch.resources.values():
            manifest = node.manifests[record.kind]
            directory = node.workshop.state(branch, record)
            if not manifest.replica or not directory.is_dir():
                continue
            replica: Replica = manifest.load(manifest.replica)(directory)
            theirs = taken.get(branch.name, {}).get(record.name, {})
            for path, mark in replica.marks().items():
                if _is_beyond(mark, theirs.get(path)):
                    found.append(f"{branch.name}/{record.name}/{path}")
    return found


def _is_beyond(mark: Mark, theirs: Mark | None) -> bool:
    """Tell whether a file of ours holds what theirs does not."""
    if theirs is None:
        return mark.size > 0
    if mark.start != theirs.start:
        return mark.size > 0
    return mark.size > theirs.size


async def keep_aside(node: Node, app: App, epoch: int) -> Path:
    """Pack the state of every branch into a file of the node's home; return its path."""
    folder = node.home.service("federation") / "kept"
    path = folder / f"{app.name}-before-epoch-{epoch}.tar"
    directories = {each.name: node.volume.path(each.directory) for each in app.branches.values()}
    key = await node.keyring.ensure(app.name)
    await asyncio.to_thread(_pack, seal(app.name, key.id, key.key, _parcels(directories)), path)
    return path


def _parcels(directories: dict[str, Path]) -> Iterator[bytes]:
    for branch, directory in directories.items():
        paths = list(parcels.survey(directory))
        yield from parcels.pack(directory, paths, prefix=f"{branch}/", ends=False)
    yield parcels.END


def _pack(blocks: Iterable[bytes], path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
