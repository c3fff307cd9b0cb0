"""What a kind declares about itself; every surface is derived from it.

A manifest holds data and dotted names only, so that reading all of them is cheap: the code behind a
name (`engine:HelloEngine`) is imported when it is first used, relative to the kind's own package.
"""

from __future__ import annotations

import enum
import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from skerry.kernel.names import is_name


class Verb(enum.StrEnum):
    """What every resource may be asked to do."""

    BRANCH = "branch"
    BRANCH_AT = "branch-at"
    SLEEP = "sleep"
    PLACE = "place"
    METER = "meter"
    BACKUP = "backup"
    BIND = "bind"
    EXPORT = "export"
    IMPORT = "import"


class Answer(enum.StrEnum):
    """Whether a kind can do what a verb asks."""

    YES = "yes"
    NOT_YET = "not yet"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Capability:
    """A kind's answer to a verb; anything but yes has its reason."""

    answer: Answer
    reason: str = ""

    def __post_init__(self) -> None:
        assert self.answer is Answer.YES or self.reason, "say why not"


YES = Capability(Answer.YES)


def not_yet(reason: str) -> Capability:
    """Declare a verb that will come."""
    return Capability(Answer.NOT_YET, reason)


def never(reason: str) -> Capability:
    """Declare a verb that makes no sense for the kind."""
    return Capability(Answer.NEVER, reason)


NOT_SAID = not_yet("the kind has not said how its state follows")
"""The answer of a kind about replication that gives none."""


@dataclass(frozen=True, slots=True)
class Client:
    """An official client of a wire, and the line that `skerry connect` prints for it.

    `line` is a format string over the connection's fields: `url`, `host`, `port`, `prefix`, `user`,
    `database`, `password`, `token`, `access_key`, `secret_key`, `name`, `id` and what the wire
    adds.
    """

    name: str
    language: str
    line: str


@dataclass(frozen=True, slots=True)
class Wire:
    """A network protocol in which official clients talk to a resource.

    An `http` wire names an ASGI application factory (`application`), which runs in the cell, and
    may name a `claim`: a pure function of a request's head that finds the resource where neither
    the host nor the path names it; and a `gate` (`kernel.kind.Gate`), which refuses strangers in
    the engine's stead while the resource sleeps. A `port` wire names a `front`, which runs in the
    node on a port of its own, reads the first packet only, and hands the connection over.
    """

    name: str
    protocol: str
    summary: str
    clients: tuple[Client, ...] = ()
    application: str = ""
    claim: str = ""
    gate: str = ""
    front: str = ""
    port: int = 0
    connection: str = ""

    def __post_init__(self) -> None:
        assert bool(self.application) != bool(self.front), "a wire is served by HTTP or by a port"
        assert not self.gate or self.application, "a front checks credentials by itself"


@dataclass(frozen=True, slots=True)
class Remote:
    """How functions use a resource that lies on another node than they do.

    `binding` has the signature of the manifest's own; it speaks the `wire` named, over the socket
    that `Host.ready` returns.
    """

    binding: str
    wire: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What a kind counts."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True)
class Word:
    """A command of a kind: `skerry <kind> <word> <name> …`, `POST /v1/<kind>.<word>`.

    `params` and `result` are msgspec types; the engine answers in a coroutine `word_<name>`.
    """

    name: str
    summary: str
    params: type[msgspec.Struct]
    result: Any
    action: str
    mutates: bool = False


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The process or library that serves the state, and how to get it."""

    name: str
    version: str
    module: str = ""
    extra: str = ""


class Schedule(NamedTuple):
    """A word that the node calls whenever a cron expression (`kernel.cron`) is due.

    The node adds `time` to `params`: the moment that was due, in RFC 3339.
    """

    expression: str
    word: str
    params: dict[str, Any]


class NoConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind without settings."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that the rest of Skerry knows about a kind.

    `own_process`: its resources run code of users, each in a process and sandbox of its own; all
    other resources of a branch share the cell's engine process.
    `keeps_state`: there is something to freeze, copy, export; code of users keeps none of its own.
    `public`: an app's own URL may lead to a resource of this kind.
    `immutable`: folders of a resource's state whose files never change once written, so that a copy
    may share them by hard link.
    `journal`: files of a resource's state, as `folder/pattern`, in which every change stands before
    it is acknowledged. Copied one by one while the engine works, and laid over an older copy of the
    same state, they let `Verb.BRANCH_AT` reach any moment before they were copied.
    `subject` names the class through which the conformance suite speaks to a resource.
    `checks` names `function() -> list[Check]`: what `skerry doctor` says of the kind.
    `schedules`: a pure function from a resource's config to the `Schedule`s of its words.
    `leaves`: the actions that are asked for (`Context.permit`) before something of a resource goes
    to a place outside the node; rules of an app may name them.
    `replicates`: whether a standby on another node can follow the state; `replica` names the
    `kernel.replica.Replica` that does it, and every writer tells the `kernel.journal`.
    `gpu`: its engine uses a GPU where the operator keeps one for engines.
    `readable`: a standby's copy can be read: the engine refuses every write to a state of which
    `kernel.reading` says that another node writes it.
    `remote`: how functions use a resource of this kind that lies on another node; without it, none
    of its resources is placed on another node than its app.
    """

    name: str
    summary: str
    stands_in_for: str
    engine_info: EngineInfo
    engine: str
    can: dict[Verb, Capability]
    wires: tuple[Wire, ...] = ()
    binding: str = ""
    config: type[msgspec.Struct] = NoConfig
    units: tuple[Unit, ...] = ()
    words: tuple[Word, ...] = ()
    actions: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    own_process: bool = False
    keeps_state: bool = True
    public: bool = False
    immutable: tuple[str, ...] = ()
    journal: tuple[str, ...] = ()
    schedules: str = ""
    checks: str = ""
    subject: str = ""
    replicates: Capability = NOT_SAID
    replica: str = ""
    readable: bool = False
    remote: Remote | None = None
    gpu: bool = False
    package: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        assert is_name(self.name), self.name
        missing = set(Verb) - set(self.can)
        assert not missing, f"kind {self.name} does not answer {sorted(missing)}"
        assert all(word.action in self.actions for word in self.words), self.name
        assert not self.journal or self.able(Verb.BRANCH_AT), self.name
        able = self.replicates.answer is Answer.YES
        assert bool(self.replica) == (able and self.keeps_state), self.name
        assert not self.readable or self.replica, self.name
        assert self.remote is None or (self.binding and self.remote_wire), self.name

    def load(self, dotted: str) -> Any:
        """Import what `module:attribute` names inside the kind's package."""
        module, _, attribute = dotted.partition(":")
        return getattr(importlib.import_module(f"{self.package}.{module}"), attribute)

    @property
    def remote_wire(self) -> Wire | None:
        """The wire that functions speak to a resource on another node, if they can."""
        named = self.remote.wire if self.remote else ""
        return next((each for each in self.wires if each.name == named), None)

    def able(self, verb: Verb) -> bool:
        """Tell whether the kind can do it today."""
        return self.can[verb].answer is Answer.YES


def read_manifests(packages: Iterable[str]) -> dict[str, Manifest]:
    """Import the manifests of packages of kinds; return them by the kind's name."""
    found = {}
    for package in packages:
        manifest = importlib.import_module(f"{package}.manifest").MANIFEST
        assert isinstance(manifest, Manifest), package
        found[manifest.name] = replace(manifest, package=package)
    return found
