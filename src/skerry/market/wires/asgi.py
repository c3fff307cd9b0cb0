"""What the market's wires have in common: bounded bodies, JSON, and errors as problems."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from skerry.kernel.errors import INTERNAL, TIMED_OUT, TOO_LARGE, SkerryError

BODY_SECONDS = 30.0
_log = logging.getLogger("skerry.market")

Handler = Callable[[Request], Awaitable[Response]]
Shape = Callable[[SkerryError], Response]


def json(value: Any, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def problem(error: SkerryError) -> Response:
    """Return an error in the node's own shape."""
    return json(error.as_dict(), error.problem.http)


def guarded(handler: Handler, shape: Shape = problem) -> Handler:
    """Answer errors in a wire's native shape."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except SkerryError as error:
            return shape(error)
        except Exception:
            _log.exception("%s %s failed", request.method, request.url.path)
            return shape(INTERNAL("The market failed.", hint="skerry doctor"))

    return answer


async def body_of(request: Request, limit: int) -> bytes:
    """Return a body; raise TOO_LARGE beyond the limit, TIMED_OUT if it stalls."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise TOO_LARGE(f"The body is larger than {limit} bytes.")
    except TimeoutError as error:
        raise TIMED_OUT(f"The body took over {BODY_SECONDS:g} s.") from error
    return bytes(body)
