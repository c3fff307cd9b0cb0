"""IonQ's sessions: a time, a number of jobs and a sum that jobs may take, whichever ends first."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND
from skerry.kinds.quantum.contract import Budget, Job, JobRequest, JobState, Session
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.wires.frame import Call, Reply
from skerry.kinds.quantum.wires.ionq import devices

PAGE_MAX = 1000
CURRENCY = "USD"
_USUAL_MINUTES = 60


async def answer(call: Call, parts: tuple[str, ...]) -> Reply:
    """Answer a request about sessions."""
    match (call.method, parts):
        case ("POST", ()):
            made = await _opened(call.desk, await call.json())
            return Reply(await _shown(call.desk, made.id))
        case ("GET", (number,)):
            return Reply(await _shown(call.desk, number))
        case ("POST", (number, "end")):
            await call.desk.close_session(number)
            return Reply(await _shown(call.desk, number))
    raise NOT_FOUND(f"{call.method} {call.path[:60]} is not served here.")


async def _opened(desk: Desk, body: dict[str, Any]) -> Session:
    settings = body.get("settings") or {}
    if not isinstance(settings, dict):
        raise INVALID("The settings of a session are an object.")
    minutes = _whole(settings, "duration_limit_min", _USUAL_MINUTES)
    backend = str(body.get("backend", ""))
    limits: dict[str, Any] = {"backend": backend}
    if settings.get("job_count_limit") is not None:
        limits["jobs"] = _whole(settings, "job_count_limit", 0)
    if settings.get("cost_limit") is not None:
        limits["cost"] = _amount(settings["cost_limit"])
    device = devices.find(backend)
    return await desk.open_session(
        device.id, mode="dedicated", seconds_max=minutes * 60, native=limits
    )


def _whole(settings: dict[str, Any], name: str, usual: int) -> int:
    """Return a limit; clients send numbers as texts too."""
    value = settings.get(name) or usual
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise INVALID(f"{name} is a whole number above 0.")
    return value


def _amount(limit: Any) -> str:
    """Return a sum of money in dollars."""
    if not isinstance(limit, dict) or str(limit.get("unit", "")).upper() != CURRENCY:
        raise INVALID("A session's cost_limit has a value, and the unit usd.")
    try:
        amount = Decimal(str(limit.get("value")))
    except InvalidOperation as error:
        raise INVALID("A session's cost_limit is a number.") from error
    if not amount.is_finite() or amount <= 0:
        raise INVALID("A session's cost_limit is above 0.")
    return str(amount)


async def _jobs(desk: Desk, session: str) -> list[Job]:
    return [job for job in await desk.jobs((), PAGE_MAX) if job.request.session == session]


async def within(desk: Desk, request: JobRequest) -> JobRequest:
    """Return a request with what its session leaves as its ceiling, or raise CONFLICT."""
    if not request.session:
        return request
    found = await desk.session(request.session)
    mine = await _jobs(desk, found.id)
    most, amount = found.native.get("jobs"), found.native.get("cost")
    if most is not None and len(mine) >= most:
        raise CONFLICT(f"The session takes {most} jobs, and has them.", hint="Open another.")
    if amount is None:
        return request
    spent = sum(job.cost.hardware or 0 for job in mine if job.cost is not None)
    left = Decimal(amount) - Decimal(spent) / 1_000_000
    if left <= 0:
        raise CONFLICT(f"The session's {amount} {CURRENCY} are used up.", hint="Open another.")
    return msgspec.structs.replace(request, budget=Budget(str(left), CURRENCY))


async def _shown(desk: Desk, number: str) -> dict[str, Any]:
    found = await desk.session(number)
    mine = await _jobs(desk, found.id)
    active = any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in mine)
    state = "started" if active else "created"
    settings: dict[str, Any] = {"duration_limit_min": found.seconds_max // 60}
    if "jobs" in found.native:
        settings["job_count_limit"] = found.native["jobs"]
    if "cost" in found.native:
        settings["cost_limit"] = {"unit": "usd", "value": float(found.native["cost"])}
    return {
        "id": found.id,
        "backend": found.native.get("backend", found.device),
        "created_at": moment(found.created),
        "ended_at": moment(found.closed) if found.closed else None,
        "active": found.accepting,
        "status": state if found.accepting else "ended",
        "state": state if found.accepting else "ended",
        "usage_time": sum(job.usage.get("engine_ms", 0) for job in mine) / 1000,
        "settings": settings,
    }


def moment(nanoseconds: int) -> str:
    """Return a moment as IonQ writes it."""
    found = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
