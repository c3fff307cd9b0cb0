"""What a node knows of one workload, and its connection to the keeper."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import BUSY, ENGINE_FAILED, SkerryError, from_dict
from skerry.node.channel import Call, Channel
from skerry.node.workload.order import CONTROL, Folder, Kept, Order, Wish
from skerry.node.workload.spec import Exit, Reachable, State, WorkloadInfo, WorkloadUsage

HOSTS_BELOW = "workload"
"""The label between a workload's name and the node's domain."""

GONE_SECONDS = 5.0
OnChange = Callable[["Record"], None]


class Record:
    """One workload."""

    def __init__(self, order: Order, folder: Folder) -> None:
        self.order = order
        self.folder = folder
        self.kept: Kept = folder.state()
        self.wish: Wish = folder.wish()
        self.was_running = False
        self.changing = asyncio.Lock()
        self.wishing = asyncio.Lock()
        self._channel: Channel | None = None
        self._running: asyncio.Future[None] | None = None
        self._memory_bytes = 0
        self._disk_bytes = 0

    @property
    def id(self) -> str:
        """The workload's id."""
        return self.order.id

    @property
    def name(self) -> str:
        """The workload's name."""
        return self.order.name

    @property
    def connected(self) -> bool:
        """Whether a keeper lives and is connected."""
        return self._channel is not None and not self._channel.closed.done()

    async def connect(self, connection: socket.socket, on_change: OnChange) -> None:
        """Speak to a keeper over a connected socket."""
        self._running = asyncio.get_running_loop().create_future()
        handlers: dict[str, Callable[[Call], Awaitable[Any]]] = {
            "state": lambda call: self._take_state(call, on_change),
            "running": self._take_running,
            "failed": self._take_failure,
        }
        channel = await Channel.open(connection, handlers)
        self._channel = channel
        channel.closed.add_done_callback(lambda _: self._gone(channel, on_change))

    async def adopt(self, on_change: OnChange) -> bool:
        """Connect to the keeper that another run of the node started; false if there is none."""
        deadline = asyncio.get_running_loop().time() + GONE_SECONDS
        while await asyncio.to_thread(lambda: self.folder.kept):
            connection = socket.socket(socket.AF_UNIX)
            connection.setblocking(False)
            path = str(Path(self.order.sockets) / CONTROL)
            try:
                await asyncio.get_running_loop().sock_connect(connection, path)
            except OSError as error:
                # It starts or ends just now.
                connection.close()
                if asyncio.get_running_loop().time() > deadline:
                    raise ENGINE_FAILED("A keeper does not answer.", why=str(error)) from error
                await asyncio.sleep(0.05)
                continue
            await self.connect(connection, on_change)
            self.was_running = True
            await self.ask_status(GONE_SECONDS)
            return True
        return False

    async def free(self, seconds: float) -> None:
        """Wait until no keeper lives, as one that has said its last word ends. Raises BUSY."""
        deadline = asyncio.get_running_loop().time() + seconds
        while await asyncio.to_thread(lambda: self.folder.kept):
            if asyncio.get_running_loop().time() > deadline:
                raise BUSY(f"The keeper of {self.name} has not ended.")
            await asyncio.sleep(0.005)

    def disconnect(self) -> None:
        """Let go of the keeper, which goes on."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if self._running is not None and not self._running.done():
            self._running.cancel()

    async def running(self) -> None:
        """Wait until the program runs; raise what keeps it from that."""
        assert self._running is not None
        await self._running

    async def ended(self) -> None:
        """Wait until the keeper has ended."""
        if self._channel is not None:
            await asyncio.wait({self._channel.closed})

    async def tell_wish(self, wish: Wish, grace_seconds: float, seconds: float) -> None:
        """Tell the keeper what is wanted; nothing if there is none."""
        channel = self._channel
        if channel is not None and not channel.closed.done():
            params = {"wish": msgspec.to_builtins(wish), "grace_seconds": grace_seconds}
            await channel.call("wish", params, seconds=seconds)

    async def ask_status(self, seconds: float) -> None:
        """Ask the keeper how things are; one that is gone has left its last word on disk."""
        channel = self._channel
        if channel is not None and not channel.closed.done():
            try:
                answer = await channel.call("status", seconds=seconds)
            except SkerryError:
                if not channel.closed.done():
                    raise
            else:
                self.kept = msgspec.convert(answer["kept"], Kept)
                self._memory_bytes = answer["memory_bytes"]
                self._disk_bytes = answer["disk_bytes"]
                return
        self._memory_bytes = 0
        kept = await asyncio.to_thread(self.folder.state)
        if kept.state != State.ENDED:
            # Whoever kept it is gone, and whether it is started again is being decided.
            kept = msgspec.structs.replace(kept, state=State.WAITING)
        self.kept = kept

    def note_lost(self, lost: Exit) -> None:
        """Write down that the keeper was lost, before a new one is started. Blocks."""
        kept = self.folder.state()
        news = msgspec.structs.replace(
            kept, state=State.WAITING, exit=lost, restarts=kept.restarts + 1, first=None
        )
        self.folder.write_state(news)
        self.kept = news

    def note_end(self, ended: Exit) -> None:
        """Write down the end of a workload that has no keeper. Blocks."""
        kept = msgspec.structs.replace(
            self.folder.state(), state=State.ENDED, exit=ended, first=None
        )
        self.folder.write_state(kept)
        self.kept = kept

    def info(self, address: Callable[[str], str]) -> WorkloadInfo:
        """Return what is known. `address` makes the URL of a host."""
        order, kept = self.order, self.kept
        counters = self.folder.counters()
        return WorkloadInfo(
            id=order.id,
            name=order.name,
            image=order.image.name,
            isolation=order.spec.isolation,
            state=kept.state,
            created=order.created,
            started=kept.started,
            restarts=kept.restarts,
            expires=self.wish.expires,
            exit=kept.exit,
            usage=WorkloadUsage(
                cpu_ms=counters["cpu_ms"],
                memory_mib_s=counters["memory_mib_s"],
                memory_bytes=self._memory_bytes,
                disk_bytes=self._disk_bytes,
            ),
            ports=tuple(self._reachable(address)),
            bounds=kept.bounds,
            labels=order.spec.labels,
        )

    def _reachable(self, address: Callable[[str], str]) -> list[Reachable]:
        first = next((p.number for p in self.order.spec.ports if p.protocol == "http"), None)
        found = []
        for port in self.order.spec.ports:
            outside = self.kept.outside.get(port.number, port.outside)
            url = ""
            if port.protocol == "http":
                label = self.name if port.number == first else f"{port.number}--{self.name}"
                url = address(f"{label}.{HOSTS_BELOW}")
            found.append(Reachable(port.number, port.protocol, f"127.0.0.1:{outside}", url))
        return found

    async def _take_state(self, call: Call, on_change: OnChange) -> None:
        self.kept = msgspec.convert(call.params, Kept)
        self.was_running = True
        on_change(self)

    async def _take_running(self, call: Call) -> None:
        if self._running is not None and not self._running.done():
            self._running.set_result(None)

    async def _take_failure(self, call: Call) -> None:
        if self._running is not None and not self._running.done():
            self._running.set_exception(from_dict(call.params))

    def _gone(self, channel: Channel, on_change: OnChange) -> None:
        if self._running is not None and not self._running.done():
            self._running.set_exception(
                ENGINE_FAILED(f"The keeper of {self.name} ended at once.", hint="skerry logs")
            )
            # Of one that was taken over nobody awaits the start, and nobody needs to.
            self._running.exception()
        if self._channel is channel:
            self._channel = None
            if self.folder.complete:
                self.kept = self.folder.state()
            on_change(self)
