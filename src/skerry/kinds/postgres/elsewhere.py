"""Clients of a database that is on another node: their bytes are passed on to its port there."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.kinds._shared.pgwire import messages


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where a client is passed on to: the socket, and what it said at its beginning."""

    path: str
    startup: bytes


def startup_for(parameters: dict[str, str], label: str) -> bytes:
    """Return a start-up packet that names its database by itself, not by a TLS server name."""
    options = f"{parameters.get('options', '')} endpoint={label}".strip()
    return messages.startup({**parameters, "options": options})
