"""The pages that services declare."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import HTMLResponse, Response

from skerry.kernel.service import Page, Service
from skerry.surfaces.console.templates import Templates
from skerry.surfaces.console.visit import Visit

LIVE = "/live"
"""What stands before the path of a page, where its live part is followed."""


class Declared:
    """A page of a service: its template, filled with what its view finds out."""

    def __init__(self, templates: Templates, service: Service, page: Page) -> None:
        self._templates = templates
        self._service = service
        self._page = page

    async def page(self, visit: Visit) -> Response:
        """Answer with the whole page."""
        values = {"title": self._page.title, **await self.values(visit)}
        live = f"{LIVE}{visit.request.url.path}"
        query = visit.request.url.query
        values["live"] = f"{live}?{query}" if query else live
        body = self._templates.render(self._name(self._page.template), visit, **values)
        return HTMLResponse(body)

    async def values(self, visit: Visit) -> dict[str, Any]:
        """Return what the page shows."""
        view: Callable[[Visit], Awaitable[dict[str, Any]]] = self._service.load(self._page.view)
        return await view(visit)

    @property
    def live(self) -> str:
        """The template that follows the node, or nothing."""
        return self._name(self._page.live) if self._page.live else ""

    def _name(self, template: str) -> str:
        return f"{self._service.name}/{template}"
