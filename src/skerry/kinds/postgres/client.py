"""One client of the front: its handshake, then a raw relay, through sleeps of the server.

While bytes are relayed, see `relay`. When the session has been idle for a while, the relay is
halted and the session is asked what it holds (see `snapshot`). If the server then sleeps, the
client keeps its connection and gets a new server session on its next byte.
"""

from __future__ import annotations

import asyncio
import contextlib

from skerry.kernel.kind import Resource, Session
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds._shared.relay.pipe import pass_on
from skerry.kinds.postgres import snapshot
from skerry.kinds.postgres.elsewhere import Elsewhere
from skerry.kinds.postgres.handshake import Handshake, Welcome
from skerry.kinds.postgres.lobby import Lobby, config_of
from skerry.kinds.postgres.pooled import PooledClient
from skerry.kinds.postgres.pooler import Pool, identity_of
from skerry.kinds.postgres.refusal import refuse
from skerry.kinds.postgres.relay import Relay, State
from skerry.kinds.postgres.snapshot import Snapshot
from skerry.kinds.postgres.stream import Stream
from skerry.kinds.postgres.upstream import Upstream, cancel, connect

_SLEPT = WireError("57P01", "the database went to sleep with the session", "It may be retried.")


class Client(Stream):
    """A client's connection."""

    def __init__(self, lobby: Lobby) -> None:
        super().__init__()
        self._lobby = lobby
        self.welcome: Welcome | None = None
        self.upstream: Upstream | None = None
        self.session: Session | None = None
        self.pooled: PooledClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._relaying = False
        self._relay: Relay | None = None
        self._dozing = False
        self._snapshot: Snapshot | None = None
        self._held = bytearray()
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._lobby.greet(self)
        self._start(self._serve())

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self._task is not None and self._relaying:
            self._task.cancel()
        self._leave()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._relaying:
            super().data_received(data)
            return
        self._wake_up(data)

    def from_server(self, data: bytes) -> None:
        """See `Downstream`; the relay being halted, this is what the server says by itself."""
        if not (self._dozing and data[:1] == b"E"):
            self.transport.write(data)

    def server_lost(self) -> None:
        """See `Downstream`."""
        upstream, self.upstream = self.upstream, None
        self._close_relay()
        self._give_back()
        if self.welcome is not None:
            self._lobby.lookup.slept(self.welcome.resource)
        if self._dozing and self._snapshot is not None and not self.lost:
            return
        if upstream is not None and not self.lost:
            if self._dozing:
                self.transport.write(_SLEPT.encode())
            self.transport.close()

    def _server_sleeps(self) -> None:
        """Let go of a server that is about to stop, so that no byte can still reach it."""
        if self._dozing and self._snapshot is not None and self.upstream is not None:
            self.upstream.close()
            self.server_lost()

    def pause_server(self, paused: bool) -> None:
        """See `Downstream`."""
        if not self.lost and self._relaying:
            (self.transport.pause_reading if paused else self.transport.resume_reading)()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = True
        if self.upstream is not None:
            self.upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = False
        if self.upstream is not None:
            self.upstream.transport.resume_reading()

    def look(self) -> None:
        """Once in a while: if the session has been idle since the last look, ask what it holds."""
        relay = self._relay
        if relay is None or self._paused or self._task is not None:
            return
        state = relay.look()
        if state is State.IDLE:
            self._halt()
            self._start(self._doze())
        elif state is State.QUIET:
            self._start(self._ask_server(relay))

    async def _ask_server(self, relay: Relay) -> None:
        """Ask the server whether a quiet session is idle; the relay goes on meanwhile."""
        assert self.welcome is not None and self.upstream is not None and self.session is not None
        lookup, path = self._lobby.lookup, self.session.endpoint.path
        idle = await lookup.is_idle(self.welcome.resource, path, self.upstream.process)
        self._task = None
        if idle and self._relay is relay and self.upstream is not None and relay.settled():
            self._halt()
            self._start(self._doze())

    async def cancel(self, key: bytes) -> None:
        """See `Guest`."""
        if self.pooled is not None:
            await self.pooled.cancel(key)
            return
        if self.welcome is None or self.upstream is None or self.session is None:
            return
        if self.welcome.matches(key):
            socket, server = self.session.endpoint.path, self.upstream
            await cancel(socket, server.process, server.key)

    async def _serve(self) -> None:
        """Do the handshake and start to relay; refuse in PostgreSQL's terms."""
        try:
            async with asyncio.timeout(self._lobby.limits.handshake_seconds):
                handshake = Handshake(self, self._lobby)
                welcome = await handshake.run()
            if welcome is None:
                self.transport.close()
                return
            if isinstance(welcome, Elsewhere):
                early, self.buffer = bytes(self.buffer), bytearray()
                await pass_on(self.transport, welcome.path, welcome.startup + early)
                return
            self.welcome = welcome
            self._lobby.welcome(self, welcome.process)
            pool = self._lobby.pool(welcome.resource) if welcome.pooled else None
            async with asyncio.timeout(self._lobby.limits.wake_seconds):
                said = await self._greeting(welcome, pool)
        except Exception as error:
            refuse(self, error)
        else:
            self._begin(welcome, said, pool)
        finally:
            if not self._relaying:
                self._leave()

    async def _greeting(self, welcome: Welcome, pool: Pool | None) -> bytes:
        """Return what the server says at the beginning of such a session."""
        if pool is None:
            return await self._attach(welcome.resource)
        return await pool.greeting(identity_of(welcome.parameters), welcome.credential)

    def _begin(self, welcome: Welcome, said: bytes, pool: Pool | None) -> None:
        if self.lost or (pool is None and self.upstream is None):
            self._leave()
            return
        self.transport.write(welcome.accept(said))
        self._relaying = True
        self._task = None
        if pool is not None:
            self.pooled = PooledClient(self, welcome, pool, self._lobby)
            self.pooled.begin()
        elif self.upstream is not None:
            self._resume(self.upstream)

    def _resume(self, upstream: Upstream) -> None:
        """Relay from now on, beginning with what the client has sent meanwhile."""
        upstream.relay(self)
        self._dozing = False
        self._task = None
        assert self.welcome is not None
        external = config_of(self.welcome.resource).external
        self._relay = Relay(self, upstream, None if external else self._lobby.lane)
        self._lobby.lively.add(self)
        data, self.buffer = bytes(self.buffer + self._held), bytearray()
        self._held.clear()
        if not self.transport.is_reading():
            self.transport.resume_reading()
        if data:
            self._relay.forward(data)

    def _halt(self) -> None:
        """Take the relay back, so that the session can be spoken to."""
        assert self.upstream is not None
        self._close_relay()
        self.transport.set_protocol(self)
        self.upstream.transport.set_protocol(self.upstream)

    async def _attach(self, resource: Resource) -> bytes:
        """Wake the resource and log in; return what the server said."""
        assert self.welcome is not None
        self.session = session = await self._lobby.gateway.open(resource)
        try:
            upstream = await connect(session.endpoint.path)
            try:
                said = await upstream.log_in(self.welcome.parameters, self.welcome.credential)
            except BaseException:
                upstream.close()
                raise
        except BaseException:
            self._give_back()
            raise
        self.upstream = upstream
        session.on_sleep(self._server_sleeps)
        self._lobby.lookup.woke(resource, session.endpoint.path)
        return said

    async def _doze(self) -> None:
        """Ask the idle session what it holds, and let the server sleep if it can."""
        upstream = self.upstream
        assert upstream is not None and self.welcome is not None
        try:
            state = await snapshot.take(upstream)
        except (OSError, WireError):
            self._task = None
            return
        movable = state is not None and state.movable(self.welcome.parameters["user"])
        self._snapshot = state if movable else None
        if state is not None and not state.needs_server and self.session is not None:
            self._dozing = True
            self.session.active(False)
        self._lobby.lively.discard(self)
        self._task = None
        if self._held:
            data = bytes(self._held)
            self._held.clear()
            self._wake_up(data)

    def _wake_up(self, data: bytes) -> None:
        """The client speaks while the session dozes or is being asked or moved."""
        if self._task is not None:
            self._held += data
            if len(self._held) > self._lobby.limits.held_bytes:
                self.transport.pause_reading()
        elif self.upstream is not None and self.session is not None:
            self.session.active(True)
            self._held += data
            self._resume(self.upstream)
        elif data[:1] == b"X":
            self.transport.close()
        else:
            self._held += data
            self._start(self._move())

    async def _move(self) -> None:
        """Give the session a new server session, set up like the old one."""
        assert self.welcome is not None and self._snapshot is not None
        try:
            async with asyncio.timeout(self._lobby.limits.wake_seconds):
                await self._attach(self.welcome.resource)
                assert self.upstream is not None
                await snapshot.put(self.upstream, self._snapshot)
        except Exception as error:
            refuse(self, error)
        else:
            assert self.upstream is not None
            self._resume(self.upstream)

    def _start(self, work: asyncio._CoroutineLike[None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)

    def _give_back(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.close()

    def _close_relay(self) -> None:
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close()

    def _leave(self) -> None:
        self._close_relay()
        self._lobby.forget(self, self.welcome.process if self.welcome else None)
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            with contextlib.suppress(OSError):
                upstream.close()
        self._give_back()
