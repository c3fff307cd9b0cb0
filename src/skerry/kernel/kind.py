"""The contract of a kind: what engines, bindings and fronts owe, and what they are given.

An **engine** serves the state of one resource, which is one directory. It lives in a process of the
branch's cell and is started by the first byte and stopped when nobody uses it, in this order:

    start ── serving (freeze ─ thaw)* ── stop
      ^                                   │
      └────────── wake ──────── sleep ────┘

`kill -9` at any moment counts as stop: whatever was acknowledged must be there after the next
start.

A **binding** is what a function receives as `env.<name>`. It runs in the function's process and
opens the state itself where the engine is a library, or connects to the engine where it is a
process.

A **front** serves a port wire in the node. It reads the first packet, finds the resource, checks
the credential, and then asks the gateway to wake the engine and relays bytes.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.apart import Launch, nowhere
from skerry.kernel.clock import Clock
from skerry.kernel.errors import DENIED
from skerry.kernel.keys import Keys
from skerry.kernel.names import ResourceRef
from skerry.kernel.policy import Decision, Place
from skerry.kernel.usage import Meter

ASGIApplication = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


class Host(Protocol):
    """What the process around an engine or a binding offers."""

    async def ready(self, resource: str) -> str:
        """Start the engine of a resource of this branch if need be; return its endpoint.

        Only resources that are bound to the caller can be named.
        """
        ...

    async def bind(self, resource: str) -> Any:
        """Return the binding of a resource that is bound to the caller."""
        ...

    def progress(self, done: int, total: int, text: str) -> None:
        """Report how far the word or export that is being carried out has come."""
        ...


class Permit(Protocol):
    """Asks the node whether something of the resource may go to a place outside it."""

    async def __call__(self, action: str, place: Place, *, encrypted: bool = False) -> Decision:
        """Return the decision that allows it; raise DENIED with its rule and reason if none does.

        Ask before the first byte is sent. See `skerry.kernel.policy` for what to say of the place.
        """
        ...


async def refuse(action: str, place: Place, *, encrypted: bool = False) -> Decision:
    """Refuse, as whoever has no node to ask does."""
    raise DENIED(f"{action} at {place} is not allowed.", why="There is no node to ask.")


@dataclass(frozen=True, slots=True)
class Context:
    """All that an engine or a binding is given; nothing else is within its reach.

    `directory` is the state and is what is branched; `run` holds sockets and is emptied at each
    wake; `code` is the deployed version of the app, read-only. `bindings` are the names of the
    resources of the same branch that this one may use; `url` is where the node is reached, `node`
    its name; `permit` is asked before anything of the resource goes to a place outside the node;
    `apart` starts programs of users in a sandbox of their own. `environments` holds what the
    operator installed for kinds, `<kind>/<name>`, readable and executable for
    engines.
    """

    ref: ResourceRef
    id: str
    directory: Path
    run: Path
    code: Path
    config: Any
    keys: Keys
    meter: Meter
    clock: Clock
    host: Host
    bindings: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = ""
    permit: Permit = refuse
    apart: Launch = nowhere
    environments: Path | None = None
    node: str = ""

    @property
    def log(self) -> logging.Logger:
        """The logger of this resource; its lines reach `skerry logs`."""
        return logging.getLogger(f"skerry.{self.ref.kind}.{self.ref.name}")


class Engine(ABC):
    """Serves the state of one resource."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def preload(cls) -> None:
        """Find out what every engine of the kind needs to know of this machine.

        It is called once, in the process that engines' processes are forked from,
        so that none of them has to. It reads nothing of any user, and does not fail: what is
        missing, an engine finds missing when it starts.
        """

    @abstractmethod
    async def start(self) -> None:
        """Open the state, making it first if the directory is empty; recover from a crash."""

    @abstractmethod
    async def stop(self) -> None:
        """Close the state; nothing acknowledged may depend on this being called."""

    async def endpoint(self) -> str:
        """Return where a front or a binding of another process connects (a socket's path)."""
        return ""

    async def busy(self) -> str:
        """Return why the engine must stay awake though no request is in flight, or ''."""
        return ""

    async def check_moment(self, at: int) -> None:
        """Raise CONFLICT if `Verb.BRANCH_AT` cannot reach a moment (ns since 1970).

        It is asked before anything is held or copied; `start` of the copy has the last word.
        """

    async def prepare(self) -> None:
        """Make the coming freeze short; writers go on meanwhile."""

    @abstractmethod
    async def freeze(self, atomic: bool) -> None:
        """Hold every writer until `thaw`, in all processes.

        `atomic` tells that the directory will be cloned at one instant; if it is false, files are
        cloned one after the other and must not change meanwhile.
        """

    @abstractmethod
    async def thaw(self) -> None:
        """Let the writers go on."""

    @abstractmethod
    async def export(self, target: Path) -> None:
        """Write the state into the empty directory `target` in standard formats."""

    @abstractmethod
    async def restore(self, source: Path) -> None:
        """Replace the state with an export; raise INVALID and change nothing if it is not one."""

    async def status(self) -> dict[str, Any]:
        """Return what a person wants to know: sizes, counts, settings."""
        return {}

    async def count(self) -> dict[str, int]:
        """Count what the state holds, by reading it: rows, keys, objects.

        A drill reports it of a restored state, and that it can be read at all.
        """
        return {key: each for key, each in (await self.status()).items() if type(each) is int}


RECOVER_FILE = "recover.json"
"""What the node writes into a copied directory to branch as of a past moment (`Verb.BRANCH_AT`).

`start` finds it, takes the state back to that moment from what the directory holds, and removes it;
it raises CONFLICT if the moment is out of reach, and then leaves the directory as it was.
"""


class Recover(msgspec.Struct, frozen=True):
    """The content of `RECOVER_FILE`: the moment, in nanoseconds since 1970 (UTC).

    `or_stay`: if the moment is out of reach, the state is used as it lies.
    """

    at: int
    or_stay: bool = False


class Endpoint(msgspec.Struct, frozen=True):
    """Where an awake engine listens: the path of a unix socket."""

    path: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as the node knows it, awake or asleep."""

    ref: ResourceRef
    id: str
    directory: Path
    config: Any
    keys: Keys


class Session(Protocol):
    """A client's hold on an awake resource, which stays awake while the session is active."""

    endpoint: Endpoint

    def active(self, active: bool) -> None:
        """Say whether the session needs the engine; an idle one does not keep it awake."""
        ...

    def on_sleep(self, callback: Callable[[], None]) -> None:
        """Name what to call when the engine is about to sleep."""
        ...

    def close(self) -> None:
        """Give the hold back; calling it twice is harmless."""
        ...


class Gateway(Protocol):
    """What a front is given by the node."""

    def find(self, kind: str, app: str, branch: str, name: str | None) -> Resource | None:
        """Find a resource; without a name, the only one of that kind on the branch."""
        ...

    def by_id(self, resource_id: str) -> Resource | None:
        """Find a resource by its id."""
        ...

    async def open(self, resource: Resource) -> Session:
        """Wake the resource, single-flight, and hold it. May raise any `SkerryError`."""
        ...

    async def elsewhere(
        self, app: str, wire: str, kind: str = "", branch: str = "", name: str | None = None
    ) -> str | None:
        """Return the socket that leads to a port wire of the node that an app is on now.

        With a kind and a branch, it may be the node that the resource alone is on; without a name,
        that is the only one of the kind. None if it is on this node, or on none that is known.
        Raises NODE_UNREACHABLE.
        """
        ...

    async def elsewhere_by_id(self, resource_id: str, wire: str) -> str | None:
        """Return the socket that leads to a port wire of the node that a resource is on now.

        None if it is on this node, or on none that is known. Raises NODE_UNREACHABLE.
        """
        ...

    def tls(self) -> Any:
        """Return a new `ssl.SSLContext` for servers with the node's certificate.

        It is the front's own: the front may choose ALPN and watch server names on it.
        """
        ...


class Front(ABC):
    """Serves a port wire in the node."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    @abstractmethod
    def protocol(self) -> asyncio.BaseProtocol:
        """Make the protocol of one accepted connection."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head, for a wire's `claim`; header names are lower-case."""

    method: bytes
    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that name."""
        return next((value for key, value in self.headers if key == name), None)


Claim = Callable[[Head], str | None]
"""Finds the id of the resource that a request means, or None."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer over HTTP; header names are lower-case, and `content-length` is among them.

    Of an answer to HEAD the body is not sent.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


Gate = Callable[[Head, Resource, int], Response | None]
"""Answers for a resource that sleeps what its engine would answer without its state.

That is above all the refusal of a wrong credential, which then wakes nothing. It is given the head
as the engine would receive it, the resource with its keys, and the time in nanoseconds since 1970;
it is a pure function of these, of a cost that grows with the head's size at most, and reads no
file. None lets the request in, and so it must wherever the engine alone can tell: a gate refuses
nothing that the engine would not. It calls the very function by which the engine decides. If it
fails, the request is answered with an error, and nothing wakes.
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where clients reach this node, for the lines that `skerry connect` prints.

    `http` is the base URL, `hostname` the name that selects the resource over HTTP, and `ports`
    holds the port of every port wire by its name.
    """

    http: str
    hostname: str
    http_port: int
    ports: Mapping[str, int]

    @property
    def host_url(self) -> str:
        """The base URL at the host that selects the resource, without a slash at its end."""
        parts = urlsplit(self.http)
        return f"{parts.scheme}://{self.hostname}{f':{parts.port}' if parts.port else ''}"


Connection = Callable[[Resource, Address], dict[str, str]]
"""What a wire's `connection` names: the fields for its clients' connection lines."""
