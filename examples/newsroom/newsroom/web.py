"""The app: its routes, its start and end, and what it does every minute."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from newsroom import (
    editing,
    feeds,
    importing,
    migrations,
    reading,
    search,
    sessions,
    site,
    telemetry,
    views,
)

CONTENT = site.HERE.parent / "content"
_log = logging.getLogger(__name__)

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
        "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class SafeHeaders:
    """Adds to every answer what browsers should not do with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely)


class Assets(StaticFiles):
    """Files that never change under their address: it names their content."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        """Return a file."""
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


@contextlib.asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Bring the schema up to date, fill an empty paper, and make search follow it."""
    await migrations.migrate()
    await sessions.prepare()
    await search.prepare()
    folders = {"News": CONTENT, "Handbook": importing.documentation()}
    for report in await importing.seed(folders):
        _log.info("Imported %d articles and %d pictures.", report.articles, report.pictures)
    if await telemetry.newest() is None:
        await telemetry.sample()
    yield
    await views.flush()


async def scheduled(_event: Any, _env: Any) -> None:
    """Take a sample of the machine: the cron trigger of skerry.toml."""
    await telemetry.sample()


async def problem(request: Request, error: Exception) -> Response:
    """Say what went wrong on a page of the paper."""
    assert isinstance(error, HTTPException)
    return await site.page(
        request, "problem.html", error.status_code, what=error.detail, code=error.status_code
    )


app = Starlette(
    routes=[
        *reading.ROUTES,
        *feeds.ROUTES,
        *editing.ROUTES,
        Mount("/static", Assets(directory=site.STATIC), name="static"),
    ],
    middleware=[Middleware(SafeHeaders)],
    exception_handlers={HTTPException: problem},
    lifespan=lifespan,
)
