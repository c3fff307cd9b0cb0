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
from skerry.kernel.events import (
    AppArrived,
    AppCreated,
    AppDeleted,
    AppElsewhere,
    AppFollowed,
    AppLeaving,
    AppMoved,
    AppReplicated,
    AppStays,
    AppTaken,
    AppUnfollowed,
    BranchCreated,
    BranchDeleted,
    BranchDeployed,
    BranchReplaced,
    GuestArrived,
    KeysLetGo,
    OfAnApp,
    Replication,
    ResourceLeaving,
    ResourceMoved,
    ResourceReturned,
    ResourcesAdded,
    ResourceStays,
    SecretDeleted,
    SecretSet,
    VersionAdded,
    VersionDropped,
    event_of,
)
from skerry.kernel.names import did_you_mean, reader_name


class App(msgspec.Struct):
    """An app as it stands; `started` are the versions that some branch of it has served here.

    `parting` is a resource of it whose place is not known now. `keepers` are the nodes that may
    hold its data keys too. `guest` says, of an app that is one resource of another node's, whose.
    """

    name: str
    index: int
    branches: Mapping[str, Branch] = {}
    versions: dict[int, VersionAdded] = {}
    started: set[int] = set()
    secrets: dict[str, bytes] = {}
    leaving: AppLeaving | None = None
    transfer: str = ""
    replication: Replication | None = None
    parting: ResourceLeaving | None = None
    keepers: frozenset[str] = frozenset()
    returns: dict[str, str] = {}
    guest: GuestArrived | None = None


class Catalogue:
    """All apps of a node; `moved` says which node the others went to, `keys` what they brought.

    `away` says it of single resources, by `app/resource`. `unreached` are, by app, nodes that may
    hold data keys of an app that was deleted, `guests_gone` the apps whose guest here has gone.

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
        self.away: dict[str, str] = {}
        self.unreached: dict[str, frozenset[str]] = {}
        self.guests_gone: set[str] = set()
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
        if isinstance(event, AppCreated | AppArrived | AppFollowed):
            self.guests_gone.discard(event.app)
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
        elif isinstance(
            event,
            ResourceLeaving | ResourceStays | ResourceMoved | ResourceReturned | KeysLetGo,
        ):
            self._apply_to_resource(app, event)
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

    def _apply_to_resource(
        self,
        app: App,
        event: ResourceLeaving | ResourceStays | ResourceMoved | ResourceReturned | KeysLetGo,
    ) -> None:
        """Note where a resource is, on every branch."""
        if isinstance(event, KeysLetGo):
            app.keepers -= {event.to}
            return
        app.parting = event if isinstance(event, ResourceLeaving) else None
        place = f"{app.name}/{event.resource}"
        if isinstance(event, ResourceLeaving):
            app.keepers |= {event.to}
        elif isinstance(event, ResourceMoved):
            self.away[place] = event.to
            for branch in list(app.branches.values()):
                if event.resource in branch.resources:
                    ids = [branch.resources[event.resource].id]
                    self._shelf.note_elsewhere(place, ids)
                    self._shelf.put(branch.without(event.resource, event.to))
        elif isinstance(event, ResourceReturned):
            self.away.pop(place, None)
            app.returns = app.returns | {event.resource: event.transfer}
            for branch in list(app.branches.values()):
                if event.resource in branch.away:
                    self._shelf.put(branch.having(event.resource))

    def _remove(self, app: App, event: AppDeleted | AppMoved) -> None:
        """Forget an app; remember where it went if it was moved, and who may have its keys."""
        del self.apps[app.name]
        for place in [each for each in self.away if each.startswith(f"{app.name}/")]:
            del self.away[place]
        if app.guest is not None:
            self.guests_gone.add(app.name)
        if app.keepers:
            self.unreached[app.name] = self.unreached.get(app.name, frozenset()) | app.keepers
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
        app.guest = event if isinstance(event, GuestArrived) else None
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
        place = self._shelf.app_elsewhere(resource_id) or ""
        return self.away.get(place) or self.moved.get(place.partition("/")[0])

    def node_of_resource(self, app: str, branch: str, name: str | None, kind: str = "") -> str:
        """Return the node that a resource of an app that is here lies on; '' if it is here.

        Without a name, it is the only resource of a kind that the branch has.
        """
        found = self.known(app)
        place = found.branches.get(branch) if found is not None else None
        if place is None:
            return ""
        if name is None:
            records = (*place.resources.values(), *(each.record for each in place.away.values()))
            of_kind = [each.name for each in records if each.kind == kind]
            name = of_kind[0] if len(of_kind) == 1 else ""
        away = place.away.get(name)
        return away.node if away is not None else ""

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
            added = [each for each in event.resources if each.name not in branch.away]
            branch = replace(branch, resources=_with(branch.resources, added))
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
        """Return a resource of a branch; raise NOT_FOUND with the nearest name.

        Of one that is away, NOT_FOUND says where it is.
        """
        found = self.branch(app, branch)
        resources = found.resources
        if name in found.away:
            node = found.away[name].node
            raise NOT_FOUND(
                f"{name} of {app} is on the node {node} now.",
                why="Its functions are here, and use it there.",
                hint=f"Ask there: skerry --node <url of {node}> resource list --app {app}",
            )
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
