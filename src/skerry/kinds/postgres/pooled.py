"""A client of a `-pooler` endpoint: it has a server session for the time of a transaction only.

Messages are read one by one. Statement names are replaced by those of the pool, and a statement
that the session has not seen is prepared first; what the server answers to that is kept back. The
client keeps its session (is *pinned*) while that holds something of its own after a transaction: a
setting, LISTEN, an advisory lock, a temporary table, a statement made by SQL. Whether it does is
asked of the server (`snapshot`) after a command that may have done so.

A client that asks many simple queries in a row is put into the `lane`, session and all
(`pooled_passage`).
"""

from __future__ import annotations

import asyncio
import logging
import struct

from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds.postgres import prepared, snapshot, upstream
from skerry.kinds.postgres.answers import Answers, Expected, Fate
from skerry.kinds.postgres.handshake import Welcome
from skerry.kinds.postgres.lobby import Lobby
from skerry.kinds.postgres.pooled_passage import PooledPassage
from skerry.kinds.postgres.pooler import MAX_PREPARED, Pool, ServerSession, identity_of
from skerry.kinds.postgres.prepared import NOTHING, Statement
from skerry.kinds.postgres.refusal import hang_up, refuse
from skerry.kinds.postgres.stream import Stream

_head = struct.Struct("!BI").unpack_from
_HIGH_BYTES = 1 << 16
_MAX_MESSAGE_BYTES = 32 << 20
_MAX_STATEMENTS = 5000
_HOT_QUERIES = 100
_HOT_SECONDS = 0.5
_READ = frozenset(b"QPBDCFX")
_BATCH = frozenset(b"PBDCEH")
_BOUND = frozenset(b"BE")
_QUERY, _PARSE, _BIND, _DESCRIBE, _CLOSE, _SYNC, _FLUSH, _CALL, _EXIT = b"QPBDCSHFX"
_LOG = logging.getLogger("skerry.postgres.front")


class PooledClient(asyncio.Protocol):
    """One client; takes over its connection after the log-in."""

    def __init__(self, client: Stream, welcome: Welcome, pool: Pool, lobby: Lobby) -> None:
        self._client = client
        self.transport = client.transport
        self._lobby = lobby
        self._pool = pool
        self._welcome = welcome
        self._identity = identity_of(welcome.parameters)
        self._statements: dict[bytes, Statement] = {}
        self._input = bytearray(client.buffer)
        self._passing = 0
        self._batch = self._bound = False
        self._server: ServerSession | None = None
        self._answers = Answers()
        self._task: asyncio.Task[None] | None = None
        self._pinned = self._telling = self._paused = False
        self._passage: PooledPassage | None = None
        self._in_a_row = self._seen = 0
        self._row_began = 0.0

    def begin(self) -> None:
        """Serve from now on, beginning with what the client has sent already."""
        self.transport.set_protocol(self)
        if not self.transport.is_reading():
            self.transport.resume_reading()
        self._pump()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._input += data
        if self._task is None:
            self._pump()
        elif len(self._input) > _HIGH_BYTES:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`; a session in the middle of something is not used again."""
        self.let_go()
        if self._task is not None:
            self._task.cancel()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._client.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = True
        if self._server is not None:
            self._server.upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = False
        if self._server is not None:
            self._server.upstream.transport.resume_reading()

    def pause_server(self, paused: bool) -> None:
        """See `User`."""
        if not self._client.lost:
            (self.transport.pause_reading if paused else self.transport.resume_reading)()

    def server_lost(self) -> None:
        """See `User`; the server has said why."""
        self._server = None
        self.transport.close()

    def let_go(self) -> None:
        """See `User`: leave the lane, and the session with it if no transaction is open."""
        if self._passage is not None:
            self._lobby.lane.take_out(self._passage)

    def look(self) -> None:
        """See `Guest`: leave the lane after a while without a question."""
        if self._passage is not None:
            asked = self._passage.questions
            if asked == self._seen:
                self.let_go()
            self._seen = asked

    async def cancel(self, key: bytes) -> None:
        """Cancel what the client runs; its session is not lent again before that is done."""
        server = self._server
        if server is None or not self._welcome.matches(key):
            return
        server.cancels += 1
        try:
            of = server.upstream
            await upstream.cancel(server.held.endpoint.path, of.process, of.key)
        finally:
            server.cancels -= 1
            if server.released and not server.cancels:
                self._pool.release(server)

    def from_server(self, data: bytes) -> None:
        """See `User`."""
        server = self._server
        assert server is not None
        answers = self._answers
        said = answers.read(data)
        if said:
            self.transport.write(said)
        self._heed(server)

    def _heed(self, server: ServerSession) -> None:
        """Do what follows from the answers that were read last."""
        answers = self._answers
        for failed in answers.failed:
            self._unprepare(server, failed)
        if answers.forgotten:
            server.forget_statements()
            self._statements.clear()
        if answers.idle and not self._batch and self._task is None:
            self._done(server, answers.telling or self._telling)

    def _done(self, server: ServerSession, telling: bool) -> None:
        """The transaction is over and nothing is outstanding."""
        self._answers.telling = self._telling = False
        if telling:
            self._start(self._examine(server))
        elif not self._pinned:
            if self._is_hot():
                # What has been written in this turn of the loop is sent at its end.
                asyncio.get_running_loop().call_soon(self._enter_lane, server)
            else:
                self._leave(server)

    def _is_hot(self) -> bool:
        """Tell whether many simple queries have come in a row, and fast."""
        if self._in_a_row < _HOT_QUERIES or self._pool.waiting:
            return False
        if asyncio.get_running_loop().time() - self._row_began > _HOT_SECONDS:
            self._in_a_row = 0
        return self._in_a_row > 0

    def _enter_lane(self, server: ServerSession) -> None:
        if self._server is not server or self._passage is not None:
            return
        working = self._task is not None or self._batch or self._paused or self._pinned
        halfway = self._input or self._passing or self._telling or self._answers.telling
        ends = (self.transport, server.upstream.transport)
        if not (working or halfway or self._pool.waiting) and self._lobby.lane.bears(*ends):
            passage = PooledPassage(self.transport, server, self._answers, self._left_lane)
            self._passage = passage
            self._in_a_row = self._seen = 0
            self._lobby.lively.add(self)
            self._lobby.lane.put_in(passage)
        elif self._answers.idle and not working:
            self._leave(server)

    def _left_lane(self, passage: PooledPassage) -> None:
        self._passage = None
        self._lobby.lively.discard(self)
        server = self._server
        if server is None:
            return
        if passage.server_gone and self._answers.idle:
            self._server = None
            server.close()
        else:
            self._heed(server)
        if passage.unread:
            self.data_received(passage.unread)

    def _unprepare(self, server: ServerSession, failed: Expected) -> None:
        if failed.statement is not None:
            server.prepared.pop(failed.statement, None)
            if server.unnamed is failed.statement:
                server.unnamed = None
        if failed.name is not None:
            self._statements.pop(failed.name, None)

    def _leave(self, server: ServerSession) -> None:
        self._server = None
        if self._paused:
            server.upstream.transport.resume_reading()
        if not (self.transport.is_reading() or self.transport.is_closing()):
            self.transport.resume_reading()
        self._pool.release(server)

    def _pump(self) -> None:
        """Send what has come to the server, message by message, with a session to send it to."""
        position = min(self._passing, len(self._input))
        self._passing -= position
        out = self._input[:position]
        try:
            while (end := self._message(position)) and self._ready(position):
                position = self._take(position, end, out)
        except WireError as error:
            hang_up(self._client, error)
            return
        del self._input[:position]
        if out and self._server is not None:
            self._server.upstream.transport.write(bytes(out))

    def _message(self, position: int) -> int:
        """Return where the next message ends, or 0 if it has to be read whole and is not here."""
        if len(self._input) - position < 5:
            return 0
        kind, length = _head(self._input, position)
        end: int = position + 1 + length
        if length < 4 or (kind in _READ and length > _MAX_MESSAGE_BYTES):
            raise WireError("08P01", f"invalid message length {length} for the pooler")
        return 0 if kind in _READ and end > len(self._input) else end

    def _ready(self, position: int) -> bool:
        """Tell whether the next message can be handled; take a session for it if it cannot."""
        if self._server is not None:
            return True
        if self._input[position] == _EXIT:
            self.transport.close()
        elif self._task is None:
            server = self._pool.take_idle(self._identity)
            if server is not None:
                self._join(server)
                return True
            self._start(self._attach())
        return False

    def _take(self, position: int, end: int, out: bytearray) -> int:
        """Handle the message that begins at `position`; return where the next one begins.

        A client that prepares and flushes may think for long before it goes on; outside of a
        transaction its Flush is made a Sync, so that it does not keep the session meanwhile.
        """
        assert self._server is not None
        kind = self._input[position]
        if kind == _SYNC:
            self._batch = self._bound = False
            self._answers.expect(Expected(Fate.SYNC))
        elif kind == _FLUSH and not self._bound and not self._answers.open:
            self._batch = False
            self._answers.expect(Expected(Fate.FLUSH))
            out += messages.SYNC
            return end
        elif kind in _BATCH:
            self._batch = True
            self._in_a_row = 0
            self._bound = self._bound or kind in _BOUND
        if kind not in _READ:
            here = min(end, len(self._input))
            self._passing = end - here
            out += self._input[position:here]
            return here
        body = bytes(self._input[position + 5 : end])
        if kind == _PARSE:
            out += self._parse(self._server, body)
        elif kind == _BIND:
            portal, _, rest = body.partition(b"\x00")
            name, _, rest = rest.partition(b"\x00")
            known = self._know(self._server, name, out)
            out += messages.message(b"B", portal + b"\x00" + known + b"\x00" + rest)
        elif kind in (_DESCRIBE, _CLOSE) and body[:1] == b"S":
            out += self._about(self._server, kind, body[1:].rstrip(b"\x00"), out)
        else:
            self._other(self._server, kind, body)
            out += self._input[position:end]
        return end

    def _other(self, server: ServerSession, kind: int, body: bytes) -> None:
        if kind in (_QUERY, _CALL):
            self._answers.expect(Expected(Fate.QUERY))
            if kind == _QUERY:
                if not self._in_a_row:
                    self._row_began = asyncio.get_running_loop().time()
                self._in_a_row += 1
                server.unnamed = None
                self._telling = self._telling or prepared.leaves_traces(body)
        elif kind == _CLOSE:
            self._answers.expect(Expected(Fate.PASS))
        elif kind == _EXIT:
            self.transport.close()

    def _parse(self, server: ServerSession, body: bytes) -> bytes:
        name, _, tail = body.partition(b"\x00")
        if not name:
            statement = self._statements[name] = server.unnamed = Statement(b"", tail)
            self._answers.expect(Expected(Fate.PASS, statement, name))
            return statement.parse()
        if name in self._statements:
            shown = name.decode("utf-8", "replace")
            raise WireError("42P05", f'prepared statement "{shown}" already exists')
        if len(self._statements) >= _MAX_STATEMENTS:
            raise WireError("54000", "too many prepared statements for one pooled connection")
        statement = self._statements[name] = self._pool.statements.named(tail)
        if statement in server.prepared:
            self._answers.expect(Expected(Fate.AS_PARSED, None, name))
            return messages.message(b"C", b"S" + NOTHING + b"\x00")
        server.prepared[statement] = None
        room = self._evict(server)
        self._answers.expect(Expected(Fate.PASS, statement, name))
        return room + statement.parse()

    def _know(self, server: ServerSession, name: bytes, out: bytearray) -> bytes:
        """Return the pool's name of a statement, preparing it first if the session lacks it."""
        statement = self._statements.get(name)
        if statement is None:
            return NOTHING if name.startswith(prepared.PREFIX) else name
        self._telling = self._telling or statement.telling
        if not name:
            if server.unnamed is statement:
                return name
            server.unnamed = statement
        elif statement in server.prepared:
            server.prepared.move_to_end(statement)
            return statement.name
        else:
            server.prepared[statement] = None
            out += self._evict(server)
        self._answers.expect(Expected(Fate.DROP, statement))
        out += statement.parse()
        return statement.name

    def _about(self, server: ServerSession, kind: int, name: bytes, out: bytearray) -> bytes:
        """Describe or close a statement; a named one stays prepared for others."""
        if kind == _DESCRIBE:
            return messages.message(b"D", b"S" + self._know(server, name, out) + b"\x00")
        self._statements.pop(name, None)
        self._answers.expect(Expected(Fate.PASS))
        if not name:
            server.unnamed = None
        return messages.message(b"C", b"S" + (name and NOTHING) + b"\x00")

    def _evict(self, server: ServerSession) -> bytes:
        if len(server.prepared) <= MAX_PREPARED:
            return b""
        oldest, _ = server.prepared.popitem(last=False)
        self._answers.expect(Expected(Fate.DROP))
        return messages.message(b"C", b"S" + oldest.name + b"\x00")

    async def _attach(self) -> None:
        """Take a session for the transaction that begins."""
        try:
            server = await self._pool.take(self._identity, self._welcome.credential)
        except Exception as error:
            self._task = None
            refuse(self._client, error)
            return
        self._join(server)
        self._go_on()

    def _join(self, server: ServerSession) -> None:
        self._server = server
        if not self._answers.settled:
            self._answers = Answers()
        server.user = self
        if self._paused:
            server.upstream.transport.pause_reading()

    async def _examine(self, server: ServerSession) -> None:
        """Ask the idle session whether it holds something of the client's; pin it if so."""
        server.upstream.transport.set_protocol(server.upstream)
        try:
            state = await snapshot.take(server.upstream)
        except (OSError, WireError) as error:
            _LOG.info("a pooled session was not examined: %r", error)
            self._task = None
            self.transport.close()
            return
        server.upstream.transport.set_protocol(server)
        self._pinned = state is None or not state.empty(self._welcome.parameters["user"])
        self._task = None
        if not self._pinned:
            self._leave(server)
        self._go_on()

    def _go_on(self) -> None:
        self._task = None
        if not self.transport.is_reading():
            self.transport.resume_reading()
        self._pump()

    def _start(self, work: asyncio._CoroutineLike[None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)
