"""A pooled client in the lane, with a server session that it keeps between its transactions.

A transaction must not cost more than the relay of its bytes, so a hot client is not parted from its
session after each; as soon as another one waits for a session, the client leaves the lane between
two transactions, and the pool has the session back. In the lane are only simple queries that leave
no traces, which is all that the answers have to be read for.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from skerry.kinds.postgres.answers import Answers, Expected, Fate
from skerry.kinds.postgres.lane import Passage, send
from skerry.kinds.postgres.pooler import ServerSession
from skerry.kinds.postgres.prepared import leaves_traces

_head = struct.Struct("!BI").unpack_from
_HEAD_BYTES = 5
_QUERY = ord("Q")
_ANSWER = Expected(Fate.QUERY)


class PooledPassage(Passage):
    """A pooled client and its session; `answers` is what the client shares with the loop's code.

    `questions` counts what was asked; `unread` is what the client said and the lane does not pass.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        session: ServerSession,
        answers: Answers,
        on_left: Callable[[PooledPassage], None],
    ) -> None:
        super().__init__(client, session.upstream.transport)
        self._session = session
        self._waiting = session.pool.waiting
        self._answers = answers
        self._on_left = on_left
        self._from_client, self._to_client = self.client.socket.recv_into, self.client.socket.send
        self._from_server, self._to_server = self.server.socket.recv_into, self.server.socket.send
        self.questions = 0
        self.unread = b""

    def forth(self, room: memoryview) -> bool:
        """See `Passage`."""
        said = bytes(room[: self._from_client(room)])
        if len(said) == len(room) or not is_plain_query(said):
            self.unread = said
            return False
        self.questions += 1
        self._session.unnamed = None
        self._answers.expect(_ANSWER)
        return send(self.server, self._to_server, said)

    def back(self, room: memoryview) -> bool:
        """See `Passage`; what a session says unasked is for nobody, as it is in the pool."""
        while size := self._from_server(room):
            if self._answers.idle or not self._pass_on(bytes(room[:size])):
                return False
            if size < len(room):
                return True
        return False

    def _pass_on(self, said: bytes) -> bool:
        answers = self._answers
        if answers.end_plainly(said):
            return send(self.client, self._to_client, said) and not (self._waiting and answers.idle)
        if not send(self.client, self._to_client, answers.read(said)):
            return False
        if answers.telling or answers.failed or answers.forgotten:
            return False
        return not (self._waiting and answers.idle)

    def left(self) -> None:
        """See `Passage`."""
        self._on_left(self)


def is_plain_query(said: bytes) -> bool:
    """Tell whether a client has said one simple query, whole, that leaves nothing behind."""
    size = len(said)
    return size > _HEAD_BYTES and _head(said) == (_QUERY, size - 1) and not leaves_traces(said)
