"""Sessions as Azure's API shows them: jobs on one target, with a policy for those that fail.

A session that has had no job for ten minutes is over.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any, Literal

import msgspec

from skerry.kernel.errors import CONFLICT, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kinds.quantum.contract import Job, JobState, Session
from skerry.kinds.quantum.wires.azure import names, targets
from skerry.kinds.quantum.wires.azure.filters import Item
from skerry.kinds.quantum.wires.frame import Call

IDLE_SECONDS = 600
LISTED_MAX = 1000
OPEN = ("Waiting", "Executing")
_FAILURES = (JobState.FAILED, JobState.PARTIAL)


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a new session."""

    provider_id: str
    target: str
    name: str = ""
    job_failure_policy: Literal["Abort", "Continue"] | None = None
    tags: tuple[str, ...] | None = None
    priority: str | None = None


async def open_one(call: Call, session_id: str) -> Session:
    """Open a session, or return the one that is open already."""
    asked = msgspec.convert(await call.json(), Asked)
    if asked.priority not in (None, "Standard"):
        raise UNSUPPORTED(f"There is no priority {asked.priority[:20]!r}.")
    target = targets.find(asked.target, asked.provider_id)
    native = {
        "wire": names.WIRE,
        "name": names.shown(asked.name),
        "provider": asked.provider_id,
        "target": target.name,
        "policy": asked.job_failure_policy or "Abort",
        "tags": list(asked.tags or ())[:50],
    }
    wanted = names.identity(session_id)
    try:
        made = await call.desk.open_session(target.device.id, native=native, id=wanted)
    except SkerryError as error:
        if error.problem is not CONFLICT:
            raise
        made = await find(call, wanted)
        if made.native != native:
            raise
    return made


async def find(call: Call, session_id: str) -> Session:
    """Return a session of this wire; raise NOT_FOUND."""
    found = await call.desk.session(names.identity(session_id))
    if found.native.get("wire") != names.WIRE:
        raise NOT_FOUND(f"There is no session {session_id[:60]}.")
    return found


def check(call: Call, session: Session, target: targets.Target, own: list[Job]) -> None:
    """Raise CONFLICT unless a session, with the jobs that it has, takes one for a target."""
    if session.native["target"] != target.name:
        raise CONFLICT(f"The session is on {session.native['target']}, not on {target.name}.")
    now = status(call, session, own)
    if now not in OPEN:
        raise CONFLICT(f"The session {session.id} is {now}; it takes no more jobs.")


async def every(call: Call) -> list[Session]:
    """Return the newest sessions of this wire."""
    return await call.desk.sessions(names.WIRE, LISTED_MAX)


def grouped(every: list[Job]) -> defaultdict[str, list[Job]]:
    """Return jobs by the session that they are of."""
    found: defaultdict[str, list[Job]] = defaultdict(list)
    for each in every:
        found[each.request.session].append(each)
    return found


def status(call: Call, session: Session, own: list[Job]) -> str:
    """Return what Azure calls the state of a session that has some jobs."""
    failed = any(each.state in _FAILURES for each in own)
    if failed and session.native["policy"] == "Abort":
        return "Failed"
    if session.closed:
        return "Failure(s)" if failed else "Succeeded"
    is_idle = all(each.over for each in own)
    used = max([session.created, *(each.updated for each in own)])
    if not session.accepting or (
        is_idle and call.desk.context.clock.now() > used + IDLE_SECONDS * 10**9
    ):
        return "TimedOut"
    return "Executing" if own else "Waiting"


def item(call: Call, session: Session, own: list[Job]) -> Item:
    """Return a session for a listing."""
    native = session.native
    fields = {
        "name": native["name"],
        "itemType": "Session",
        "providerId": native["provider"],
        "target": native["target"],
        "status": status(call, session, own),
        "creationTime": names.moment(session.created),
    }
    return Item(fields, partial(told, call, session, own))


def told(call: Call, session: Session, own: list[Job]) -> dict[str, Any]:
    """Return a session with the jobs that it has in Azure's shape."""
    native = session.native
    state = status(call, session, own)
    begun = min((each.started for each in own if each.started), default=0)
    updated = max([session.created, session.closed, *(each.updated for each in own)])
    return {
        "id": session.id,
        "name": native["name"],
        "itemType": "Session",
        "providerId": native["provider"],
        "target": native["target"],
        "status": state,
        "jobFailurePolicy": native["policy"],
        "creationTime": names.moment(session.created),
        "lastUpdatedTime": names.moment(updated),
        "beginExecutionTime": names.moment(begun),
        "endExecutionTime": None if state in OPEN else names.moment(updated),
        "createdByType": "Key",
        "priority": "Standard",
        "tags": native["tags"],
    }
