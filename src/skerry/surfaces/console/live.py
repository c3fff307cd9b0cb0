"""Fragments that follow the node, as server-sent events; htmx morphs them into the page."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.responses import Response, StreamingResponse

from skerry.kernel.commands import LogRecord, Logs
from skerry.kernel.errors import BUSY, SkerryError
from skerry.surfaces.console.declared import Declared
from skerry.surfaces.console.templates import Templates
from skerry.surfaces.console.views import Views
from skerry.surfaces.console.visit import Visit
from skerry.surfaces.units import moment, safe

_EVERY_SECONDS = 1.0
_BEAT_EVERY = 15
_LAST_SECONDS = 3600.0
_FEEDS_MAX = 128
_BATCH_SECONDS = 0.1
_BATCH_LINES = 200
_WAITING_LINES = 2000


class Feeds:
    """The streams of events; browsers reconnect when one ends."""

    def __init__(self, templates: Templates, views: Views) -> None:
        self._templates = templates
        self._views = views
        self._open = 0

    async def apps(self, visit: Visit) -> Response:
        """Follow the list of apps."""
        return self._fragment(visit, "_apps.html", self._views.of_apps)

    async def node(self, visit: Visit) -> Response:
        """Follow what is awake."""
        return self._fragment(visit, "_awake.html", self._views.of_node)

    async def app(self, visit: Visit) -> Response:
        """Follow an app's branches and the resources of one."""
        return self._fragment(visit, "_app.html", self._views.of_app)

    async def declared(self, visit: Visit, declared: Declared) -> Response:
        """Follow the live part of a service's page."""
        return self._fragment(visit, declared.live, declared.values)

    async def logs(self, visit: Visit) -> Response:
        """Follow a branch's log."""
        return self._events(self._log_lines(visit))

    def _fragment(
        self, visit: Visit, template: str, get: Callable[[Visit], Awaitable[dict[str, Any]]]
    ) -> Response:
        return self._events(self._changes(visit, template, get))

    def _events(self, found: AsyncGenerator[str, None]) -> Response:
        if self._open >= _FEEDS_MAX:
            raise BUSY(f"{_FEEDS_MAX} pages follow this node already.")
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._counted(found), media_type="text/event-stream", headers=headers
        )

    async def _counted(self, found: AsyncGenerator[str, None]) -> AsyncIterator[str]:
        self._open += 1
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                async for each in found:
                    yield each
        except TimeoutError:
            return
        finally:
            self._open -= 1
            await found.aclose()

    async def _changes(
        self, visit: Visit, template: str, get: Callable[[Visit], Awaitable[dict[str, Any]]]
    ) -> AsyncGenerator[str, None]:
        """Yield a fragment whenever it differs; end with an error's text."""
        before, silence = "", 0
        while True:
            try:
                now = self._templates.render(template, visit, **await get(visit))
            except SkerryError as error:
                yield event(f'<p class="note" role="alert">{html.escape(error.what)}</p>')
                return
            silence = 0 if now != before else silence + 1
            if now != before:
                yield event(now)
            elif silence % _BEAT_EVERY == 0:
                yield ": still here\n\n"
            before = now
            await asyncio.sleep(_EVERY_SECONDS)

    async def _log_lines(self, visit: Visit) -> AsyncGenerator[str, None]:
        """Yield lines in batches, so that a busy log does not drown the browser."""
        query = visit.request.query_params
        app, branch = visit.word("app"), visit.word("branch")
        params = Logs(app, branch, query.get("source") or None, 200, follow=True)
        waiting: asyncio.Queue[LogRecord | SkerryError] = asyncio.Queue(_WAITING_LINES)
        reader = asyncio.create_task(_read(visit, params, waiting))
        try:
            while True:
                try:
                    first = await asyncio.wait_for(waiting.get(), _BEAT_EVERY)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                await asyncio.sleep(_BATCH_SECONDS)
                batch = [first]
                while len(batch) < _BATCH_LINES and not waiting.empty():
                    batch.append(waiting.get_nowait())
                yield event("".join(map(log_line, batch)))
                if isinstance(batch[-1], SkerryError):
                    return
        finally:
            reader.cancel()
            await asyncio.wait({reader})


async def _read(
    visit: Visit, params: Logs, waiting: asyncio.Queue[LogRecord | SkerryError]
) -> None:
    """Pass records on; a full queue makes the node's log wait for the browser."""
    command = visit.node.commands["node.logs"]
    try:
        async for record in visit.node.stream(command, params, visit.principal):
            await waiting.put(record)
    except SkerryError as error:
        await waiting.put(error)


def event(text: str) -> str:
    """Return an event; each of its lines has a prefix of its own."""
    return "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"


def log_line(found: LogRecord | SkerryError) -> str:
    """Return a line of the log as HTML."""
    if isinstance(found, SkerryError):
        return f'<li class="level-error" role="alert">{html.escape(found.what)}</li>'
    level = "" if found.level in {"", "info"} else found.level
    kind = f' class="level-{html.escape(level, quote=True)}"' if level else ""
    mark = f'<b class="level">{html.escape(level)}</b> ' if level else ""
    source = html.escape(found.source)
    return (
        f'<li{kind}><time>{moment(found.time)}</time> <span class="source">{source}</span> '
        f"{mark}<span>{html.escape(safe(found.text))}</span></li>"
    )
