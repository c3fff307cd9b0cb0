"""What a backup says of itself: `index.json`, which lies in it beside the state.

A backup is one snapshot of restic with these paths, relative to the node's home:

    services/backup/cut/index.json    this
    services/backup/cut/node/         keys, logs and settings; only in a backup of the whole node
    apps/<app>/<version>/           code, with the packages beside it
    volume/backup-<directory>/      one clone a branch: a folder a resource
"""

from __future__ import annotations

import msgspec

from skerry.kernel.app import AppSpec
from skerry.kernel.catalogue import ResourceRecord
from skerry.kernel.errors import CORRUPT, INVALID

FORMAT = 1
FILE = "index.json"
CUT = "services/backup/cut"
NODE = "node"
CLONE = "backup-"

Sealed = bytes
"""A secret's ciphertext; `Index` calls something else bytes."""


class Held(msgspec.Struct, frozen=True):
    """A resource in a backup: its record, and what its files must be like after a restore.

    Without a digest it had no state yet, because nobody had used it.
    """

    record: ResourceRecord
    files: int = 0
    bytes: int = 0
    digest: str = ""


class HeldBranch(msgspec.Struct, frozen=True):
    """A branch in a backup. Its state is of one instant between `began` and `cut` (ns since 1970).

    Whatever was acknowledged before `began` is in it. `records` are all its resources, also those
    that keep no state or were not asked for; `resources` are those whose state is in the backup.
    """

    app: str
    branch: str
    directory: str
    parent: str | None
    version: int
    created: int
    began: int
    cut: int
    records: tuple[ResourceRecord, ...]
    resources: tuple[Held, ...]

    @property
    def clone(self) -> str:
        """The folder of the volume in which it lies in the backup."""
        return f"{CLONE}{self.directory}"

    @property
    def paths(self) -> list[str]:
        """The paths below the home that hold its state."""
        return [f"volume/{self.clone}/{e.record.name}" for e in self.resources if e.digest]


class HeldVersion(msgspec.Struct, frozen=True):
    """A version of an app's code in a backup."""

    app: str
    version: int
    digest: str
    spec: AppSpec


class Index(msgspec.Struct, frozen=True):
    """The whole content of `index.json`. `secrets` are those of the app of a scope, sealed."""

    format: int
    node: str
    skerry: str
    scope: str
    time: int
    branches: tuple[HeldBranch, ...]
    versions: tuple[HeldVersion, ...]
    left_out: tuple[str, ...] = ()
    secrets: dict[str, Sealed] = {}

    def branch(self, app: str, name: str) -> HeldBranch | None:
        """Return a branch by its name."""
        return next((e for e in self.branches if (e.app, e.branch) == (app, name)), None)

    def version(self, app: str, version: int) -> HeldVersion | None:
        """Return a version by its number."""
        return next((e for e in self.versions if (e.app, e.version) == (app, version)), None)

    @property
    def bytes(self) -> int:
        """The size of all state in it, before compression."""
        return sum(each.bytes for branch in self.branches for each in branch.resources)


class Scope(msgspec.Struct, frozen=True):
    """What is backed up: the whole node, one app, one branch, or one resource of a branch."""

    app: str = ""
    branch: str = ""
    resource: str = ""

    def __str__(self) -> str:
        if not self.app:
            return "node"
        return ":".join(part for part in ("app", self.app, self.branch, self.resource) if part)

    def covers(self, app: str, branch: str) -> bool:
        """Tell whether a branch is within it."""
        return self.app in ("", app) and self.branch in ("", branch)

    def holds(self, app: str, branch: str, resource: str) -> bool:
        """Tell whether a resource is within it; an empty name asks for all of a branch."""
        return self.covers(app, branch) and self.resource in ("", resource)


def parse_scope(text: str) -> Scope:
    """Return the scope that a tag names; raise INVALID if it names none."""
    if text == "node":
        return Scope()
    noun, *parts = text.split(":")
    if noun != "app" or not 1 <= len(parts) <= 3 or not all(parts):
        raise INVALID(f"{text!r} is no scope of a backup.")
    return Scope(*parts)


def encode(index: Index) -> bytes:
    """Return the content of `index.json`."""
    return msgspec.json.format(msgspec.json.encode(index))


def decode(data: bytes) -> Index:
    """Read `index.json`; raise CORRUPT if it is none, INVALID if a newer Skerry wrote it."""
    try:
        index = msgspec.json.decode(data, type=Index)
    except msgspec.DecodeError as error:
        raise CORRUPT("The backup's index cannot be read.", why=str(error)) from error
    if index.format > FORMAT:
        raise INVALID(
            f"The backup has format {index.format}; this node knows up to {FORMAT}.",
            hint="Update Skerry.",
        )
    return index
