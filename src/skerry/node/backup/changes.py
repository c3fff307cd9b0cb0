"""What changed since a backup: it lies between backups in snapshots of its own.

Such a snapshot holds what is below one folder of the node's home:

    services/backup/changes/changes.json              this
    services/backup/changes/<directory>/<resource>/   a journal, or a whole state that is small

It goes on from the backup that the branch's `base` names: what it holds of a branch is all that has
changed since, so that one snapshot beside the backup is enough.
"""

from __future__ import annotations

import msgspec

from skerry.kernel.catalogue import ResourceRecord
from skerry.kernel.errors import CORRUPT, INVALID
from skerry.node.backup.index import Held

FORMAT = 1
FOLDER = "services/backup/changes"
FILE = "changes.json"


class Changed(msgspec.Struct, frozen=True):
    """A resource that changed: its whole state, or what is laid over an older one (`journal`)."""

    held: Held
    journal: bool


class ChangedBranch(msgspec.Struct, frozen=True):
    """What changed of a branch since a backup whose cut began at `base` (ns since 1970).

    Everything that was acknowledged before `began` is in it; whole states are of one instant
    between `began` and `cut`.
    """

    app: str
    branch: str
    directory: str
    base: int
    began: int
    cut: int
    version: int
    records: tuple[ResourceRecord, ...]
    resources: tuple[Changed, ...]
    left_out: tuple[str, ...] = ()

    def path(self, resource: str) -> str:
        """Return the path below the home where a resource's changes lie."""
        return f"{FOLDER}/{self.directory}/{resource}"


class Changes(msgspec.Struct, frozen=True):
    """The whole content of `changes.json`."""

    format: int
    node: str
    skerry: str
    branches: tuple[ChangedBranch, ...]

    def branch(self, directory: str) -> ChangedBranch | None:
        """Return the branch that has a directory."""
        return next((each for each in self.branches if each.directory == directory), None)

    @property
    def began(self) -> int:
        """Before this moment, nothing is missing of any branch in it."""
        return min((each.began for each in self.branches), default=0)


def encode(changes: Changes) -> bytes:
    """Return the content of `changes.json`."""
    return msgspec.json.format(msgspec.json.encode(changes))


def decode(data: bytes) -> Changes:
    """Read `changes.json`; raise CORRUPT if it is none, INVALID if a newer Skerry wrote it."""
    try:
        changes = msgspec.json.decode(data, type=Changes)
    except msgspec.DecodeError as error:
        raise CORRUPT("The list of changes cannot be read.", why=str(error)) from error
    if changes.format > FORMAT:
        raise INVALID(
            f"The changes have format {changes.format}; this node knows up to {FORMAT}.",
            hint="Update Skerry.",
        )
    return changes
