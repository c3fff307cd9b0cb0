"""What a session has set up for itself, so that it can be set up again after the server slept.

The session itself is asked while it is idle. What cannot be had again (an advisory lock, a
temporary table, a cursor that outlives its transaction) keeps it from being moved, and LISTEN keeps
the server awake.
"""

from __future__ import annotations

import msgspec

from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds.postgres.upstream import Upstream

_QUESTION = messages.query("""
SELECT pg_catalog.json_build_object(
 'listening', EXISTS (SELECT FROM pg_catalog.pg_listening_channels()),
 'locking', EXISTS (SELECT FROM pg_catalog.pg_locks
                    WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'advisory'),
 'bound', pg_catalog.pg_my_temp_schema() <> 0
          OR EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable),
 'role', pg_catalog.current_setting('role'),
 'authorization', session_user,
 'settings', (SELECT pg_catalog.json_object_agg(name, setting)
              FROM pg_catalog.pg_settings WHERE source = 'session'),
 'statements', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                    name, statement, parameter_types::pg_catalog.oid[]::pg_catalog.int8[], from_sql)
                    ORDER BY prepare_time)
                FROM pg_catalog.pg_prepared_statements))::pg_catalog.text""")


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """A prepared statement."""

    name: str
    sql: str
    types: list[int]
    from_sql: bool


class Snapshot(msgspec.Struct, frozen=True):
    """The state of an idle session."""

    listening: bool
    locking: bool
    bound: bool
    role: str
    authorization: str
    settings: dict[str, str] | None
    statements: list[Statement] | None

    @property
    def needs_server(self) -> bool:
        """Whether the server must stay awake for it."""
        return self.listening or self.locking

    def empty(self, user: str) -> bool:
        """Tell whether it is as it was when it began, but for statements made by messages."""
        made = self.settings or any(each.from_sql for each in self.statements or ())
        return self.movable(user) and not made and self.role == "none"

    def movable(self, user: str) -> bool:
        """Tell whether another connection can take the session's place."""
        return not (self.needs_server or self.bound) and self.authorization == user


async def take(upstream: Upstream) -> Snapshot | None:
    """Ask an idle session for its state; None if it does not say so plainly."""
    answer = await upstream.ask(_QUESTION)
    rows = [body for kind, body in answer if kind == b"D"]
    if len(rows) != 1:
        return None
    try:
        text = messages.row(rows[0])[0]
        return msgspec.json.decode(text or "", type=Snapshot)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return None


async def put(upstream: Upstream, snapshot: Snapshot) -> None:
    """Set a new session up like the old one; raise WireError if the server does not let us."""
    requests = [_set(name, value) for name, value in (snapshot.settings or {}).items()]
    if snapshot.role != "none":
        requests.append(messages.query(f"SET ROLE {messages.literal(snapshot.role)}"))
    for each in snapshot.statements or []:
        prepare = messages.parse_statement(each.name, each.sql, each.types) + messages.SYNC
        requests.append(messages.query(each.sql) if each.from_sql else prepare)
    for request in requests:
        for kind, body in await upstream.ask(request):
            if kind == b"E":
                reason = messages.parse_error(body).get("M", "")
                raise WireError("57P01", "the session could not be resumed after a sleep", reason)


def _set(name: str, value: str) -> bytes:
    arguments = f"{messages.literal(name)},{messages.literal(value)}"
    return messages.query(f"SELECT pg_catalog.set_config({arguments}, false)")
