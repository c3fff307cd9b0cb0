"""Two connections as one: what comes in at one goes out at the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class Pipe(asyncio.Protocol):
    """One end of a relay; the end that writes too slowly makes the other one stop reading."""

    def __init__(
        self,
        transport: asyncio.Transport | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self.transport = transport
        self.other: Pipe | None = None
        self._on_lost = on_lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass data on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end as well."""
        if self._on_lost is not None:
            self._on_lost()
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


async def pass_on(
    client: asyncio.Transport,
    path: str,
    first: bytes,
    on_lost: Callable[[], None] | None = None,
) -> None:
    """Relay a client to a unix socket from now on, which gets `first` before all.

    `on_lost` is called when the client is gone. Raises OSError if the socket does not answer.
    """
    far = Pipe()
    await asyncio.get_running_loop().create_unix_connection(lambda: far, path)
    near = Pipe(client, on_lost)
    near.other, far.other = far, near
    assert far.transport is not None, "it is connected"
    far.transport.write(first)
    client.set_protocol(near)
    if client.is_closing():
        far.transport.close()
    elif not client.is_reading():
        client.resume_reading()
