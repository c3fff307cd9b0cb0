"""Copies that are only read: what tells whoever opens state that another node writes it.

A node that stands by for an app can serve reads from its copy. Every writer asks here first, by the
path, for the reason that journals are found by it (see `kernel.journal`): no writer can be
forgotten.
"""

from __future__ import annotations

from pathlib import Path

from skerry.kernel.errors import READ_ONLY, SkerryError

_leaders: dict[Path, str] = {}


def keep_leader(directory: Path, leader: str) -> None:
    """Let nobody write below a directory in this process: the node `leader` does."""
    _leaders[directory] = leader


def forget_leader(directory: Path) -> None:
    """Let a directory be written again."""
    _leaders.pop(directory, None)


def leader_of(path: Path) -> str:
    """Return the node that writes a state, by its directory or a file of it; "" is this one."""
    if not _leaders:
        return ""
    return next((_leaders[each] for each in (path, *path.parents) if each in _leaders), "")


def refusal(leader: str) -> SkerryError:
    """Return the error of a write to a copy that is only read."""
    return READ_ONLY(
        f"This copy is only read; the node {leader} writes.",
        why="It follows what is written there.",
        hint=f"Connect to {leader}, or by the app's own name on any node.",
    )
