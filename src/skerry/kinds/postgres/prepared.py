"""Prepared statements of pooled clients: a client's names, and the names that servers know.

Every server session names a statement by its content, so that all clients of a pool share it, and a
client may find itself on a session that has not seen it yet.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from skerry.kinds._shared.pgwire import messages

PREFIX = b"skerry_"
NOTHING = PREFIX + b"nothing"
"""The name of no statement: closing it changes nothing, and is answered in its turn."""


def leaves_traces(sql: bytes) -> bool:
    """Tell whether SQL may change its session in a way that no command tag tells."""
    text = sql.lower()
    return b"temp" in text or b"set_config" in text or b"advisory" in text


class Statement:
    """A prepared statement; `tail` is what follows the name in its Parse message."""

    __slots__ = ("__weakref__", "name", "tail", "telling")

    def __init__(self, name: bytes, tail: bytes) -> None:
        self.name = name
        self.tail = tail
        self.telling = leaves_traces(tail)

    def parse(self) -> bytes:
        """Return the message that prepares it."""
        return messages.message(b"P", self.name + b"\x00" + self.tail)


class Statements:
    """The named statements of one pool, one for each content."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[bytes, Statement] = WeakValueDictionary()
        self._last = 0

    def named(self, tail: bytes) -> Statement:
        """Return the statement of that content."""
        found = self._known.get(tail)
        if found is None:
            self._last += 1
            found = self._known[tail] = Statement(PREFIX + b"%d" % self._last, tail)
        return found
