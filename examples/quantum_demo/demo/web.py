"""Three pages for people who never saw a quantum computer: circuits, photons, atoms."""

from __future__ import annotations

from typing import Any

from starlette.responses import HTMLResponse, PlainTextResponse

from demo import atoms, circuits, photons
from demo.drawing import page

PAGES = {"/": circuits, "/photons": photons, "/atoms": atoms}
LINKS = {path: part.TITLE for path, part in PAGES.items()}


def fetch(request: Any, env: Any) -> Any:
    """Run what a page shows, and show it."""
    part = PAGES.get(request.url.path)
    if part is None:
        return PlainTextResponse("There is no such page.", status_code=404)
    found = part.run(env.qpu)
    if request.query_params.get("format") == "json":
        return found
    return HTMLResponse(page(part.TITLE, part.EXPLAINED, part.body(found), LINKS))
