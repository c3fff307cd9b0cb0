"""Clients of a database that is on another node: their bytes are passed on to its port there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

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


class Pipe(asyncio.Protocol):
    """One end of a relay; the end that writes too slowly makes the other one stop reading."""

    def __init__(self, transport: asyncio.Transport | None = None) -> None:
        self.transport = transport
        self.other: Pipe | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass data on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end as well."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


async def pass_on(client: asyncio.Transport, place: Elsewhere, early: bytes) -> None:
    """Relay a client from now on. Raises OSError if the socket does not answer."""
    far = Pipe()
    await asyncio.get_running_loop().create_unix_connection(lambda: far, place.path)
    near = Pipe(client)
    near.other, far.other = far, near
    assert far.transport is not None, "it is connected"
    far.transport.write(place.startup + early)
    client.set_protocol(near)
    if client.is_closing():
        far.transport.close()
    elif not client.is_reading():
        client.resume_reading()
