"""The events of the catalogue: what its log tells, one entry each."""

from __future__ import annotations

import msgspec

from skerry.kernel.app import AppSpec
from skerry.kernel.branch import ResourceRecord


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


class GuestArrived(AppArrived, frozen=True, tag="guest-arrived"):
    """One resource of an app came from the node that keeps the rest: an app of that name, cut down.

    `home` is that node's id, `home_name` its name.
    """

    home: str
    home_name: str
    resource: str


class ResourceLeaving(Event, frozen=True, tag="resource-leaving"):
    """A resource is about to be on another node, on every branch; until it is known where it is,
    nobody serves it. From now on, that node may hold the app's data keys.
    """

    resource: str
    to: str
    transfer: str


class ResourceStays(Event, frozen=True, tag="resource-stays"):
    """The move of a resource came to nothing."""

    resource: str


class ResourceMoved(Event, frozen=True, tag="resource-moved"):
    """A resource is on the node `to` now; functions of the app use it from here."""

    resource: str
    to: str


class ResourceReturned(Event, frozen=True, tag="resource-returned"):
    """A resource that was on another node is here again."""

    resource: str
    transfer: str


class KeysLetGo(Event, frozen=True, tag="keys-let-go"):
    """The node `to` has said that it holds no data key of an app any more."""

    to: str


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
    | ResourceLeaving
    | ResourceStays
    | ResourceMoved
    | ResourceReturned
    | KeysLetGo
)
AnyEvent = (
    OfAnApp
    | AppCreated
    | AppArrived
    | GuestArrived
    | AppFollowed
    | AppTaken
    | AppUnfollowed
    | AppElsewhere
)


_decoder = msgspec.json.Decoder(AnyEvent)


def event_of(body: bytes) -> AnyEvent:
    """Return the event that a log entry's body tells."""
    event: AnyEvent = _decoder.decode(body)
    return event


def encode(event: Event) -> bytes:
    """Return the log entry's body for an event."""
    return msgspec.json.encode(event)
