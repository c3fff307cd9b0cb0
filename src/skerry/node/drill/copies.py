"""A copy of an app's state to drill on: a branch of its own, its exports, and their digests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from skerry.kernel.catalogue import Branch
from skerry.kernel.policy import Request, enforce
from skerry.node.archives import unpack
from skerry.node.node import Node

Digests = dict[str, tuple[str, int]]
"""SHA-256 and size of each file of an export, by its path."""


@contextlib.asynccontextmanager
async def drill_branch(node: Node, app: str) -> AsyncIterator[Branch]:
    """Yield a new branch of main, deleted at the end. Raises DENIED as for any other branch."""
    request = Request("drill", "branch:create", node.name, app, "main")
    enforce(node.policy, request)
    name = f"drill-{node.entropy.bytes(4).hex()}"
    branch = await node.branches.create(app, name, "main", None, _quiet)
    try:
        yield branch
    finally:
        if name in node.catalogue.app(app).branches:
            await node.branches.delete(app, name)


async def export_to(node: Node, branch: Branch, folder: Path, name: str) -> tuple[Path, Digests]:
    """Export a branch into a tar file in a folder; return it and what it holds."""
    download = await node.exports.export(branch, None, _quiet)
    path = folder / f"{name}.tar"
    with path.open("wb") as file:
        async for chunk in node.archives.send(download.download):
            await asyncio.to_thread(file.write, chunk)
    return path, await asyncio.to_thread(digests_of, path, folder / name)


def digests_of(archive: Path, folder: Path) -> Digests:
    """Unpack an export and return the digests of its files, but for its index."""
    folder.mkdir()
    unpack(archive, folder)
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent != folder:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = (digest, path.stat().st_size)
    shutil.rmtree(folder)
    return found


def unequal(one: Digests, other: Digests, changing: set[str]) -> list[str]:
    """Return the files in which exports differ; of those that change by themselves, if missing."""
    return [
        path
        for path in sorted(one.keys() | other.keys())
        if (path in one) != (path in other) or (path not in changing and one[path] != other[path])
    ]


def changing(one: Digests, other: Digests) -> set[str]:
    """Return the files that differ between two exports of one state (they carry a time, say)."""
    return {path for path in one.keys() & other.keys() if one[path] != other[path]}


def _quiet(_done: int, _total: int, _text: str) -> None:
    """Report to nobody."""
