"""The node as surfaces see it: everything that the API, the console and the CLI ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from skerry.kernel.commands import Command
from skerry.kernel.manifest import Manifest
from skerry.node.home import Home

Progress = Callable[[int, int, str], None]
"""Called with what is done, the total (0 if it is not known), and what is being done."""


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
    def manifests(self) -> Mapping[str, Manifest]:
        """Every kind that the node serves, by name."""
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

    def download(self, id: str) -> AsyncIterator[bytes]:  # noqa: A002 (the word of the API)
        """Yield the bytes that a command has made ready; raise NOT_FOUND."""
        ...

    def principal_of(self, token: str) -> str | None:
        """Return who presents this token, or None."""
        ...


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What was said to `skerry up`; what is None is left to `config.toml` and the defaults."""

    home: Path
    name: str | None = None
    host: str | None = None
    http_port: int | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    example: str | None = None
