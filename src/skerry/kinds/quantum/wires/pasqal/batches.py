"""Batches: sessions of the neutral contract, each with a sequence that its jobs share."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, TOO_LARGE, SkerryError
from skerry.kinds.quantum.contract import Job, Session
from skerry.kinds.quantum.wires.frame import BODY_MAX, Call, Reply
from skerry.kinds.quantum.wires.pasqal import devices, jobs

JOBS_MAX = 200
PAGES_MAX = 20
_PAGE = 1000
_GZIP = 16 + zlib.MAX_WBITS


class Asked(msgspec.Struct, frozen=True):
    """The body of a batch."""

    project_id: str
    jobs: Annotated[tuple[jobs.Asked, ...], msgspec.Meta(max_length=JOBS_MAX)] = ()
    sequence_builder: str | None = None
    device_type: str | None = None
    open: bool = False
    tags: tuple[str, ...] | None = None


async def _body(call: Call) -> bytes:
    """Return the body, unzipped within bounds."""
    data = await call.body()
    if call.headers.get("content-encoding", "").lower() != "gzip":
        return data
    opener = zlib.decompressobj(_GZIP)
    try:
        found = opener.decompress(data, BODY_MAX)
    except zlib.error as error:
        raise INVALID("The body is not gzip.", why=str(error)) from error
    if opener.unconsumed_tail:
        raise TOO_LARGE(f"A request has at most {BODY_MAX >> 20} MiB.")
    if not opener.eof:
        raise INVALID("The body ends in the middle.")
    return found


async def create(call: Call) -> dict[str, Any]:
    """Open a batch and queue its jobs; nothing is kept if one of them is refused."""
    asked = msgspec.json.decode(await _body(call), type=Asked)
    name = asked.device_type or _named(asked.sequence_builder)
    device, _ = devices.find(name)
    if not asked.jobs and not asked.open:
        raise INVALID("A batch that is closed has jobs.")
    native = {
        "wire": jobs.WIRE,
        "project": asked.project_id,
        "sequence": asked.sequence_builder,
        "device_type": name,
        "tags": asked.tags,
    }
    await _checked(call, Session("", device.id, 0, native=native), asked.jobs)
    session = await call.desk.open_session(device.id, native=native)
    try:
        await _queue(call, session, asked.jobs)
    except SkerryError:
        await call.desk.close_session(session.id, cancel=True)
        raise
    if not asked.open:
        await call.desk.close_session(session.id)
    return await shown(call, session.id)


def _named(sequence: str | None) -> str:
    """Return the device that a sequence is for."""
    try:
        return str(msgspec.json.decode(sequence or "")["device"]["name"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise INVALID("The batch names no device_type, and its sequence no device.") from error


async def _checked(call: Call, session: Session, asked: tuple[jobs.Asked, ...]) -> None:
    """Raise what forbids one of some jobs, before any is kept."""
    for each in asked:
        await call.desk.plan(jobs.request(session, each))


async def _queue(call: Call, session: Session, asked: tuple[jobs.Asked, ...]) -> None:
    for each in asked:
        await call.desk.submit(jobs.request(session, each))


async def add(call: Call, batch: str) -> dict[str, Any]:
    """Queue more jobs of a batch that is open."""
    session = await _find(call, batch)
    asked = msgspec.json.decode(await _body(call), type=tuple[jobs.Asked, ...])
    if len(asked) + len(await _own(call, session)) > JOBS_MAX:
        raise TOO_LARGE(f"A batch has at most {JOBS_MAX} jobs.")
    await _checked(call, session, asked)
    await _queue(call, session, asked)
    return await shown(call, batch)


async def close(call: Call, batch: str, *, cancel: bool) -> dict[str, Any]:
    """Let a batch take no more jobs; `cancel` those that are not over."""
    session = await _find(call, batch)
    await call.desk.close_session(session.id, cancel=cancel)
    return await shown(call, batch)


async def _find(call: Call, batch: str) -> Session:
    session = await call.desk.session(batch)
    if session.native.get("wire") != jobs.WIRE:
        raise NOT_FOUND(f"The batch {batch[:60]} is none of Pasqal's.")
    return session


async def _own(call: Call, session: Session) -> list[Job]:
    """Return the jobs of a batch in the order of their making."""
    found: list[Job] = []
    before = ""
    for _ in range(PAGES_MAX):
        page = await call.desk.jobs((), _PAGE, before)
        found += [each for each in page if each.request.session == session.id]
        if len(page) < _PAGE or page[-1].created < session.created:
            break
        before = page[-1].id
    return found[::-1]


async def shown(call: Call, batch: str) -> dict[str, Any]:
    """Return a batch with its jobs."""
    session = await _find(call, batch)
    own = await _own(call, session)
    return _told(session, own) | {
        "sequence_builder": session.native["sequence"],
        "jobs": [jobs.told(call, each) for each in own],
    }


async def status(call: Call, batch: str) -> dict[str, Any]:
    """Return how far a batch is."""
    session = await _find(call, batch)
    told = _told(session, await _own(call, session))
    return {name: told[name] for name in ("id", "status", "jobs_count_per_status")}


async def listed(call: Call) -> Reply:
    """Return the newest batches."""
    sessions = await call.desk.sessions(jobs.WIRE, JOBS_MAX)
    told = [_told(each, await _own(call, each)) for each in sessions]
    return _page([each for each in told if _is_wanted(each, call)])


def _is_wanted(told: dict[str, Any], call: Call) -> bool:
    wanted = call.query.get("status", "")
    return wanted in ("", told["status"])


async def jobs_of(call: Call) -> Reply:
    """Return the jobs of a batch."""
    session = await _find(call, call.query.get("batch_id", ""))
    return _page([jobs.told(call, each) for each in await _own(call, session)])


def _page(found: list[Any]) -> Reply:
    pages = {"total": len(found), "start": 0, "end": len(found)}
    shape = {"status": "success", "message": "OK", "code": 200}
    return Reply({**shape, "data": found, "pagination": pages})


def _told(session: Session, own: list[Job]) -> dict[str, Any]:
    states = Counter(jobs.state(each) for each in own)
    native = session.native
    updated = max([session.created, session.closed, *(each.updated for each in own)])
    return {
        "id": session.id,
        "open": session.accepting,
        "complete": not session.accepting,
        "created_at": jobs.moment(session.created),
        "updated_at": jobs.moment(updated),
        "start_datetime": jobs.moment(
            min((each.started for each in own if each.started), default=0)
        ),
        "end_datetime": jobs.moment(updated) if _state(session, states) != "RUNNING" else None,
        "device_type": native["device_type"],
        "project_id": native["project"],
        "user_id": native["project"],
        "status": _state(session, states),
        "jobs_count": len(own),
        "jobs_count_per_status": dict(states),
        "tags": list(native["tags"] or ()),
    }


def _state(session: Session, states: Counter[str]) -> str:
    if states["RUNNING"]:
        return "RUNNING"
    if states["PENDING"] or session.accepting:
        return "PENDING"
    for name in ("ERROR", "DONE"):
        if states[name]:
            return name
    return "CANCELED"
