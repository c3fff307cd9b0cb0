"""The node as surfaces see it: everything that the API, the console and the CLI ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import msgspec

from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.commands import Command
from skerry.kernel.manifest import Manifest
from skerry.kernel.service import Service
from skerry.node.home import Home

Progress = Callable[[int, int, str], None]
"""Called with what is done, the total (0 if it is not known), and what is being done."""


class Arrival(Protocol):
    """Somebody who logged in by an identity provider: a token for so long, and what was to be."""

    @property
    def token(self) -> str:
        """A token of the node, narrowed to what they may."""
        ...

    @property
    def name(self) -> str:
        """Who they are, for people."""
        ...

    @property
    def seconds(self) -> int:
        """How long the log-in lasts."""
        ...

    @property
    def memo(self) -> Mapping[str, str]:
        """What was given when the log-in began."""
        ...


class Identity(Protocol):
    """Logs people in by an identity provider of the operator's."""

    @property
    def issuer(self) -> str:
        """The provider's address; '' if none is configured."""
        ...

    async def begin(self, redirect: str, memo: Mapping[str, str]) -> tuple[str, str]:
        """Return where a browser goes to log in, and the secret that it keeps meanwhile."""
        ...

    async def finish(self, secret: str, said: Mapping[str, str]) -> Arrival:
        """Let somebody in who comes back from the provider; raises UNAUTHENTICATED, DENIED."""
        ...

    async def leave(self, token: str) -> None:
        """End a log-in before its time."""
        ...


class Node(Protocol):
    """A running node."""

    @property
    def name(self) -> str:
        """The node's name."""
        ...

    @property
    def home(self) -> Home:
        """Where the node keeps everything."""
        ...

    @property
    def clock(self) -> Clock:
        """Where the node's time comes from."""
        ...

    @property
    def entropy(self) -> Entropy:
        """Where the node's randomness comes from."""
        ...

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        """Every kind that the node serves, by name."""
        ...

    @property
    def services(self) -> Mapping[str, Service]:
        """Every service that the node runs, by name."""
        ...

    @property
    def identity(self) -> Identity | None:
        """What logs people in by an identity provider, if the node has that service."""
        ...

    def handler(self, service: str, /) -> Any:
        """Return what carries out a service's commands, for the wires that it answers."""
        ...

    @property
    def commands(self) -> Mapping[str, Command]:
        """Every command that the node carries out, by name."""
        ...

    async def perform(
        self,
        command: Command,
        params: msgspec.Struct,
        principal: str,
        progress: Progress | None,
    ) -> Any:
        """Carry a command out and return its result; may raise any `SkerryError`.

        `params` is of the type `command.params`; for a word of a kind it is a `WordCall`, whose
        own `params` have been validated.
        """
        ...

    def stream(
        self, command: Command, params: msgspec.Struct, principal: str
    ) -> AsyncIterator[Any]:
        """Yield the results of a command that streams until the iterator is closed."""
        ...

    async def receive_upload(self, chunks: AsyncIterator[bytes]) -> str:
        """Keep a tar or tar.gz for a command that is to follow; return the upload's id."""
        ...

    def download(self, download: str, /) -> AsyncIterator[bytes]:
        """Yield the bytes that a command has made ready; raise NOT_FOUND."""
        ...

    def principal_of(self, token: str) -> str | None:
        """Return who presents this token, or None; may raise UNAUTHENTICATED with the reason."""
        ...

    def admit(self, principal: str, what: str) -> None:
        """Raise DENIED unless a principal may do what is no command: upload, download, log in."""
        ...
