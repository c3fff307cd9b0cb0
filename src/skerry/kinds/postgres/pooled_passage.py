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
from functools import lru_cache

from skerry.kinds.postgres.answers import Answers, Expected, Fate
from skerry.kinds.postgres.lane import Passage
from skerry.kinds.postgres.pooler import ServerSession
from skerry.kinds.postgres.prepared import leaves_traces

_head = struct.Struct("!BI").unpack_from
_HEAD_BYTES = 5
_QUERY = ord("Q")
_DIGITS = b"0123456789"
_SHORT_BYTES = 1000
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
        super().__init__(client, session.upstream.transport, self._ask, self._answer)
        self._session = session
        self._waiting = session.pool.waiting
        self._answers = answers
        self._on_left = on_left
        self.questions = 0
        self.unread = b""

    def _ask(self, said: bytes) -> bool:
        if not is_plain_query(said):
            self.unread = said
            return True
        self.questions += 1
        self._session.unnamed = None
        self._answers.expect(_ANSWER)
        return False

    def _answer(self, said: bytes) -> bool:
        """What a session says unasked is for nobody, as it is in the pool."""
        answers = self._answers
        if answers.idle:
            return True
        if not answers.end_plainly(said):
            answers.note(said)
            if answers.telling or answers.failed or answers.forgotten:
                self.leaving.append(self)
        if self._waiting:
            self._make_room()
        return False

    def _make_room(self) -> None:
        if self._answers.idle:
            self.leaving.append(self)

    def left(self) -> None:
        """See `Passage`."""
        self._on_left(self)


def is_plain_query(said: bytes) -> bool:
    """Tell whether a client has said one simple query, whole, that leaves nothing behind."""
    size = len(said)
    if size <= _HEAD_BYTES or _head(said) != (_QUERY, size - 1):
        return False
    if size > _SHORT_BYTES:
        return not leaves_traces(said)
    # Questions that differ in their figures alone are one; a word that only then comes about is
    # taken for one that leaves traces.
    return not _leaves_traces(said.translate(None, _DIGITS))


_leaves_traces = lru_cache(maxsize=1024)(leaves_traces)
