"""Pools of server sessions for `-pooler` endpoints: a session serves one transaction at a time.

A pool belongs to a resource and has at most `pooler_size` sessions. They differ by user, database
and start-up parameters; an idle one that nobody waits for makes room for one of another kind.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Protocol

from skerry.kernel.kind import Gateway, Resource, Session
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds._shared.pgwire.scram import Credential
from skerry.kinds.postgres.limits import Limits
from skerry.kinds.postgres.lookup import Lookup
from skerry.kinds.postgres.prepared import Statement, Statements
from skerry.kinds.postgres.upstream import Upstream, connect

MAX_PREPARED = 500
_LOGINS_REMEMBERED = 100

Identity = tuple[tuple[str, str], ...]
"""The start-up parameters of a session, user and database among them."""


def identity_of(parameters: Mapping[str, str]) -> Identity:
    """Return what tells server sessions apart."""
    return tuple(sorted(parameters.items()))


class User(Protocol):
    """Who has a server session for the time of a transaction."""

    def from_server(self, data: bytes) -> None:
        """Take raw bytes of the server."""

    def server_lost(self) -> None:
        """Learn that the server closed the connection."""

    def pause_server(self, paused: bool) -> None:
        """Learn that the server cannot take more bytes for now, or can again."""

    def let_go(self) -> None:
        """Give a session back that is kept between transactions."""


class ServerSession(asyncio.Protocol):
    """One session of a pool, and what is prepared in it."""

    def __init__(self, pool: Pool, identity: Identity, upstream: Upstream, held: Session) -> None:
        self.pool = pool
        self.identity = identity
        self.upstream = upstream
        self.held = held
        self.user: User | None = None
        self.prepared: OrderedDict[Statement, None] = OrderedDict()
        self.unnamed: Statement | None = None
        self.cancels = 0
        self.released = False
        upstream.relay(self)
        upstream.transport.set_protocol(self)
        held.on_sleep(self._sleep)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.user is not None:
            self.user.from_server(data)

    def from_server(self, data: bytes) -> None:
        """See `Downstream`."""
        self.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.upstream.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.pause_server(True)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.pause_server(False)

    def server_lost(self) -> None:
        """See `Downstream`."""
        user, self.user = self.user, None
        self.pool.drop(self)
        if user is not None:
            user.server_lost()

    def pause_server(self, paused: bool) -> None:
        """See `Downstream`."""
        if self.user is not None:
            self.user.pause_server(paused)

    def forget_statements(self) -> None:
        """Note that the session has no prepared statements any more."""
        self.prepared.clear()
        self.unnamed = None

    def close(self) -> None:
        """End the session."""
        self.user = None
        self.upstream.close()
        self.pool.drop(self)

    def _sleep(self) -> None:
        if self.user is not None:
            self.user.let_go()
        if self.user is None:
            self.close()


class Pool:
    """The sessions of one resource; `waiting` are those who need one and got none."""

    def __init__(
        self, gateway: Gateway, lookup: Lookup, limits: Limits, resource: Resource, size: int
    ) -> None:
        self._gateway = gateway
        self._lookup = lookup
        self._limits = limits
        self._resource = resource
        self._size = size
        self._idle: list[ServerSession] = []
        self._all: set[ServerSession] = set()
        self._opening = 0
        self.waiting: deque[tuple[Identity, asyncio.Future[ServerSession | None]]] = deque()
        self._greetings: OrderedDict[Identity, bytes] = OrderedDict()
        self.statements = Statements()

    async def greeting(self, identity: Identity, credential: Credential) -> bytes:
        """Return what a server says to such a session when it begins; known ones wake nothing."""
        if identity not in self._greetings:
            self.release(await self.take(identity, credential))
        return self._greetings[identity]

    async def take(self, identity: Identity, credential: Credential) -> ServerSession:
        """Return a session for one transaction; waits for its turn. Raises what `connect` does."""
        deadline = asyncio.get_running_loop().time() + self._limits.pooler_seconds
        while True:
            found = self.take_idle(identity)
            if found is None and self._has_room():
                async with asyncio.timeout(self._limits.wake_seconds):
                    found = await self._open(identity, credential)
            if found is None:
                self._reclaim()
                found = self.take_idle(identity) or await self._turn(identity, deadline)
            if found is not None:
                return found

    def release(self, server: ServerSession) -> None:
        """Give a session back after a transaction that left nothing behind."""
        server.user = None
        server.released = True
        if server.cancels or server not in self._all:
            return
        for place, (identity, turn) in enumerate(self.waiting):
            if identity == server.identity and not turn.done():
                del self.waiting[place]
                server.released = False
                turn.set_result(server)
                return
        self._idle.append(server)
        server.held.active(False)
        self._wake_next()

    def drop(self, server: ServerSession) -> None:
        """Forget a session that has ended."""
        if server not in self._all:
            return
        self._all.discard(server)
        if server in self._idle:
            self._idle.remove(server)
        server.held.close()
        self._wake_next()
        if not self._all:
            self._lookup.slept(self._resource)

    def take_idle(self, identity: Identity) -> ServerSession | None:
        """Return a session for one transaction if one is free at once."""
        for place in range(len(self._idle) - 1, -1, -1):
            server = self._idle[place]
            if server.identity == identity:
                del self._idle[place]
                server.released = False
                server.held.active(True)
                return server
        return None

    def _reclaim(self) -> None:
        """Take back all sessions that are kept between transactions."""
        for server in list(self._all):
            if server.user is not None:
                server.user.let_go()

    def _has_room(self) -> bool:
        """Tell whether one more may be opened; an idle session of another kind makes room."""
        if len(self._all) + self._opening >= self._size and self._idle:
            self._idle[0].close()
        return len(self._all) + self._opening < self._size

    async def _turn(self, identity: Identity, deadline: float) -> ServerSession | None:
        """Wait until a session of that kind is free, or something may have made room."""
        turn: asyncio.Future[ServerSession | None] = asyncio.get_running_loop().create_future()
        place = (identity, turn)
        self.waiting.append(place)
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except BaseException as error:
            if place in self.waiting:
                self.waiting.remove(place)
            if turn.done() and not turn.cancelled() and (server := turn.result()) is not None:
                self.release(server)
            if isinstance(error, TimeoutError):
                raise WireError(
                    "53300",
                    "no server session of the pooler became free in time",
                    f"It has {self._size}, all in use.",
                    "Raise pooler_size, or shorten transactions.",
                ) from None
            raise

    def _wake_next(self) -> None:
        while self.waiting:
            _, turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _open(self, identity: Identity, credential: Credential) -> ServerSession:
        self._opening += 1
        try:
            held = await self._gateway.open(self._resource)
            try:
                upstream = await connect(held.endpoint.path)
                try:
                    said = await upstream.log_in(dict(identity), credential)
                except BaseException:
                    upstream.close()
                    raise
            except BaseException:
                held.close()
                raise
            server = ServerSession(self, identity, upstream, held)
            self._all.add(server)
        except BaseException:
            self._wake_next()
            raise
        finally:
            self._opening -= 1
        self._greetings[identity] = said
        if len(self._greetings) > _LOGINS_REMEMBERED:
            self._greetings.popitem(last=False)
        self._lookup.woke(self._resource, held.endpoint.path)
        return server
