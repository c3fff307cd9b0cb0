"""UDP ports of a workload: what comes in at loopback is passed into the workload's own network.

UDP has no connections, so every address that sends gets a socket of its own inside, by which the
answers find their way back. One that was silent for a minute is forgotten, and so is the one that
was silent longest where there are too many.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, cast

SENDERS_MAX = 256
SILENT_SECONDS = 60.0
SWEEP_SECONDS = 10.0
LOOPBACK = "127.0.0.1"

Address = tuple[str, int]


class Maker(Protocol):
    """Makes sockets in the network of a sandbox."""

    def make(self, family: bytes) -> socket.socket:
        """Return a new socket. Raises `OSError`."""
        ...


class Datagrams(asyncio.DatagramProtocol):
    """A UDP port of loopback that leads to one inside; while nothing runs, datagrams are lost."""

    def __init__(self, number: int, network: Callable[[], Maker | None]) -> None:
        self._number = number
        self._network = network
        self._senders: OrderedDict[Address, Sender] = OrderedDict()
        self._transport: asyncio.DatagramTransport | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to listen."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._sweep()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Pass a datagram in."""
        sender = self._senders.get(addr) or self._new(addr)
        if sender is not None:
            self._senders.move_to_end(addr)
            sender.send(data)

    def _new(self, address: Address) -> Sender | None:
        network = self._network()
        if network is None:
            return None
        try:
            made = network.make(b"u")
            made.connect((LOOPBACK, self._number))
        except OSError:
            # The sandbox has ended, or has no such port: as on any network, nobody answers.
            return None
        if len(self._senders) >= SENDERS_MAX:
            self._senders.popitem(last=False)[1].close()
        sender = self._senders[address] = Sender(made, address, self.answer)
        return sender

    def answer(self, data: bytes, address: Address) -> None:
        """Pass an answer out."""
        if self._transport is not None:
            self._transport.sendto(data, address)

    def _sweep(self) -> None:
        """Forget whoever was silent for long."""
        loop = asyncio.get_running_loop()
        for address, sender in list(self._senders.items()):
            if loop.time() - sender.active > SILENT_SECONDS:
                self._senders.pop(address).close()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)

    def drop(self) -> None:
        """Forget everybody, as the program has ended."""
        while self._senders:
            self._senders.popitem()[1].close()

    def close(self) -> None:
        """Listen no more."""
        self.drop()
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._transport is not None:
            self._transport.close()


class Sender:
    """An address that sends, and its socket inside."""

    def __init__(
        self,
        inside: socket.socket,
        address: Address,
        answer: Callable[[bytes, Address], None],
    ) -> None:
        self._inside = inside
        self._address = address
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self.active = self._loop.time()
        self._loop.add_reader(inside, self._read)

    def send(self, data: bytes) -> None:
        """Send into the sandbox; what its queue has no room for is lost, as UDP may."""
        self.active = self._loop.time()
        try:
            self._inside.send(data)
        except OSError:
            return

    def _read(self) -> None:
        try:
            data = self._inside.recv(65_535)
        except OSError:
            # Nobody listens there (yet), which a connected socket is told afterwards.
            return
        self.active = self._loop.time()
        self._answer(data, self._address)

    def close(self) -> None:
        """Let go of the socket."""
        self._loop.remove_reader(self._inside)
        self._inside.close()
