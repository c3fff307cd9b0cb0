"""One request of a browser: who asks, and what the node tells them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request

from skerry.kernel.errors import UNAUTHENTICATED
from skerry.surfaces.port import Node
from skerry.surfaces.sessions import Session, Sessions


@dataclass
class Visit:
    """A request; without a session only pages that hold nothing of the node are served."""

    node: Node
    request: Request
    session: Session | None
    secret: str = ""
    sessions: Sessions | None = None
    form: dict[str, str] = field(default_factory=dict)

    @property
    def principal(self) -> str:
        """Who asks; raises UNAUTHENTICATED without a session."""
        if self.session is None:
            raise UNAUTHENTICATED("You are not logged in.", hint="skerry open")
        return self.session.principal

    def word(self, name: str, default: str = "") -> str:
        """Return a part of the path."""
        return str(self.request.path_params.get(name, default))

    async def ask(self, command_name: str, /, **params: Any) -> Any:
        """Carry a command out for whoever asks."""
        command = self.node.commands[command_name]
        shape: msgspec.Struct = msgspec.convert(params, command.params)
        return await self.node.perform(command, shape, self.principal, None)

    def stream(self, command_name: str, /, **params: Any) -> AsyncIterator[Any]:
        """Yield the results of a command that streams, for whoever asks."""
        command = self.node.commands[command_name]
        shape: msgspec.Struct = msgspec.convert(params, command.params)
        return self.node.stream(command, shape, self.principal)

    def tell(self, message: str, *, good: bool = True) -> None:
        """Leave a message for the next page."""
        if self.sessions is not None:
            self.sessions.tell(self.secret, message, good=good)

    def told(self) -> list[tuple[str, bool]]:
        """Return the messages that were left, once."""
        return self.sessions.told(self.secret) if self.sessions is not None else []
