"""Every command of a node, once: the CLI, the API, its OpenAPI and the docs are derived from these.

A command is a name (`branch.create`), the type of its parameters, the type of its result, and the
action that policy decides on. `app` and `branch` parameters are filled in by the CLI from the
folder it stands in. Bytes never travel in a command: an upload or a download has an id of its own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec

from skerry.kernel.manifest import Manifest
from skerry.kernel.names import MAIN


def about(
    text: str,
    *,
    positional: bool = False,
    repeat: bool = False,
    file: bool = False,
    path: bool = False,
) -> msgspec.Meta:
    """Say what a parameter is, in an `Annotated`, and how the command line takes it.

    `positional`: as an argument. `repeat`: as often as wanted. `file`: it is the text (or, of a
    parameter of bytes, the content) of a file whose path is given, or of standard input for `-`.
    `path`: it is a path, which is made absolute.
    """
    how = {"positional": positional, "repeat": repeat, "file": file, "path": path}
    return msgspec.Meta(description=text, extra=how)


AppName = Annotated[str, about("the app; by default the one whose folder you are in")]
BranchName = Annotated[str, about("the branch; by default the one checked out, else main")]


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a command."""


class Nothing(Params, frozen=True):
    """No parameters."""


class OfApp(Params, frozen=True):
    """An app."""

    app: AppName


class OfBranch(Params, frozen=True):
    """A branch of an app."""

    app: AppName
    branch: BranchName = MAIN


class OfResource(Params, frozen=True):
    """A resource of a branch."""

    name: Annotated[str, about("the resource", positional=True)]
    app: AppName
    branch: BranchName = MAIN


class Connect(OfResource, frozen=True):
    """Parameters of `resource.connect`."""

    replica: Annotated[bool, about("lines for the copy that this node keeps, only to be read")] = (
        False
    )


class BranchCreate(Params, frozen=True):
    """Parameters of `branch.create`."""

    name: Annotated[str, about("the new branch", positional=True)]
    app: AppName
    source: Annotated[str, about("the branch to copy")] = MAIN
    at: Annotated[str | None, about("a past moment: 2026-11-23T14:05:00Z, or 10m for ago")] = None


class BranchNamed(Params, frozen=True):
    """A branch, named as an argument."""

    name: Annotated[str, about("the branch", positional=True)]
    app: AppName


class Deploy(Params, frozen=True):
    """Parameters of `app.deploy`."""

    upload: Annotated[str, about("the id of the uploaded folder")]
    branch: BranchName = MAIN


class Rollback(Params, frozen=True):
    """Parameters of `app.rollback`."""

    app: AppName
    branch: BranchName = MAIN
    version: Annotated[int | None, about("the version; by default the one before")] = None


class SecretSet(Params, frozen=True):
    """Parameters of `secret.set`."""

    name: Annotated[str, about("the secret, in capitals", positional=True)]
    value: Annotated[str, about("its value; asked for if it is not given")]
    app: AppName


class SecretNamed(Params, frozen=True):
    """Parameters of `secret.delete`."""

    name: Annotated[str, about("the secret", positional=True)]
    app: AppName


class Logs(Params, frozen=True):
    """Parameters of `node.logs`."""

    app: AppName
    branch: BranchName = MAIN
    source: Annotated[str | None, about("one function, or `engines`")] = None
    lines: Annotated[int, about("how many of the last lines")] = 100
    follow: Annotated[bool, about("go on as lines come")] = False


class MeterOf(Params, frozen=True):
    """Parameters of `node.meter`."""

    app: Annotated[str | None, about("the app; by default all of them")] = None
    branch: Annotated[str | None, about("the branch; by default all of them")] = None


class Export(Params, frozen=True):
    """Parameters of `resource.export`."""

    app: AppName
    name: Annotated[str | None, about("the resource; by default all of them", positional=True)] = (
        None
    )
    branch: BranchName = MAIN
    sealed: Annotated[bool, about("encrypt it under the app's data key")] = False


class Import(Params, frozen=True):
    """Parameters of `resource.import`."""

    upload: Annotated[str, about("the id of the uploaded export")]
    app: AppName
    name: Annotated[str | None, about("the resource; by default all of them", positional=True)] = (
        None
    )
    branch: BranchName = MAIN


class WordCall(Params, frozen=True):
    """Parameters of a word of a kind: the resource, and what the word itself takes."""

    name: str
    app: str
    params: dict[str, Any]
    branch: str = MAIN


class Done(msgspec.Struct, frozen=True):
    """What was done, in a sentence, and what to run next."""

    message: str
    next: str = ""


class AppInfo(msgspec.Struct, frozen=True):
    """An app in a list."""

    name: str
    url: str
    branches: int
    version: int
    awake: bool


class BranchInfo(msgspec.Struct, frozen=True):
    """A branch in a list; times are nanoseconds since 1970 (UTC)."""

    app: str
    name: str
    parent: str | None
    url: str
    version: int
    created: int
    awake: bool
    bytes: int | None = None


class BranchCreated(msgspec.Struct, frozen=True):
    """A branch that was made: where it is, how long it took, and how its volume copied it."""

    app: str
    name: str
    source: str
    url: str
    seconds: float
    driver: str
    connections: dict[str, str]


class Deployed(msgspec.Struct, frozen=True):
    """A version that is served; `unchanged` if it was served before just so."""

    app: str
    branch: str
    version: int
    url: str
    added: tuple[str, ...]
    seconds: float
    remarks: tuple[str, ...] = ()
    unchanged: bool = False


class ResourceInfo(msgspec.Struct, frozen=True):
    """A resource in a list; `node` is the one that it lies on, if that is another."""

    name: str
    kind: str
    id: str
    awake: bool
    engine: str
    bindings: tuple[str, ...] = ()
    node: str = ""


class ConnectionLine(msgspec.Struct, frozen=True):
    """A line that connects an official client."""

    wire: str
    client: str
    language: str
    line: str


class Connections(msgspec.Struct, frozen=True):
    """How to reach a resource; `leader` is the node that writes it, if this is a copy to read."""

    resource: str
    kind: str
    fields: dict[str, str]
    lines: tuple[ConnectionLine, ...]
    leader: str = ""


class ProcessInfo(msgspec.Struct, frozen=True):
    """A process of a branch that is awake."""

    app: str
    branch: str
    process: str
    pid: int
    since: int
    cpu_ms: int
    memory_bytes: int
    clients: int
    cost: str


class NodeStatus(msgspec.Struct, frozen=True):
    """What a node is and what is awake on it."""

    node: str
    version: str
    http: str
    ports: dict[str, int]
    home: str
    volume: str
    since: int
    apps: int
    branches: int
    memory_bytes: int
    awake: tuple[ProcessInfo, ...]
    kept_ready_bytes: int = 0
    """What a short wake costs while all sleeps: the zygote, and a process forked ahead of need."""
    shared: tuple[str, ...] = ()
    """The apps that several nodes keep: who serves, who stands by."""


class Check(msgspec.Struct, frozen=True):
    """A finding of `doctor`: whether it is well, and what is weaker if not."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


class Usage(msgspec.Struct, frozen=True):
    """What an account used of a unit; `cost` is at the node's prices."""

    account: str
    unit: str
    amount: int
    cost: str


class SecretInfo(msgspec.Struct, frozen=True):
    """A secret's name, and which functions receive it."""

    name: str
    used_by: tuple[str, ...]


class Download(msgspec.Struct, frozen=True):
    """An export that waits to be fetched, a tar archive."""

    download: str
    resources: tuple[str, ...]


class LogRecord(msgspec.Struct, frozen=True):
    """A line of the log; `time` is nanoseconds since 1970 (UTC)."""

    time: int
    app: str
    branch: str
    source: str
    level: str
    text: str


@runtime_checkable
class Drawn(Protocol):
    """A result that is shown to people as it draws itself, not as a table of its fields."""

    def draw(self, columns: int) -> str:
        """Return the text for a terminal that is so many columns wide."""
        ...


@runtime_checkable
class Filed(Protocol):
    """A result with contents for files that the command's own parameters name."""

    def contents(self) -> Mapping[str, bytes]:
        """Return the content of each file, by the name of the parameter that says its path."""
        ...


@runtime_checkable
class Judged(Protocol):
    """A result that may be bad news though the command did its work."""

    @property
    def exit_code(self) -> int:
        """The exit code that the command line ends with."""
        ...


class Reach(Protocol):
    """The way to a node that the command line speaks to."""

    def open(self) -> tuple[socket.socket, str]:
        """Return a connected socket of its HTTP address, and the token to show there."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a node.

    `streams`: results come one by one, until the client goes away. `confirm` is what the command
    line asks before something is lost; `empty` says what an empty list means. `local` names a
    function of a service, from the parameters to the result, that the command line calls itself:
    such a command needs no node, and the API has none of it. One that `reaches` gets the way to the
    node as a second argument (`Reach`), for what is no command: a terminal, say. `offline` names a
    function of a service, from the parameters, the home and the progress, that the command line
    asks first: where it answers anything but None no node is needed, else the command goes to the
    node as usual. `spends` names the parameter that says how much money it costs at most.
    """

    name: str
    summary: str
    params: type[msgspec.Struct]
    result: Any
    mutates: bool = False
    streams: bool = False
    kind: str = ""
    word: str = ""
    service: str = ""
    confirm: str = ""
    empty: str = ""
    local: str = ""
    reaches: bool = False
    offline: str = ""
    spends: str = ""

    @property
    def action(self) -> str:
        """The action that policy decides on."""
        return self.name.replace(".", ":")


_COMMANDS = (
    Command("node.status", "What is awake, since when, and what it costs", Nothing, NodeStatus),
    Command("node.doctor", "Check this machine and this node", Nothing, list[Check]),
    Command("node.meter", "What each resource used", MeterOf, list[Usage]),
    Command("node.logs", "What functions and engines said", Logs, LogRecord, streams=True),
    Command("node.stop", "Stop the node", Nothing, Done, mutates=True),
    Command("app.list", "List the apps", Nothing, list[AppInfo]),
    Command("app.deploy", "Serve a folder as a new version", Deploy, Deployed, mutates=True),
    Command("app.rollback", "Serve an earlier version again", Rollback, Deployed, mutates=True),
    Command("app.delete", "Delete an app with all its branches", OfApp, Done, mutates=True),
    Command("branch.create", "Copy a whole environment", BranchCreate, BranchCreated, mutates=True),
    Command("branch.list", "List the branches of an app", OfApp, list[BranchInfo]),
    Command("branch.delete", "Delete a branch", BranchNamed, Done, mutates=True),
    Command(
        "branch.reset", "Copy the parent again, over a branch", BranchNamed, Done, mutates=True
    ),
    Command("branch.promote", "Make a branch's state main's", BranchNamed, Done, mutates=True),
    Command("branch.sleep", "Put a branch to sleep now", OfBranch, Done, mutates=True),
    Command("branch.wake", "Wake a branch now", OfBranch, Done, mutates=True),
    Command("resource.list", "List the resources of a branch", OfBranch, list[ResourceInfo]),
    Command("resource.connect", "Print lines for official clients", Connect, Connections),
    Command("resource.export", "Export in standard formats", Export, Download),
    Command("resource.import", "Import what was exported", Import, Done, mutates=True),
    Command("secret.set", "Set a secret of an app", SecretSet, Done, mutates=True),
    Command("secret.list", "List the names of an app's secrets", OfApp, list[SecretInfo]),
    Command("secret.delete", "Delete a secret", SecretNamed, Done, mutates=True),
)


class Commanded(Protocol):
    """Whatever declares commands, as a service does."""

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands."""
        ...


def commands(
    manifests: Iterable[Manifest], services: Iterable[Commanded] = ()
) -> dict[str, Command]:
    """Return every command by its name: the node's own, those of services, the words of kinds."""
    found = {each.name: each for each in _COMMANDS}
    for service in services:
        found |= {each.name: each for each in service.commands if not each.local}
    for manifest in manifests:
        for word in manifest.words:
            name = f"{manifest.name}.{word.name}"
            found[name] = Command(
                name=name,
                summary=word.summary,
                params=word.params,
                result=word.result,
                mutates=word.mutates,
                kind=manifest.name,
                word=word.name,
            )
    return found
