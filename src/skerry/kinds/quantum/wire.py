"""The neutral job over HTTP; requests for a vendor's wire are handed to it (see `wires`).

    POST /quantum/v1/jobs                  a `JobRequest`; answers 201 with the `Job`
    GET  /quantum/v1/jobs?limit=&before=&state=
    GET  /quantum/v1/jobs/{id}?wait=       POST /quantum/v1/jobs/{id}/cancel
    GET  /quantum/v1/jobs/{id}/results     GET  …/results/{execution}
    GET  /quantum/v1/devices               GET  /quantum/v1/devices/{id}
    GET  /quantum/v1/key                   the key that results' signatures are checked with
    POST /quantum/v1/reservations          {"device", "starts", "seconds", "owner"}; answers 201
    GET  /quantum/v1/reservations          DELETE /quantum/v1/reservations/{id}
    POST /quantum/v1/quotes                a `JobRequest`; its device is not looked at

`wait` holds the answer back until the job is over, for so many seconds (at most 60). Every request
carries the resource's bearer token. Errors are problems (RFC 9457).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, TOO_LARGE, UNAUTHENTICATED, SkerryError
from skerry.kernel.kind import ASGIApplication
from skerry.kinds.quantum import claim, wires
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.contract import JobRequest, JobState
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.messages import Reserve
from skerry.kinds.quantum.quoting import quotes
from skerry.kinds.quantum.results import public_key
from skerry.kinds.quantum.wires import frame

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_MAX = 32 << 20
WAIT_SECONDS_MAX = 60.0
_ROUTE = re.compile(
    r".*/quantum/v1/(jobs|devices|quotes|key|reservations)"
    r"(?:/([\w.-]{1,100}))?(?:/(results|cancel))?(?:/(\d{1,6}))?/?"
)
_requests = msgspec.json.Decoder(JobRequest)
_encoder = msgspec.json.Encoder()


def make(engine: QuantumEngine) -> ASGIApplication:
    """Return the ASGI application of a resource."""

    async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await _dispatch(engine.desk, scope, receive, send)

    return application


async def _dispatch(
    desk: Desk, scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> None:
    vendor = wires.vendor(scope["path"], dict(scope["headers"]).get(b"authorization", b""))
    if vendor is not None:
        await frame.serve(vendor, desk, scope, receive, send)
    else:
        await _serve(desk, scope, receive, send)


async def _serve(desk: Desk, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    try:
        headers = dict(reversed(scope["headers"]))
        context = desk.context
        if not claim.opens(headers.get(b"authorization", b""), context.id, context.keys):
            raise UNAUTHENTICATED(
                "The request has no valid token.", hint=f"skerry connect {context.ref.name}"
            )
        status, body = await _answer(desk, scope, receive)
    except msgspec.MsgspecError as error:
        await _refuse(send, INVALID("The request is malformed.", why=str(error)))
    except SkerryError as error:
        await _refuse(send, error)
    else:
        await _reply(send, status, _encoder.encode(body), b"application/json")


async def _answer(desk: Desk, scope: MutableMapping[str, Any], receive: Receive) -> tuple[int, Any]:
    method, path = scope["method"], scope["path"]
    found = _ROUTE.fullmatch(path)
    if found is None:
        raise NOT_FOUND(f"There is nothing at {path[:200]}.", hint="GET /quantum/v1/devices")
    noun, name, part, number = found.groups()
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    if noun == "jobs":
        return await _jobs(desk, (method, name, part, number), query, receive)
    if noun == "reservations" and part is None:
        return await _reservations(desk, method, name, receive)
    if (method, noun, part) == ("GET", "devices", None):
        if not name:
            return 200, list(load.devices().values())
        device, calibration, revision = desk.device(name)
        return 200, {"device": device, "calibration": calibration, "revision": revision}
    if (method, noun, name) == ("GET", "key", None):
        return 200, {"algorithm": "Ed25519", "public_key": public_key(desk.context)}
    if (method, noun, name, part) == ("POST", "quotes", None, None):
        request = await _request(receive)
        return 200, await quotes(desk, request, (), query.get("currency", "EUR"), _silent)
    raise NOT_FOUND(f"{method[:20]} is not done at {path[:200]}.")


async def _jobs(
    desk: Desk,
    route: tuple[str, str, str | None, str | None],
    query: dict[str, str],
    receive: Receive,
) -> tuple[int, Any]:
    method, name, part, number = route
    if not name and method == "POST":
        return 201, await desk.submit(await _request(receive))
    if not name and method == "GET":
        states = (JobState(query["state"]),) if query.get("state") in set(JobState) else ()
        limit = int(query["limit"]) if query.get("limit", "").isdigit() else 100
        return 200, await desk.jobs(states, limit, query.get("before", ""))
    if (method, part) == ("GET", None):
        seconds = float(query["wait"]) if query.get("wait", "").isdigit() else 0.0
        return 200, await desk.wait(name, min(seconds, WAIT_SECONDS_MAX))
    if (method, part) == ("POST", "cancel"):
        return 200, await desk.cancel(name)
    if (method, part) == ("GET", "results"):
        return 200, await (desk.result(name, int(number)) if number else desk.results(name))
    raise NOT_FOUND(f"{method[:20]} is not done there.")


async def _reservations(
    desk: Desk, method: str, name: str | None, receive: Receive
) -> tuple[int, Any]:
    if (method, name) == ("GET", None):
        return 200, await desk.calendar.coming()
    if (method, name) == ("POST", None):
        asked = msgspec.json.decode(await _body(receive), type=Reserve)
        return 201, await desk.calendar.reserve(**msgspec.structs.asdict(asked))
    if method == "DELETE" and name:
        await desk.calendar.give_up(name)
        return 200, {}
    raise NOT_FOUND(f"{method[:20]} is not done there.")


async def _request(receive: Receive) -> JobRequest:
    """Return the body as a request; raise TOO_LARGE, or what the decoder finds."""
    return _requests.decode(await _body(receive))


async def _body(receive: Receive) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > BODY_MAX:
            raise TOO_LARGE(f"A request has at most {BODY_MAX >> 20} MiB.")
        more = message.get("more_body", False)
    return b"".join(chunks)


def _silent(_done: int, _total: int, _text: str) -> None:
    """Report to nobody."""


async def _refuse(send: Send, error: SkerryError) -> None:
    shape = {"title": error.what, "status": error.problem.http, **error.as_dict()}
    await _reply(send, error.problem.http, _encoder.encode(shape), b"application/problem+json")


async def _reply(send: Send, status: int, body: bytes, kind: bytes) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
