"""A branch of an app as the catalogue knows it, and the shelf on which branches are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import msgspec

from skerry.kernel.names import ResourceRef

HISTORY_MAX = 50


class ResourceRecord(msgspec.Struct, frozen=True):
    """A resource of a branch. `id` is its own; `lineage` is the id that its first ancestor had."""

    id: str
    lineage: str
    kind: str
    name: str


class Away(msgspec.Struct, frozen=True):
    """A resource of a branch that lies on another node, by its name; its functions stayed here."""

    record: ResourceRecord
    node: str


class Branch(msgspec.Struct, frozen=True):
    """A branch as it stood when it was asked for.

    `history` holds the versions that it served, the last one now. `away` are resources of it that
    lie on other nodes; they are not among `resources`, whose state is here. The branch of a reader
    has an `origin`, the app that it is of, and a `leader`, the node that serves that one.
    """

    app: str
    name: str
    directory: str
    parent: str | None
    version: int
    created: int
    deployed: int
    resources: dict[str, ResourceRecord]
    history: tuple[int, ...] = ()
    origin: str = ""
    leader: str = ""
    away: dict[str, Away] = {}

    def serving(self, version: int) -> Branch:
        """Return it with another version; going back to one forgets what came after it."""
        if version in self.history:
            history = self.history[: self.history.index(version) + 1]
        else:
            history = (*self.history[-HISTORY_MAX + 1 :], version)
        return msgspec.structs.replace(self, version=version, history=history)

    def ref(self, name: str) -> ResourceRef:
        """Return the reference of one of its resources, also of one that is away."""
        return ResourceRef(self.app, self.name, self.record(name).kind, name)

    def record(self, name: str) -> ResourceRecord:
        """Return the record of one of its resources, also of one that is away. Raises KeyError."""
        found = self.away.get(name)
        return found.record if found is not None else self.resources[name]

    def without(self, name: str, node: str) -> Branch:
        """Return it with a resource away on a node."""
        record = self.record(name)
        here = {each: known for each, known in self.resources.items() if each != name}
        away = self.away | {name: Away(record, node)}
        return msgspec.structs.replace(self, resources=here, away=away)

    def having(self, name: str) -> Branch:
        """Return it with a resource here that was away."""
        away = {each: known for each, known in self.away.items() if each != name}
        here = self.resources | {name: self.record(name)}
        return msgspec.structs.replace(self, resources=here, away=away)


class Shelf(Protocol):
    """Where a catalogue keeps its branches, which may be many and mostly sleep.

    What it returns is as it was then; a change is a new branch that is put in its place.
    """

    def get(self, app: str, name: str) -> Branch | None:
        """Return a branch, or None."""
        ...

    def put(self, branch: Branch) -> None:
        """Keep a branch, in the place of the one that it had before.

        A resource that is away has no place here: `place_of` does not know it.
        """
        ...

    def remove(self, app: str, name: str) -> None:
        """Forget a branch."""
        ...

    def names(self, app: str) -> list[str]:
        """Return the names of an app's branches, in the order in which they came."""
        ...

    def count(self, app: str) -> int:
        """Return how many branches an app has."""
        ...

    def place_of(self, resource_id: str) -> tuple[str, str, str] | None:
        """Return (app, branch, resource) of an id."""
        ...

    def has_directory(self, directory: str) -> bool:
        """Tell whether a directory is one of its branches'."""
        ...

    def note_elsewhere(self, app: str, ids: Iterable[str]) -> None:
        """Remember that resources are of an app, or an `app/resource`, that another node has."""
        ...

    def app_elsewhere(self, resource_id: str) -> str | None:
        """Return the app that an id was noted for."""
        ...

    def elsewhere(self) -> Iterator[tuple[str, str]]:
        """Yield all ids that were noted, and their apps."""
        ...

    def close(self) -> None:
        """Forget everything."""
        ...


class MemoryShelf:
    """A shelf in memory."""

    def __init__(self) -> None:
        self._branches: dict[str, dict[str, Branch]] = {}
        self._places: dict[str, tuple[str, str, str]] = {}
        self._elsewhere: dict[str, str] = {}

    def get(self, app: str, name: str) -> Branch | None:
        """See `Shelf.get`."""
        return self._branches.get(app, {}).get(name)

    def put(self, branch: Branch) -> None:
        """See `Shelf.put`."""
        self._branches.setdefault(branch.app, {})[branch.name] = branch
        for record in branch.resources.values():
            self._places[record.id] = (branch.app, branch.name, record.name)
        for away in branch.away.values():
            self._places.pop(away.record.id, None)

    def remove(self, app: str, name: str) -> None:
        """See `Shelf.remove`."""
        branch = self._branches.get(app, {}).pop(name, None)
        for record in branch.resources.values() if branch else ():
            self._places.pop(record.id, None)

    def names(self, app: str) -> list[str]:
        """See `Shelf.names`."""
        return list(self._branches.get(app, ()))

    def count(self, app: str) -> int:
        """See `Shelf.count`."""
        return len(self._branches.get(app, ()))

    def place_of(self, resource_id: str) -> tuple[str, str, str] | None:
        """See `Shelf.place_of`."""
        return self._places.get(resource_id)

    def has_directory(self, directory: str) -> bool:
        """See `Shelf.has_directory`."""
        branches = (each for app in self._branches.values() for each in app.values())
        return any(each.directory == directory for each in branches)

    def note_elsewhere(self, app: str, ids: Iterable[str]) -> None:
        """See `Shelf.note_elsewhere`."""
        self._elsewhere |= dict.fromkeys(ids, app)

    def app_elsewhere(self, resource_id: str) -> str | None:
        """See `Shelf.app_elsewhere`."""
        return self._elsewhere.get(resource_id)

    def elsewhere(self) -> Iterator[tuple[str, str]]:
        """See `Shelf.elsewhere`."""
        return iter(self._elsewhere.items())

    def close(self) -> None:
        """See `Shelf.close`."""
        self._branches, self._places, self._elsewhere = {}, {}, {}


class BranchesOfApp(Mapping[str, Branch]):
    """The branches of one app, by name, read from their shelf as they are asked for."""

    def __init__(self, shelf: Shelf, app: str) -> None:
        self._shelf = shelf
        self._app = app

    def __getitem__(self, name: str) -> Branch:
        branch = self._shelf.get(self._app, name)
        if branch is None:
            raise KeyError(name)
        return branch

    def __iter__(self) -> Iterator[str]:
        return iter(self._shelf.names(self._app))

    def __len__(self) -> int:
        return self._shelf.count(self._app)
