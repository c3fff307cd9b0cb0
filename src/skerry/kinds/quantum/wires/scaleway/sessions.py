"""Sessions: a hold on a platform, with the times after which it ends. A twin needs none to be kept,
so that a session here runs from when it is asked for, and no job waits for another session.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, UNSUPPORTED
from skerry.kinds.quantum.contract import Job, Session
from skerry.kinds.quantum.desk import SESSION_SECONDS_MAX
from skerry.kinds.quantum.wires.frame import Call, Reply
from skerry.kinds.quantum.wires.scaleway import platforms
from skerry.kinds.quantum.wires.scaleway.names import WIRE, identity, moment

LOOKED_AT = 1000
"""How many of the newest sessions and jobs are counted and listed."""

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smh])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
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
    model_id: _Text | None = None


async def answer(call: Call, parts: tuple[str, ...]) -> Reply:
    """Answer one request about sessions."""
    match (call.method, *parts):
        case ("GET",):
            jobs = await call.desk.jobs((), LOOKED_AT)
            rows = [_told(call, each, jobs) for each in await call.desk.sessions(WIRE, LOOKED_AT)]
            return Reply({"total_count": len(rows), "sessions": rows})
        case ("POST",):
            return await _reply(call, await _create(call))
        case ("GET", name):
            return await _reply(call, await _find(call, name))
        case ("POST", name, "terminate"):
            await _find(call, name)
            return await _reply(call, await call.desk.close_session(name, cancel=True))
        case ("DELETE", name):
            await _find(call, name)
            await call.desk.close_session(name, cancel=True)
            return Reply(status=204)
        case ("GET", name, "acls"):
            await _find(call, name)
            return Reply({"total_count": 0, "acls": []})
    raise NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation on sessions.")


async def _create(call: Call) -> Session:
    asked = msgspec.convert(await call.json(), Asked)
    device = platforms.find(asked.platform_id)
    if asked.booking_demand is not None:
        raise UNSUPPORTED("A twin is always free: it cannot be booked.")
    whole = _seconds(asked.max_duration)
    _seconds(asked.max_idle_duration)
    if asked.deduplication_id:
        jobs = await call.desk.jobs((), LOOKED_AT)
        for each in await call.desk.sessions(WIRE, LOOKED_AT):
            known = _asked(each).deduplication_id == asked.deduplication_id
            if known and is_open(call, each, jobs):
                return each
    return await call.desk.open_session(
        device.id,
        seconds_max=max(1, min(int(whole or SESSION_SECONDS_MAX), SESSION_SECONDS_MAX)),
        native={"wire": WIRE, "asked": msgspec.to_builtins(asked)},
    )


def _asked(session: Session) -> Asked:
    return msgspec.convert(session.native["asked"], Asked)


def _seconds(text: str | None) -> float:
    """Return the seconds of a duration such as `2.5s`; 0 if there is none."""
    if not text:
        return 0.0
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise INVALID(f"A duration is written such as 60s, 20m or 2h, not {text[:40]!r}.")
    return float(match[1]) * _UNITS[match[2]]


async def _find(call: Call, session_id: str) -> Session:
    session = await call.desk.session(session_id)
    if session.native.get("wire") != WIRE:
        raise NOT_FOUND(f"The session {session_id[:60]} is none of Scaleway's.")
    return session


def is_open(call: Call, session: Session, jobs: list[Job]) -> bool:
    """Tell whether jobs may be sent to a session: it is not closed, and has not been idle."""
    idle = _seconds(_asked(session).max_idle_duration)
    own = [each for each in jobs if each.request.session == session.id]
    if not session.accepting or not idle or any(not each.over for each in own):
        return session.accepting
    used = max([session.created, *(each.updated for each in own)])
    return call.desk.context.clock.now() <= used + idle * 1e9


async def use(call: Call, session_id: str) -> Session:
    """Return a session that is open; raise CONFLICT for one that is not."""
    session = await _find(call, session_id)
    if not is_open(call, session, await call.desk.jobs((), LOOKED_AT)):
        raise CONFLICT(f"The session {session.id} is stopped.")
    return session


def model_of(session: Session) -> str:
    """Return the model that a session's jobs run where they name none, or nothing."""
    return _asked(session).model_id or ""


async def _reply(call: Call, session: Session) -> Reply:
    return Reply(_told(call, session, await call.desk.jobs((), LOOKED_AT)))


def _told(call: Call, session: Session, jobs: list[Job]) -> dict[str, Any]:
    own = [each for each in jobs if each.request.session == session.id]
    over = sum(each.over for each in own)
    asked = _asked(session)
    return {
        "id": session.id,
        "name": asked.name or "",
        "platform_id": identity("platform", session.device),
        "created_at": moment(session.created),
        "started_at": moment(session.created),
        "updated_at": moment(session.closed or session.created),
        "terminated_at": moment(session.closed),
        "max_duration": f"{session.seconds_max}s",
        "max_idle_duration": asked.max_idle_duration,
        "waiting_job_count": len(own) - over,
        "finished_job_count": over,
        "status": "running" if is_open(call, session, jobs) else "stopped",
        "project_id": asked.project_id,
        "model_id": asked.model_id,
        "deduplication_id": asked.deduplication_id or "",
        "origin_type": "customer",
    }
