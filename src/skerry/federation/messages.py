"""What nodes say to each other, and what the commands of the federation take and answer."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.federation.peers import Card
from skerry.kernel.commands import Params, about


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


class Greeting(msgspec.Struct, frozen=True):
    """The answer: what the node says of itself now, and what it holds."""

    card: Card
    version: str
    holds: tuple[Held, ...]


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


class NodeNamed(Params, frozen=True):
    """Parameters of `federation.revoke`."""

    name: Annotated[str, about("the node", positional=True)]


class Invited(msgspec.Struct, frozen=True):
    """An invitation; it is a secret until it is used."""

    invitation: str
    expires: int
    next: str


class NodeInfo(msgspec.Struct, frozen=True):
    """A node in a list. `health` is what it answered just now; times are nanoseconds (UTC)."""

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
