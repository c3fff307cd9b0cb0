"""Three pages for people who never saw a quantum computer: circuits, photons, atoms."""

from __future__ import annotations

from typing import Any

from starlette.responses import HTMLResponse, PlainTextResponse

from demo import atoms, circuits, photons
from demo.drawing import page, waiting
from demo.jobs import is_waited_for

PAGES = {"/": circuits, "/photons": photons, "/atoms": atoms}
LINKS = {path: part.TITLE for path, part in PAGES.items()}
AGAIN_MAX = 999


def fetch(request: Any, env: Any) -> Any:
    """Show what a page's jobs found, or that they run: the page looks again by itself."""
    path, asked = request.url.path, request.query_params
    part = PAGES.get(path)
    if part is None:
        return PlainTextResponse("There is no such page.", status_code=404)
    again = asked.get("again", "1")
    if not (again.isdecimal() and 0 < int(again) <= AGAIN_MAX):
        return PlainTextResponse(f"again is a number from 1 to {AGAIN_MAX}.", status_code=400)
    jobs = part.submit(env.qpu, int(again))
    if asked.get("format") == "json":
        return part.found(env.qpu, jobs)
    if is_waited_for(jobs):
        return HTMLResponse(waiting(part.TITLE, part.EXPLAINED, jobs, LINKS, path))
    body = part.body(part.found(env.qpu, jobs))
    return HTMLResponse(page(part.TITLE, part.EXPLAINED, body, LINKS, path, int(again) + 1))
