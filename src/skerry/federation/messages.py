"""What nodes say to each other, and what the commands of the federation take and answer."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from skerry.federation.bus.held import Held as HeldByServer
from skerry.federation.peers import Card
from skerry.kernel.app import AppSpec
from skerry.kernel.commands import Params, about
from skerry.kernel.errors import INVALID
from skerry.node.keys.ring import KEY_BYTES, OpenKey

_KEY_ID = re.compile(r"[0-9a-f]{16}")

Key = bytes
"""A key; some messages call something else bytes."""


class Joining(msgspec.Struct, frozen=True):
    """A node's request to join: its card, its authority, and the secret of an invitation.

    `signature` is over the card, the authority and the secret, by the authority's key.
    """

    card: Card
    authority: str
    secret: bytes
    signature: bytes

    def signed(self) -> bytes:
        """Return the bytes that are signed."""
        return msgspec.json.encode((self.card, self.authority, self.secret))


class Joined(msgspec.Struct, frozen=True):
    """The answer: the card and the authority of the node that invited."""

    card: Card
    authority: str


class Hello(msgspec.Struct, frozen=True):
    """A node's greeting, with its card as it is now."""

    card: Card


class Held(msgspec.Struct, frozen=True):
    """An app that lies on a node."""

    app: str
    branches: int
    kinds: tuple[str, ...]
    resource: str = ""
    """The only one that lies there, if the rest of the app is on another node."""


class Greeting(msgspec.Struct, frozen=True):
    """The answer: what the node says of itself now, and what it holds.

    `time` is its clock, in nanoseconds since 1970; 0 if it does not say.
    """

    card: Card
    version: str
    holds: tuple[Held, ...]
    copies: tuple[str, ...] = ()
    time: int = 0


class Invite(Params, frozen=True):
    """Parameters of `federation.invite`."""

    url: Annotated[
        str, about("where the other node reaches this one; by default its own host and port")
    ] = ""


class Join(Params, frozen=True):
    """Parameters of `federation.join`."""

    invitation: Annotated[str, about("what `skerry node invite` printed there", positional=True)]
    url: Annotated[
        str, about("where the other node reaches this one; by default its own host and port")
    ] = ""


class Place(Params, frozen=True, rename={"within": "in"}):
    """Parameters of `federation.place`."""

    app: Annotated[str, about("the app, or one resource: app/resource", positional=True)]
    to: Annotated[str, about("the node that is to have it")] = ""
    replicas: Annotated[
        int | None, about("how many other nodes are to stand by; 0 takes them away")
    ] = None
    within: Annotated[str, about("where standbys may be: a country, or a group such as EU")] = ""
    survive: Annotated[
        str, about("`node`: a write is acknowledged once a standby has it on its disk")
    ] = ""


class Placed(msgspec.Struct, frozen=True):
    """An app, or one resource of it, that was moved.

    `still_seconds` is how long its requests had to wait, `first_bytes` what was sent while it went
    on answering, `last_bytes` what had changed since and was sent while it stood still. `residency`
    is how well it was shown where the node is, and `entry` the receipt in the audit log.
    """

    app: str
    node: str
    branches: int
    seconds: float
    still_seconds: float
    first_bytes: int
    last_bytes: int
    rule: str
    residency: str = ""
    entry: int = 0
    standbys: tuple[str, ...] = ()
    survive: str = ""
    resource: str = ""


class Offer(msgspec.Struct, frozen=True):
    """What a node asks before it moves an app: may it come?

    `data_keys` are the app's own by their ids, the one in use first: they come along, parcels are
    sealed under the first, and the receiving node has its own holder wrap them. With a `resource`,
    it alone moves: as a guest, or back to the node that keeps the rest.
    """

    app: str
    kinds: tuple[str, ...]
    branches: tuple[str, ...]
    bytes: int
    data_keys: tuple[tuple[str, Key], ...] = ()
    resource: str = ""

    def __repr__(self) -> str:
        return f"Offer({self.app})"


class Accepted(msgspec.Struct, frozen=True):
    """The app may come; `transfer` names the move."""

    transfer: str


class ParcelHead(msgspec.Struct, frozen=True):
    """The first line of a parcel's stream: which directory it is, and what is gone from it.

    `branch` names a branch's state; without it, it is the code of `version`.
    """

    transfer: str
    branch: str = ""
    version: int = 0
    gone: tuple[str, ...] = ()


class Received(msgspec.Struct, frozen=True):
    """How many bytes of a parcel came."""

    bytes: int


class Record(msgspec.Struct, frozen=True):
    """A resource that moves, with the keys that its passwords are derived from."""

    id: str
    lineage: str
    kind: str
    name: str
    own_key: bytes
    lineage_key: bytes


class MovedBranch(msgspec.Struct, frozen=True):
    """A branch that moves."""

    name: str
    parent: str | None
    version: int
    created: int
    records: tuple[Record, ...]


class MovedVersion(msgspec.Struct, frozen=True):
    """A version that moves; its code came before."""

    version: int
    spec: AppSpec
    digest: str


class Commit(msgspec.Struct, frozen=True):
    """The app is the receiving node's from now on: all that its catalogue needs."""

    transfer: str
    versions: tuple[MovedVersion, ...]
    branches: tuple[MovedBranch, ...]
    secrets: dict[str, str]


class Transfer(msgspec.Struct, frozen=True):
    """A question after a move that was cut off: was it completed? If not, it never will be."""

    transfer: str
    app: str


class Outcome(msgspec.Struct, frozen=True):
    """Whether the app is the answering node's."""

    committed: bool


def check_key(id: str, key: Key) -> OpenKey:  # noqa: A002 (the word of the ring)
    """Return a data key that came from another node; raise INVALID if it is none."""
    if not _KEY_ID.fullmatch(id) or len(key) != KEY_BYTES:
        raise INVALID("That is no data key.", why="The other node may be older.")
    return OpenKey(id, key)


class OfGuest(msgspec.Struct, frozen=True):
    """A request: give the resource of this app back."""

    app: str


class LetGo(msgspec.Struct, frozen=True):
    """A request: remove all that you have of this app of mine, its data keys by these ids too."""

    app: str
    keys: tuple[str, ...]


class Gone(msgspec.Struct, frozen=True):
    """What a node has removed; nothing of it is left there."""

    said: tuple[str, ...]


class HandedKey(msgspec.Struct, frozen=True):
    """A new data key of an app, for the node that has a resource of it."""

    app: str
    id: str
    key: Key

    def __repr__(self) -> str:
        return f"HandedKey({self.id})"


class OfNode(Params, frozen=True):
    """Parameters of `federation.residency.show`, `measure` and `quote`."""

    name: Annotated[str, about("the node; by default this one", positional=True)] = ""


class Document(Params, frozen=True):
    """Parameters of `federation.residency.document`."""

    file: Annotated[str, about("a contract or certificate", positional=True, path=True)]
    country: Annotated[str, about("the country that it names (SE)")]
    until: Annotated[str, about("the last day on which it counts: 2027-06-30")]
    name: Annotated[str, about("of which node; by default this one")] = ""


class ResidencyInfo(msgspec.Struct, frozen=True):
    """How well it is shown that a node is where it says, and what would show it better."""

    node: str
    country: str
    grade: str
    shown_by: str
    raised_by: str


class Measured(msgspec.Struct, frozen=True):
    """What witnesses measured: the node is not farther than `km` from `at`, where it says it is."""

    node: str
    at: str
    km: int
    witnesses: tuple[str, ...]
    contradicted_by: tuple[str, ...]
    left_out: tuple[str, ...]
    grade: str
    entry: int

    @property
    def exit_code(self) -> int:
        """Return 1 if light could not have come from where the node says that it is."""
        return 1 if self.contradicted_by else 0


class NodeNamed(Params, frozen=True):
    """Parameters of `federation.revoke`."""

    name: Annotated[str, about("the node", positional=True)]


class Invited(msgspec.Struct, frozen=True):
    """An invitation; it is a secret until it is used."""

    invitation: str
    expires: int
    next: str


class NodeInfo(msgspec.Struct, frozen=True):
    """A node in a list. `health` is what it answered just now; times are nanoseconds (UTC).

    `copies` are the apps that it stands by for, with how far behind it is where that is known here.
    """

    name: str
    owner: str
    country: str
    labels: dict[str, str]
    health: str
    ms: float | None
    version: str
    holds: tuple[str, ...]
    url: str
    id: str
    joined: int | None
    copies: tuple[str, ...] = ()


class AskHeld(msgspec.Struct, frozen=True):
    """A question: what does your server hold, and whom is it connected to?"""


class Audited(msgspec.Struct, frozen=True):
    """What lies on every node's bus, as read back; `breaches` is where policy does not allow it.

    `missing` are nodes that did not answer: of them nothing is known.
    """

    nodes: tuple[HeldByServer, ...]
    breaches: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 if something lies where it may not, or is not known."""
        return 1 if self.breaches or self.missing else 0

    def draw(self, columns: int) -> str:
        """Return it for people."""
        lines = []
        for held in self.nodes:
            lines.append(f"{held.node} ({held.jurisdiction}): {held.bytes} bytes")
            lines += [
                f"  stream      {each.name}: {each.bytes} bytes, copies on "
                f"{', '.join(each.copies)}; apps: {', '.join(each.apps) or 'none'}"
                for each in held.streams
            ]
            lines += [
                f"  connection  {each.sort} {each.name} at {each.address}, {each.carries}"
                for each in held.connections
                if each.sort != "client"
            ]
        lines += [f"NOT KNOWN     {each}" for each in self.missing]
        lines += [f"NOT ALLOWED   {each}" for each in self.breaches]
        if not self.breaches:
            lines.append("Nothing of an app of this node lies where it may not.")
        return "\n".join(lines)
