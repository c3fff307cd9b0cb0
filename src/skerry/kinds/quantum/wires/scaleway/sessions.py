"""Sessions: a hold on a platform, with the times after which it ends. A twin needs none to be kept,
so that a session here runs from when it is asked for, and no job waits for another session.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, UNSUPPORTED
from skerry.kinds.quantum.contract import TERMINAL, Job
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.wires.frame import Call, Reply
from skerry.kinds.quantum.wires.scaleway import platforms
from skerry.kinds.quantum.wires.scaleway.names import WIRE, fresh, moment

SORT = "session"
SESSIONS_MAX = 1000
JOBS_LOOKED_AT = 1000
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_Text = Annotated[str, msgspec.Meta(max_length=200)]


class Asked(msgspec.Struct, frozen=True):
    """The body that makes a session."""

    platform_id: _Text
    name: _Text | None = None
    project_id: _Text = ""
    max_duration: _Text | None = None
    max_idle_duration: _Text | None = None
    deduplication_id: _Text | None = None
    booking_demand: Any = None


class Session(msgspec.Struct, frozen=True):
    """A session as it is kept; times in nanoseconds since 1970."""

    id: str
    asked: Asked
    created: int
    touched: int
    terminated: int = 0


_sessions = msgspec.json.Decoder(Session)


async def answer(call: Call, parts: tuple[str, ...]) -> Reply:
    """Answer one request about sessions."""
    match (call.method, *parts):
        case ("GET",):
            jobs = await call.desk.jobs((), JOBS_LOOKED_AT)
            rows = [_told(call, each, jobs) for each in await _all(call)]
            return Reply({"total_count": len(rows), "sessions": rows})
        case ("POST",):
            return await _reply(call, await _create(call))
        case ("GET", name):
            return await _reply(call, await find(call, name))
        case ("POST", name, "terminate"):
            return await _reply(call, await _end(call, await find(call, name)))
        case ("DELETE", name):
            await _end(call, await find(call, name))
            return Reply(status=204)
        case ("GET", name, "acls"):
            await find(call, name)
            return Reply({"total_count": 0, "acls": []})
    raise NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation on sessions.")


async def _all(call: Call) -> list[Session]:
    found = await call.desk.stored(Store.papers, WIRE, SORT)
    return [_sessions.decode(each) for each in found]


async def _keep(call: Call, session: Session) -> Session:
    data = msgspec.json.encode(session)
    await call.desk.stored(Store.keep_paper, WIRE, SORT, session.id, data, SESSIONS_MAX)
    return session


async def _create(call: Call) -> Session:
    asked = msgspec.convert(await call.json(), Asked)
    platforms.find(asked.platform_id)
    if asked.booking_demand is not None:
        raise UNSUPPORTED("A twin is always free: it cannot be booked.")
    for duration in (asked.max_duration, asked.max_idle_duration):
        _nanoseconds(duration)
    if asked.deduplication_id:
        for each in await _all(call):
            if each.asked.deduplication_id == asked.deduplication_id and is_open(call, each):
                return each
    now = call.desk.context.clock.now()
    return await _keep(call, Session(fresh(), asked, now, now))


def _nanoseconds(text: str | None) -> int:
    """Return a duration such as `2.5s`; 0 if there is none."""
    if not text:
        return 0
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise INVALID(f"A duration is written in seconds, such as 60s, not {text[:40]!r}.")
    return int(float(match[1]) * 1e9)


async def find(call: Call, session_id: str) -> Session:
    """Return a session; raise NOT_FOUND."""
    return _sessions.decode(await call.desk.stored(Store.paper, WIRE, SORT, session_id))


def is_open(call: Call, session: Session) -> bool:
    """Tell whether jobs may be sent to a session."""
    now = call.desk.context.clock.now()
    whole = _nanoseconds(session.asked.max_duration)
    idle = _nanoseconds(session.asked.max_idle_duration)
    return not (
        session.terminated
        or (whole and now > session.created + whole)
        or (idle and now > session.touched + idle)
    )


async def use(call: Call, session_id: str) -> Session:
    """Return a session that is open, and remember that it was used; raise CONFLICT."""
    session = await find(call, session_id)
    if not is_open(call, session):
        raise CONFLICT(f"The session {session.id} is stopped.")
    now = call.desk.context.clock.now()
    return await _keep(call, msgspec.structs.replace(session, touched=now))


async def _end(call: Call, session: Session) -> Session:
    """Stop a session and cancel what is open of it."""
    for job in await call.desk.jobs((), JOBS_LOOKED_AT):
        if job.request.session == session.id and job.state not in TERMINAL:
            await call.desk.cancel(job.id)
    now = call.desk.context.clock.now()
    return await _keep(call, msgspec.structs.replace(session, terminated=session.terminated or now))


async def _reply(call: Call, session: Session) -> Reply:
    return Reply(_told(call, session, await call.desk.jobs((), JOBS_LOOKED_AT)))


def _told(call: Call, session: Session, jobs: list[Job]) -> dict[str, Any]:
    own = [each for each in jobs if each.request.session == session.id]
    over = sum(each.over for each in own)
    asked = session.asked
    return {
        "id": session.id,
        "name": asked.name or "",
        "platform_id": asked.platform_id,
        "created_at": moment(session.created),
        "started_at": moment(session.created),
        "updated_at": moment(session.touched),
        "terminated_at": moment(session.terminated),
        "max_duration": asked.max_duration,
        "max_idle_duration": asked.max_idle_duration,
        "waiting_job_count": len(own) - over,
        "finished_job_count": over,
        "status": "running" if is_open(call, session) else "stopped",
        "project_id": asked.project_id,
        "deduplication_id": asked.deduplication_id or "",
        "origin_type": "customer",
    }
