"""Sessions on disk: which there are, and which still take jobs."""

from __future__ import annotations

import msgspec

from skerry.kernel.errors import BUSY, CONFLICT, NOT_FOUND
from skerry.kinds._shared.sqlite_state import writing
from skerry.kinds.quantum.contract import Job, JobRequest, JobState, Session
from skerry.kinds.quantum.store import Store

SESSIONS_MAX = 100_000
_SECOND = 1_000_000_000
_encoder = msgspec.json.Encoder()
_sessions = msgspec.json.Decoder(Session)


def add(store: Store, session: Session) -> Session:
    """Keep a new session, durably; raise BUSY beyond a bound, CONFLICT if its id is taken."""
    with writing(store.db) as db:
        if int(db.execute("SELECT count(*) FROM sessions").get or 0) >= SESSIONS_MAX:
            raise BUSY(f"{SESSIONS_MAX} sessions are kept already.")
        if db.execute("SELECT 1 FROM sessions WHERE id = ?", (session.id,)).get is not None:
            raise CONFLICT(f"There is a session {session.id} already.")
        db.execute("INSERT INTO sessions VALUES (?, ?)", (session.id, _encoder.encode(session)))
    return session


def get(store: Store, session_id: str) -> Session:
    """Return a session; raise NOT_FOUND."""
    found = store.db.execute("SELECT body FROM sessions WHERE id = ?", (session_id,)).get
    if found is None:
        raise NOT_FOUND(f"There is no session {session_id[:100]}.")
    return _sessions.decode(found)


def recent(store: Store, wire: str, limit: int) -> list[Session]:
    """Return the newest sessions of a wire, by what their `native` calls it."""
    sql = (
        "SELECT body FROM sessions WHERE json_extract(CAST(body AS TEXT), '$.native.wire') = ?"
        " ORDER BY json_extract(CAST(body AS TEXT), '$.created') DESC LIMIT ?"
    )
    return [_sessions.decode(body) for (body,) in store.db.execute(sql, (wire, limit))]


def is_dedicated(store: Store, session_id: str) -> bool:
    """Tell whether a session is there and dedicated."""
    found = store.db.execute("SELECT body FROM sessions WHERE id = ?", (session_id,)).get
    return found is not None and _sessions.decode(found).mode == "dedicated"


def waiting(store: Store, device: str) -> int:
    """Return how many jobs of dedicated sessions wait for a device."""
    queued = (JobState.QUEUED.value, device)
    sql = "SELECT body FROM jobs WHERE state = ? AND device = ?"
    waits = [msgspec.json.decode(body, type=Job) for (body,) in store.db.execute(sql, queued)]
    named = {each.request.session for each in waits if each.request.session}
    first = {each for each in named if is_dedicated(store, each)}
    return sum(each.request.session in first for each in waits)


def close(store: Store, session_id: str, now: int) -> Session:
    """Let a session take no more jobs, durably; one that is closed stays as it is."""
    with writing(store.db) as db:
        session = get(store, session_id)
        if not session.accepting:
            return session
        made = msgspec.structs.replace(session, accepting=False, closed=now)
        db.execute("UPDATE sessions SET body = ? WHERE id = ?", (_encoder.encode(made), session_id))
    return made


def is_open(session: Session, now: int) -> bool:
    """Tell whether a session takes jobs."""
    return session.accepting and now < session.created + session.seconds_max * _SECOND


def check(store: Store, request: JobRequest, now: int) -> None:
    """Raise NOT_FOUND or CONFLICT unless the session of a request takes it."""
    session = get(store, request.session)
    if session.device != request.device:
        raise CONFLICT(f"Session {session.id} is on {session.device}, not on {request.device}.")
    if not is_open(session, now):
        raise CONFLICT(f"Session {session.id} takes no more jobs.", hint="Open another session.")
