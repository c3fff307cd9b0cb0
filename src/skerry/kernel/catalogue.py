"""The catalogue: which apps, versions, branches and resources exist, as a fold over the log.

Every change is an event; `Catalogue.apply` is the only place where state changes, and it needs
nothing but the event, so that every node that reads the same log sees the same catalogue. An event
that comes too late, about an app or a branch that is gone, changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from skerry.kernel.app import AppSpec
from skerry.kernel.branch import Branch as Branch  # noqa: PLC0414 (its users read it from here)
from skerry.kernel.branch import BranchesOfApp, MemoryShelf, Shelf
from skerry.kernel.branch import ResourceRecord as ResourceRecord  # noqa: PLC0414
from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.names import did_you_mean, reader_name


class Event(msgspec.Struct, frozen=True, tag_field="event"):
    """What happened; one entry of the catalogue's log."""

    app: str


class AppCreated(Event, frozen=True, tag="app-created"):
    """An app came to be; `index` numbers it on its node for ever: its user id follows from it."""

    index: int


class AppDeleted(Event, frozen=True, tag="app-deleted"):
    """An app and all its branches are gone."""


class VersionAdded(Event, frozen=True, tag="version-added"):
    """Code and declaration of an app were uploaded as a version."""

    version: int
    spec: AppSpec
    digest: str


class VersionDropped(Event, frozen=True, tag="version-dropped"):
    """A version did not start and is gone; its number may be another's."""

    version: int


class BranchCreated(Event, frozen=True, tag="branch-created"):
    """A branch came to be, with resources of its own, in a directory of its own."""

    branch: str
    directory: str
    parent: str | None
    version: int
    resources: tuple[ResourceRecord, ...]
    time: int


class BranchReplaced(Event, frozen=True, tag="branch-replaced"):
    """A branch got another directory: the copy of `source`; names, ids and secrets stay."""

    branch: str
    directory: str
    source: str
    version: int


class ResourcesAdded(Event, frozen=True, tag="resources-added"):
    """Resources of a branch came to be."""

    branch: str
    resources: tuple[ResourceRecord, ...]


class BranchDeployed(Event, frozen=True, tag="branch-deployed"):
    """A branch serves a version."""

    branch: str
    version: int
    time: int


class BranchDeleted(Event, frozen=True, tag="branch-deleted"):
    """A branch is gone."""

    branch: str


class SecretSet(Event, frozen=True, tag="secret-set"):
    """An app's secret has a value; `sealed` is encrypted and opens on its node only."""

    name: str
    sealed: bytes


class SecretDeleted(Event, frozen=True, tag="secret-deleted"):
    """An app's secret is gone."""

    name: str


class AppLeaving(Event, frozen=True, tag="app-leaving"):
    """An app is about to be another node's; until it is known whose it is, nobody serves it.

    `transfer` names the move to both nodes.
    """

    to: str
    transfer: str


class AppStays(Event, frozen=True, tag="app-stays"):
    """The move of an app came to nothing."""


class AppMoved(Event, frozen=True, tag="app-moved"):
    """An app is the node's `to` now; requests that still come here are passed on."""

    to: str


class AppArrived(Event, frozen=True, tag="app-arrived"):
    """An app came whole from another node: one entry, so that it is here or there.

    `keys` are those of its resources, sealed, by `resource/<id>` and `lineage/<id>`: a resource
    keeps its passwords when it moves.
    """

    index: int
    transfer: str
    versions: tuple[VersionAdded, ...]
    branches: tuple[BranchCreated, ...]
    secrets: dict[str, bytes]
    keys: dict[str, bytes]


class Replication(msgspec.Struct, frozen=True):
    """How an app is kept on several nodes.

    `members` are the ids of the nodes that have it, the one that serves it included. `survive` is
    "node" if a write counts only once a standby has it. `epoch` is the one of the lease under which
    the node that serves has served it first.
    """

    members: tuple[str, ...]
    survive: str = ""
    epoch: int = 0


class AppReplicated(Event, frozen=True, tag="app-replicated"):
    """An app has standbys on other nodes, or, without `replication`, has none any more."""

    replication: Replication | None


class AppFollowed(Event, frozen=True, tag="app-followed"):
    """This node stands by for an app that `holder` serves; it replaces what it had of it before.

    `arrived` is all that it needs to serve the app itself.
    """

    holder: str
    replication: Replication
    arrived: AppArrived


class AppTaken(Event, frozen=True, tag="app-taken"):
    """This node serves the app that it stood by for."""

    replication: Replication


class AppUnfollowed(Event, frozen=True, tag="app-unfollowed"):
    """This node does not stand by for an app any more."""


class AppElsewhere(Event, frozen=True, tag="app-elsewhere"):
    """An app that this node does not have is served by the node `to`; `ids` are its resources'."""

    to: str
    ids: tuple[str, ...]


OfAnApp = (
    AppDeleted
    | VersionAdded
    | VersionDropped
    | BranchCreated
    | BranchReplaced
    | ResourcesAdded
    | BranchDeployed
    | BranchDeleted
    | SecretSet
    | SecretDeleted
    | AppLeaving
    | AppStays
    | AppMoved
    | AppReplicated
)
AnyEvent = OfAnApp | AppCreated | AppArrived | AppFollowed | AppTaken | AppUnfollowed | AppElsewhere


_decoder = msgspec.json.Decoder(AnyEvent)


class App(msgspec.Struct):
    """An app as it stands; `started` are the versions that some branch of it has served here."""

    name: str
    index: int
    branches: Mapping[str, Branch] = {}
    versions: dict[int, VersionAdded] = {}
    started: set[int] = set()
    secrets: dict[str, bytes] = {}
    leaving: AppLeaving | None = None
    transfer: str = ""
    replication: Replication | None = None


class Catalogue:
    """All apps of a node; `moved` says which node the others went to, `keys` what they brought.

    `standbys` are the apps that it could serve if the node that serves them failed. Each has a
    *reader* in `readers`, under a name of its own: the same branches with ids and directories of
    their own, from which the copy is read. `origins` are the ids that those of readers come from.

    Branches are on a `shelf`: the node's is on its disk, so that its memory does not grow with what
    sleeps. Those of readers are few, and may have the name of an app: they have another.
    """

    def __init__(self, shelf: Shelf | None = None) -> None:
        self._shelf = shelf or MemoryShelf()
        self._reading = MemoryShelf()
        self.apps: dict[str, App] = {}
        self.next_index = 0
        self.moved: dict[str, str] = {}
        self.standbys: dict[str, AppFollowed] = {}
        self.readers: dict[str, App] = {}
        self.origins: dict[str, str] = {}
        self.keys: dict[str, bytes] = {}

    @property
    def shelf(self) -> Shelf:
        """Where its branches are."""
        return self._shelf

    def apply(self, body: bytes) -> None:
        """Fold one entry of the log."""
        event = event_of(body)
        if isinstance(event, AppCreated | AppArrived):
            self._make(event)
        elif isinstance(event, AppFollowed | AppTaken | AppUnfollowed | AppElsewhere):
            self._stand_by(event)
        elif event.app in self.apps:
            self._apply_to_app(self.apps[event.app], event)

    def _make(self, event: AppCreated | AppArrived) -> None:
        """Make an app, unless its name is taken."""
        if isinstance(event, AppArrived):
            self._arrive(event)
            return
        self.next_index = max(self.next_index, event.index + 1)
        if event.app not in self.apps:
            self._add_app(App(event.app, event.index))
        self.moved.pop(event.app, None)

    def _add_app(self, app: App) -> App:
        app.branches = BranchesOfApp(self._shelf, app.name)
        self.apps[app.name] = app
        return app

    def _apply_to_app(self, app: App, event: OfAnApp) -> None:
        if isinstance(event, AppDeleted | AppMoved):
            self._remove(app, event)
        elif isinstance(event, AppLeaving | AppStays):
            app.leaving = event if isinstance(event, AppLeaving) else None
        elif isinstance(event, AppReplicated):
            app.replication = event.replication
        elif isinstance(event, VersionAdded):
            app.versions[event.version] = event
        elif isinstance(event, VersionDropped):
            app.versions.pop(event.version, None)
        elif isinstance(event, SecretSet | SecretDeleted):
            _keep_secret(app, event)
        elif isinstance(event, BranchCreated):
            self._create_branch(app, event)
        elif event.branch in app.branches:
            self._apply_to_branch(app.branches[event.branch], event)

    def _remove(self, app: App, event: AppDeleted | AppMoved) -> None:
        """Forget an app; remember where it went if it was moved."""
        del self.apps[app.name]
        # Whoever holds the app clears away what its branches leave.
        app.branches = dict(app.branches)
        if isinstance(event, AppMoved):
            self.moved[app.name] = event.to
        for branch in app.branches.values():
            if isinstance(event, AppMoved):
                ids = [each.id for each in branch.resources.values()]
                self._shelf.note_elsewhere(app.name, ids)
            self._shelf.remove(branch.app, branch.name)

    def _arrive(self, event: AppArrived) -> None:
        """Make an app with all that it brought, unless its name is taken."""
        self.next_index = max(self.next_index, event.index + 1)
        if event.app in self.apps:
            return
        self.moved.pop(event.app, None)
        app = self._add_app(App(event.app, event.index, transfer=event.transfer))
        app.versions = {each.version: each for each in event.versions}
        app.secrets = dict(event.secrets)
        self.keys |= event.keys
        for branch in event.branches:
            self._create_branch(app, branch)

    def _stand_by(self, event: AppFollowed | AppTaken | AppUnfollowed | AppElsewhere) -> None:
        """Keep, use or forget a copy of an app that another node serves."""
        if isinstance(event, AppFollowed):
            self.next_index = max(self.next_index, event.arrived.index + 1)
            self.standbys[event.app] = event
            self._note_elsewhere(event.app, event.holder, _ids_of(event.arrived))
            self._forget_reader(event.app)
            self._make_reader(event)
        elif isinstance(event, AppElsewhere):
            if event.app not in self.apps:
                self._note_elsewhere(event.app, event.to, event.ids)
        else:
            followed = self.standbys.pop(event.app, None)
            self._forget_reader(event.app)
            if followed is not None and isinstance(event, AppTaken):
                self._arrive(followed.arrived)
                self.apps[event.app].replication = event.replication

    def _note_elsewhere(self, app: str, node: str, ids: Iterable[str]) -> None:
        self.moved[app] = node
        self._shelf.note_elsewhere(app, ids)

    def _make_reader(self, event: AppFollowed) -> None:
        """Make what the copy of an app is read by, unless a name would be too long."""
        name = reader_name(event.app)
        if name is None:
            return
        app = self.readers[name] = App(name, event.arrived.index)
        app.branches = BranchesOfApp(self._reading, name)
        app.versions = {each.version: each for each in event.arrived.versions}
        self.keys |= event.arrived.keys
        for each in event.arrived.branches:
            records = {each.id: _read_only(each) for each in each.resources}
            self.origins |= {record.id: origin for origin, record in records.items()}
            branch = Branch(
                app=name,
                name=each.branch,
                directory=reader_directory(each.directory),
                parent=each.parent,
                version=each.version,
                created=each.time,
                deployed=each.time,
                resources=_with({}, records.values()),
                history=(each.version,),
                origin=event.app,
                leader=event.holder,
            )
            self._reading.put(branch)

    def _forget_reader(self, app: str) -> None:
        reader = self.readers.pop(reader_name(app) or "", None)
        if reader is None:
            return
        reader.branches = dict(reader.branches)
        for branch in reader.branches.values():
            self._reading.remove(branch.app, branch.name)
            for record in branch.resources.values():
                self.origins.pop(record.id, None)

    def has_directory(self, directory: str) -> bool:
        """Tell whether a directory is a branch's, or that of a copy or a reader of one."""
        copies = (each for f in self.standbys.values() for each in f.arrived.branches)
        return (
            self._shelf.has_directory(directory)
            or self._reading.has_directory(directory)
            or any(each.directory == directory for each in copies)
        )

    def directories(self) -> Iterator[str]:
        """Yield the directories of all branches, those of copies and readers included."""
        for each in (*self.apps.values(), *self.readers.values()):
            for branch in each.branches.values():
                yield branch.directory
        for followed in self.standbys.values():
            for copied in followed.arrived.branches:
                yield copied.directory

    def node_of(self, app: str) -> str | None:
        """Return the node that an app was moved to, if it was."""
        return self.moved.get(app)

    def node_of_id(self, resource_id: str) -> str | None:
        """Return the node that a resource was moved to, by its id."""
        return self.moved.get(self._shelf.app_elsewhere(resource_id) or "")

    def _create_branch(self, app: App, event: BranchCreated) -> None:
        """Make a branch, unless its name was taken before."""
        if event.branch in app.branches:
            return
        branch = Branch(
            app=app.name,
            name=event.branch,
            directory=event.directory,
            parent=event.parent,
            version=event.version,
            created=event.time,
            deployed=event.time,
            resources=_with({}, event.resources),
            history=(event.version,),
        )
        self._shelf.put(branch)

    def _apply_to_branch(
        self,
        branch: Branch,
        event: BranchReplaced | ResourcesAdded | BranchDeployed | BranchDeleted,
    ) -> None:
        if isinstance(event, BranchDeleted):
            self._shelf.remove(branch.app, branch.name)
            return
        replace = msgspec.structs.replace
        if isinstance(event, BranchReplaced):
            branch = replace(branch.serving(event.version), directory=event.directory)
        elif isinstance(event, ResourcesAdded):
            branch = replace(branch, resources=_with(branch.resources, event.resources))
        else:
            branch = replace(branch.serving(event.version), deployed=event.time)
            self.apps[branch.app].started.add(event.version)
        self._shelf.put(branch)

    def app(self, name: str) -> App:
        """Return an app; raise NOT_FOUND with the nearest name."""
        if name in self.moved:
            raise NOT_FOUND(
                f"{name} is on the node {self.moved[name]} now.",
                hint=f"Ask there: skerry --node <url of {self.moved[name]}> status",
            )
        if name not in self.apps:
            raise NOT_FOUND(
                f"There is no app {name}.",
                why=did_you_mean(name, self.apps),
                hint="skerry app list",
            )
        return self.apps[name]

    def known(self, name: str) -> App | None:
        """Return an app or a reader of that name."""
        return self.apps.get(name) or self.readers.get(name)

    def branch(self, app: str, name: str) -> Branch:
        """Return a branch, also a reader's; raise NOT_FOUND with the nearest name."""
        branches = (self.known(app) or self.app(app)).branches
        if name not in branches:
            raise NOT_FOUND(
                f"There is no branch {name} of {app}.",
                why=did_you_mean(name, branches),
                hint=f"skerry branch list {app}",
            )
        return branches[name]

    def record(self, app: str, branch: str, name: str) -> ResourceRecord:
        """Return a resource of a branch; raise NOT_FOUND with the nearest name."""
        resources = self.branch(app, branch).resources
        if name not in resources:
            raise NOT_FOUND(
                f"There is no resource {name} on branch {branch} of {app}.",
                why=did_you_mean(name, resources),
                hint=f"skerry resource list --app {app} --branch {branch}",
            )
        return resources[name]

    def spec(self, branch: Branch) -> AppSpec:
        """Return the declaration that a branch serves."""
        app = self.readers[branch.app] if branch.leader else self.apps[branch.app]
        return app.versions[branch.version].spec

    def declared(self, branch: Branch) -> list[ResourceRecord]:
        """Return the resources that the served version declares; others keep their state only."""
        names = {each.name for each in self.spec(branch).resources}
        return [record for record in branch.resources.values() if record.name in names]

    def find(self, resource_id: str) -> tuple[str, str, str] | None:
        """Return (app, branch, resource) of an id."""
        return self._shelf.place_of(resource_id) or self._reading.place_of(resource_id)

    def record_of(self, resource_id: str) -> ResourceRecord | None:
        """Return the record of an id, if it is still there."""
        place = self.find(resource_id)
        return self.record(*place) if place else None

    def branches(self) -> Iterator[Branch]:
        """Yield every branch of every app."""
        for app in self.apps.values():
            yield from app.branches.values()


def _with(
    known: Mapping[str, ResourceRecord], records: Iterable[ResourceRecord]
) -> dict[str, ResourceRecord]:
    """Return resources by name, with those added whose names are not taken."""
    return {each.name: each for each in records} | dict(known)


def _ids_of(arrived: AppArrived) -> set[str]:
    """Return the ids of all resources of an app."""
    return {each.id for branch in arrived.branches for each in branch.resources}


def reader_directory(directory: str) -> str:
    """Return the directory of a reader's branch, by that of the copy."""
    return f"{directory}-ro"


def _read_only(record: ResourceRecord) -> ResourceRecord:
    """Return the record of a resource's reader; its id follows from the resource's."""
    digest = hashlib.sha256(f"reader/{record.id}".encode()).hexdigest()
    return msgspec.structs.replace(record, id=digest[: len(record.id)])


def _keep_secret(app: App, event: SecretSet | SecretDeleted) -> None:
    if isinstance(event, SecretSet):
        app.secrets[event.name] = event.sealed
    else:
        app.secrets.pop(event.name, None)


def event_of(body: bytes) -> AnyEvent:
    """Return the event that a log entry's body tells."""
    event: AnyEvent = _decoder.decode(body)
    return event


def encode(event: Event) -> bytes:
    """Return the log entry's body for an event."""
    return msgspec.json.encode(event)
