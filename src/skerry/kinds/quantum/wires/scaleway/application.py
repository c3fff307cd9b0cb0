"""Which call a request is, below `/qaas/v1alpha1`.

    GET  platforms, platforms/{id}       GET, POST sessions    GET, DELETE sessions/{id}
    POST sessions/{id}/terminate         POST models           GET models/{id}
    GET, POST jobs                       GET jobs/{id}         GET jobs/{id}/results
    POST jobs/{id}/cancel                GET applications, bookings, processes (there are none)

GET payloads/{id} at the node, at an address that a model is told with, needs no token.
Source: scaleway-qaas-client 0.1.24, qio 0.2.8, pulser-scaleway 0.1.10, and Perceval 1.3.1.
"""

from __future__ import annotations

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor
from skerry.kinds.quantum.wires.scaleway import jobs, models, platforms, sessions

_TYPES = {
    "NOT_FOUND": "not_found",
    "INVALID": "invalid_arguments",
    "UNSUPPORTED": "invalid_arguments",
    "TOO_LARGE": "invalid_arguments",
    "UNAUTHENTICATED": "denied_authentication",
    "DENIED": "permissions_denied",
    "CONFLICT": "precondition_failed",
    "BUSY": "too_many_requests",
}
_NONE = ("applications", "bookings", "processes")


async def answer(call: Call) -> Reply:
    """Answer one request of the client."""
    if call.method == "GET" and len(call.parts) == 2 and call.parts[0] == "payloads":
        return await models.payload(call, call.parts[1])
    call.authenticate(call.headers.get("x-auth-token", ""))
    if call.parts[:2] != ("qaas", "v1alpha1"):
        raise _nothing(call)
    noun, *rest = call.parts[2:] or ("",)
    match (noun, call.method, *rest):
        case ("platforms", "GET"):
            return Reply(platforms.listed(call.query))
        case ("platforms", "GET", name):
            return Reply(platforms.told(platforms.find(name)))
        case ("models", "POST"):
            return Reply(await models.create(call))
        case ("models", "GET", name):
            return Reply(models.told(call, await models.find(call, name)))
        case ("sessions", *_):
            return await sessions.answer(call, tuple(rest))
        case ("jobs", *_):
            return await jobs.answer(call, tuple(rest))
        case (none, "GET") if none in _NONE:
            return Reply({"total_count": 0, none: []})
    raise _nothing(call)


def _nothing(call: Call) -> SkerryError:
    return NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of Scaleway's here.")


def refuse(_: Call, error: SkerryError) -> Reply:
    """Return a failure in Scaleway's shape."""
    text = " ".join(part for part in (error.what, error.why, error.hint) if part)
    kind = _TYPES.get(error.code, "internal")
    status = 400 if kind == "invalid_arguments" else error.problem.http
    return Reply({"type": kind, "message": text}, status)


WIRE = Vendor("scaleway", answer, refuse)
"""The wire of Scaleway."""
