"""Which call a request is: below `…/azure` those of a workspace, below `/azure-<id>-…` its blobs.

A workspace is `/subscriptions/{id}/resourceGroups/{name}/providers/Microsoft.Quantum/
workspaces/{name}`; whatever these are called, the key names the resource. In it:

    GET  /jobs, /sessions, /sessions/{id}/jobs, /topLevelItems, /quotas, /providerStatus
    PUT, GET, PATCH, DELETE /jobs/{id}                 POST /jobs/{id}:cancel
    PUT, GET /sessions/{id}                            POST /sessions/{id}:close
    POST /storage/sasUri
    POST /{tenant}/oauth2/v2.0/token                   the resource's token for its own

Source: azure-quantum 3.13, API version 2026-01-15-preview.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, SkerryError
from skerry.kinds.quantum.contract import TERMINAL, Job, Session
from skerry.kinds.quantum.store import OPEN_JOBS_MAX
from skerry.kinds.quantum.wires.azure import (
    estimates,
    filters,
    jobs,
    names,
    sessions,
    signing,
    storage,
    targets,
)
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor
from skerry.kinds.quantum.wires.names import STORE

KEY = "x-ms-quantum-api-key"
TOKEN_SECONDS = 3600
_CODES = {
    "INVALID": (400, "InvalidRequest"),
    "NOT_FOUND": (404, "ResourceNotFound"),
    "UNAUTHENTICATED": (401, "Unauthorized"),
    "DENIED": (403, "Forbidden"),
    "CONFLICT": (409, "Conflict"),
    "ALREADY_EXISTS": (409, "Conflict"),
    "UNSUPPORTED": (400, "NotSupported"),
    "EXTRA_MISSING": (400, "NotSupported"),
    "TOO_LARGE": (413, "RequestBodyTooLarge"),
    "BUSY": (429, "TooManyRequests"),
    # Clients send again for minutes what a server's own failure answers; these would fail again.
    "TIMED_OUT": (400, "OperationTimedOut"),
    "ENGINE_FAILED": (400, "EngineFailed"),
}
_TOKEN_BYTES_MAX = 16 << 10


class _Blob(msgspec.Struct, frozen=True, rename="camel"):
    """Which container or blob an address is wanted of."""

    container_name: str
    blob_name: str | None = None


async def answer(call: Call) -> Reply:
    """Answer one request."""
    if STORE.fullmatch(call.parts[0]):
        return await storage.answer(call)
    match (call.method, *call.parts):
        case ("POST", _, "oauth2", "v2.0", "token"):
            return await _token(call)
    call.authenticate(call.headers.get(KEY) or call.bearer())
    lower = tuple(each.lower() for each in call.parts)
    match lower:
        case ("subscriptions", _, "resourcegroups", _, "providers", "microsoft.quantum", *rest):
            if len(rest) >= 2 and rest[0] == "workspaces":
                return await _workspace(call, list(call.parts[8:]))
    raise _nothing(call)


async def _workspace(call: Call, parts: list[str]) -> Reply:
    match (call.method, *parts):
        case ("GET", "providerStatus"):
            return Reply(await targets.statuses(call))
        case ("GET", "quotas" | "quotaUsages"):
            return Reply(await _quotas(call))
        case ("POST", "storage", "sasUri"):
            return Reply(await _address(call))
        case ("GET", "topLevelItems"):
            return Reply(await _top_level(call))
        case (_, "jobs", *rest):
            return await _jobs(call, rest)
        case (_, "sessions", *rest):
            return await _sessions(call, rest)
    raise _nothing(call)


async def _jobs(call: Call, rest: list[str]) -> Reply:
    match (call.method, rest):
        case ("GET", []):
            return Reply(filters.page(call, await _items(call, await jobs.every(call))))
        case ("PUT", [job]):
            asked = msgspec.convert(await call.json(), jobs.Asked)
            if asked.target.lower() == targets.ESTIMATOR:
                return await estimates.create(call, job, asked)
            return await jobs.create(call, job, asked)
        case ("GET", [job]):
            estimate = await estimates.find(call, job)
            if estimate is not None:
                return Reply(estimates.told(call, estimate))
            return Reply(jobs.told(call, await jobs.find(call, job)))
        case ("PATCH", [job]):
            return await jobs.change(call, job)
        case ("DELETE", [job]):
            if await estimates.find(call, job) is not None:
                return await estimates.delete(call, job)
            return await jobs.delete(call, job)
        case ("POST", [text]) if text.endswith(":cancel"):
            return await jobs.cancel(call, text.removesuffix(":cancel"))
    raise _nothing(call)


async def _sessions(call: Call, rest: list[str]) -> Reply:
    match (call.method, rest):
        case ("GET", []):
            return Reply(filters.page(call, await _session_items(call)))
        case ("PUT", [name]):
            session = await sessions.open_one(call, name)
            return Reply(sessions.told(call, session, await _own(call, session)), 201)
        case ("GET", [name]):
            session = await sessions.find(call, name)
            return Reply(sessions.told(call, session, await _own(call, session)))
        case ("GET", [name, "jobs"]):
            own = await _own(call, await sessions.find(call, name))
            return Reply(filters.page(call, [jobs.item(call, each) for each in own]))
        case ("POST", [text]) if text.endswith(":close"):
            session = await sessions.find(call, text.removesuffix(":close"))
            session = await call.desk.close_session(session.id)
            return Reply(sessions.told(call, session, await _own(call, session)))
    raise _nothing(call)


async def _own(call: Call, session: Session) -> list[Job]:
    """Return the jobs of a session."""
    return sessions.grouped(await jobs.every(call, session.created))[session.id]


async def _session_items(call: Call) -> list[filters.Item]:
    found = await sessions.every(call)
    since = min((each.created for each in found), default=0)
    own = sessions.grouped(await jobs.every(call, since)) if found else defaultdict(list)
    return [sessions.item(call, each, own[each.id]) for each in found]


async def _items(call: Call, own: list[Job]) -> list[filters.Item]:
    """Return jobs and estimates, the newest first."""
    items = [jobs.item(call, each) for each in own]
    return _sorted([*items, *(estimates.item(call, each) for each in await estimates.every(call))])


def _sorted(items: list[filters.Item]) -> list[filters.Item]:
    return sorted(items, key=lambda each: str(each.fields["creationTime"]), reverse=True)


async def _top_level(call: Call) -> dict[str, Any]:
    """Return sessions, and the jobs that belong to none."""
    alone = [each for each in await jobs.every(call) if not each.request.session]
    return filters.page(call, _sorted([*await _items(call, alone), *await _session_items(call)]))


async def _address(call: Call) -> dict[str, Any]:
    """Return the signed address of a container, or of one blob, which it opens for reading."""
    asked = msgspec.convert(await call.json(), _Blob)
    context, container = call.desk.context, names.container(asked.container_name)
    if not asked.blob_name:
        return {"sasUri": signing.link(context, call.root, container)}
    blob = names.blob(asked.blob_name)
    return {"sasUri": signing.link(context, call.root, container, blob, signing.READ)}


async def _quotas(call: Call) -> dict[str, Any]:
    """Return how many jobs may wait; the bound is one for all providers together."""
    counts: dict[str, int] = {}
    for job in await jobs.every(call):
        if job.state not in TERMINAL:
            provider = str(job.request.native["provider"]).lower()
            counts[provider] = counts.get(provider, 0) + 1
    rows = [
        {
            "dimension": "open-jobs",
            "scope": "Workspace",
            "providerId": provider,
            "utilization": counts.get(provider, 0),
            "holds": 0,
            "limit": OPEN_JOBS_MAX,
            "period": "None",
        }
        for provider in targets.MAKERS
    ]
    return {"value": rows}


async def _token(call: Call) -> Reply:
    """Return the resource's token to who presents it as a client's secret."""
    form = dict(parse_qsl((await call.body(_TOKEN_BYTES_MAX)).decode("utf-8", "replace")))
    if form.get("grant_type") != "client_credentials":
        raise INVALID("Only the grant client_credentials is given here.")
    call.authenticate(form.get("client_secret", ""))
    granted = {"token_type": "Bearer", "expires_in": TOKEN_SECONDS}
    return Reply({**granted, "access_token": form["client_secret"]})


def _nothing(call: Call) -> SkerryError:
    return NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of Azure Quantum here.")


def refuse(call: Call, error: SkerryError) -> Reply:
    """Tell a failure as Azure does, with its own shape for blobs."""
    if STORE.fullmatch(call.parts[0]):
        return storage.refuse(call, error)
    status, code = _CODES.get(error.code, (error.problem.http, "InternalServerError"))
    message = " ".join(part for part in (error.what, error.why, error.hint) if part)
    return Reply({"error": {"code": code, "message": message}}, status, {"x-ms-error-code": code})


WIRE = Vendor("azure", answer, refuse)
"""The wire of Azure Quantum."""
