"""The bus of a node: its server among the others', what is kept in it, and who is let in."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from skerry.federation.bus import nkeys
from skerry.federation.bus.audit import counted, read_back
from skerry.federation.bus.client import Client
from skerry.federation.bus.held import Held
from skerry.federation.bus.plan import Accounts, Neighbour, Plan, write_files
from skerry.federation.bus.register import STREAM as LEASES
from skerry.federation.bus.register import StreamRegister
from skerry.federation.bus.server import Server
from skerry.federation.bus.stream_log import STREAM as LOG
from skerry.federation.bus.streams import Stream, ensure
from skerry.federation.identity import Identity
from skerry.federation.peers import Door
from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import STORE_UNREACHABLE, SkerryError
from skerry.kernel.lease import Slot
from skerry.node.ports import taken

RENEW_SECONDS = 12 * 3600.0
"""Certificates are of a day."""

TRY_SECONDS, LOOK_SECONDS = 0.5, 30.0
PORT_SECONDS, PORT_POLL_SECONDS = 3.0, 0.1
TROUBLE_SECONDS = 20.0
"""How long the bus may fail before it is said: an election is over by then."""

STREAMS: tuple[Stream, ...] = (LEASES, LOG)

_log = logging.getLogger("skerry.federation")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bus is: its node's name and jurisdiction, the host it listens on, and its door."""

    name: str
    jurisdiction: str
    host: str
    door: Door


class Bus:
    """Runs a server while there are others; nothing runs while there are none.

    `neighbours` are the nodes that may be joined now: whoever is left out is refused. `revoked` are
    the names of those that were bound once: the cluster is to count them no more.
    """

    def __init__(
        self,
        place: Place,
        identity: Identity,
        clock: Clock,
        entropy: Entropy,
        folder: Path,
        neighbours: Callable[[], Iterable[Neighbour]],
        revoked: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.place = place
        self._identity = identity
        self._clock = clock
        self._entropy = entropy
        self._folder = folder
        self._neighbours = neighbours
        self._revoked = revoked
        self._gone: set[str] = set()
        self.accounts = Accounts(identity, place.jurisdiction)
        self.plan = Plan(place.name, place.jurisdiction, place.host, place.door)
        self.server: Server | None = None
        self.holders: dict[str, tuple[str, ...]] = {}
        self._inside: Client | None = None
        self._system: Client | None = None
        self._renew_at = 0.0
        self._changing = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._failing_since: float | None = None
        self._said = False

    async def start(self) -> None:
        """Run the server if there is anybody to speak to; go on looking."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        await self.refresh()
        self._looking = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """End the server and the connections to it."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        async with self._changing:
            await self._stop_server()

    async def _stop_server(self) -> None:
        for client in (self._inside, self._system):
            if client is not None:
                await client.close()
        if self.server is not None:
            await self.server.stop()
        self.server = self._inside = self._system = None
        self.holders = {}

    def move(self, door: Door) -> None:
        """Be reached by another door from now on."""
        self.place = replace(self.place, door=door)
        self.changed()

    def changed(self) -> None:
        """Look at once who is there: somebody came, went, or moved."""
        self._look.set()

    async def _look_for_ever(self) -> None:
        """Keep server and streams as they must be, whatever fails meanwhile."""
        while True:
            settled = await self._tend()
            wait = LOOK_SECONDS if settled else TRY_SECONDS
            self._look.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _tend(self) -> bool:
        """Do what is to be done; tell whether nothing is left to do."""
        try:
            await self.refresh()
            await self._evict()
            settled = await self._ensure_streams()
        except (SkerryError, OSError) as error:
            self._tell_failing(error)
            return False
        if self._said:
            _log.info("the bus works again")
        self._failing_since, self._said = None, False
        return settled

    def _tell_failing(self, error: Exception) -> None:
        """Say once that the bus does not work, when it has not for a while."""
        now = self._clock.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if not self._said and now - self._failing_since > TROUBLE_SECONDS:
            self._said = True
            why = f"{error.what} {error.why}" if isinstance(error, SkerryError) else str(error)
            _log.warning("the bus does not work, so no lease is taken or renewed: %s", why)

    async def refresh(self) -> None:
        """Let in those who are neighbours now and nobody else.

        A server that lets more in reads its configuration again; one that is to let somebody in no
        more is started anew, because connections that are open would stay.
        """
        async with self._changing:
            plan = self._plan()
            now = self._clock.monotonic()
            if plan == self.plan and self.server is not None and now < self._renew_at:
                return
            old, self.plan = self.plan, plan
            if not plan.members and not plan.abroad:
                await self._stop_server()
                return
            try:
                await self._write()
                await self._apply(old, plan)
            except BaseException:
                await self._stop_server()  # whatever is half done; the next look starts anew
                raise
            self._renew_at = now + RENEW_SECONDS
            self._gone |= {each.name for each in old.members} - set(self.members())

    async def _apply(self, old: Plan, plan: Plan) -> None:
        """Bring the server to a plan whose files are written."""
        if self.server is None:
            await self._start_server()
        elif _grows(old, plan):
            self.server.reload()
        else:
            self.holders = {}
            await self.server.restart()

    def _plan(self) -> Plan:
        found = sorted(self._neighbours(), key=lambda each: each.name)
        own = self.place.jurisdiction
        return replace(
            self.plan,
            door=self.place.door,
            members=tuple(each for each in found if each.jurisdiction == own),
            abroad=tuple(each for each in found if each.jurisdiction != own),
        )

    async def _write(self) -> None:
        await asyncio.to_thread(
            write_files, self.plan, self.accounts, self._identity, self._entropy, self._folder
        )

    async def _start_server(self) -> None:
        await self._wait_for_ports()
        server = Server(self._folder)
        await server.start()
        self.server = server
        self.plan = replace(self.plan, client=server.port)
        await self._write()  # so that it has the same port when it is started again
        self._inside = await self._connect(self.accounts.inside)
        self._system = await self._connect(self.accounts.system)

    async def _wait_for_ports(self) -> None:
        """Raise CONFLICT, with what to do, if a port of the door is and stays somebody else's.

        A server whose node was killed has it for a moment.
        """
        door, host = self.place.door, self.place.host
        for port, name in ((door.cluster, "bus"), (door.leaf, "bus-abroad")):
            until = self._clock.monotonic() + PORT_SECONDS
            while (error := _cannot_listen(host, port)) is not None:
                if self._clock.monotonic() >= until:
                    raise taken("the bus", host, port, f"--port {name}=0", error) from error
                await asyncio.sleep(PORT_POLL_SECONDS)

    async def _connect(self, account: str) -> Client:
        key = nkeys.Key(self._entropy.bytes(32))
        client = Client(self._identity, self.accounts.user(account, key), key)
        assert self.server is not None
        await client.connect(self.server.port)
        return client

    async def _evict(self) -> None:
        """Have the cluster count those no more who left it, so that others get their copies."""
        unwelcome = self._unwelcome()
        if not unwelcome or not self.plan.members:
            return
        for name in await counted(self.system(), self.place.name):
            if name in unwelcome:
                await self.system().api("SERVER.REMOVE", {"peer": name})

    def _unwelcome(self) -> set[str]:
        return (self._gone | set(self._revoked())) - set(self.members())

    async def _ensure_streams(self) -> bool:
        if not self.plan.members:
            return True
        for stream in STREAMS:
            self.holders[stream.name] = await ensure(
                self.inside(),
                stream,
                self.place.jurisdiction,
                self.members(),
                self._unwelcome(),
            )
        return True

    def members(self) -> tuple[str, ...]:
        """Return the names of the nodes of this cluster."""
        return tuple(sorted((self.place.name, *(each.name for each in self.plan.members))))

    @property
    def settled(self) -> bool:
        """Whether every stream has been read back."""
        return len(self.holders) == len(STREAMS)

    def inside(self) -> Client:
        """Return the connection to what this jurisdiction keeps; raise STORE_UNREACHABLE."""
        if self._inside is None or not self.plan.members:
            raise STORE_UNREACHABLE(
                f"{self.place.name} is alone in {self.place.jurisdiction}.",
                why="No other node of this jurisdiction with a bus is bound to it.",
                hint="skerry node invite",
            )
        return self._inside

    def settled_inside(self) -> Client:
        """Return the connection once the streams were seen to lie where they must."""
        client = self.inside()
        if not self.settled:
            raise STORE_UNREACHABLE("The bus is not ready yet.", why="Its streams are being made.")
        return client

    def system(self) -> Client:
        """Return the connection on which servers tell of themselves; raise STORE_UNREACHABLE."""
        if self._system is None:
            raise STORE_UNREACHABLE("The bus does not run.", why="No other node has one.")
        return self._system

    async def audit(self) -> Held:
        """Return what this node's server holds and whom it is connected to, as it says itself."""
        if self._system is None:
            return Held(self.place.name, self.place.jurisdiction)
        inside = self._inside if self.plan.members else None
        place = self.place
        return await read_back(self._system, inside, self.accounts, place.name, place.jurisdiction)


class BusRegister:
    """The register of a bus, whatever becomes of its server. Implements `Register`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self, subject: str) -> Slot | None:
        """See `Register.read`."""
        return await StreamRegister(self._bus.settled_inside()).read(subject)

    async def write(self, subject: str, data: bytes, revision: int) -> int:
        """See `Register.write`."""
        register = StreamRegister(self._bus.settled_inside())
        return await register.write(subject, data, revision)

    async def watch(self) -> AsyncIterator[tuple[str, Slot]]:
        """See `Register.watch`."""
        while True:
            try:
                client = self._bus.settled_inside()
            except SkerryError:
                await asyncio.sleep(TRY_SECONDS)
                continue
            async for subject, slot in StreamRegister(client).watch():
                yield subject, slot


def _grows(old: Plan, plan: Plan) -> bool:
    """Tell whether nobody goes and nobody comes but members of a cluster that is there already.

    Leaf connections and the cluster itself are read at the start only.
    """
    return (
        bool(old.members)
        and set(old.members) <= set(plan.members)
        and old.abroad == plan.abroad
        and old.door == plan.door
    )


def _cannot_listen(host: str, port: int) -> OSError | None:
    """Return why a port cannot be listened on, if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None
