"""What every page shares: the paper's name, addresses, templates, the visitor, forms.

All addresses are made from the routes and the prefix of the request, so the site works at the root
of a host and below a path alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from newsroom import articles, comments, sessions
from newsroom.forms import Form, read_form
from newsroom.markdown import Urls

NAME = "The Ytterhamn Lantern"
MOTTO = "News from the outer harbour"
COOKIE = "newsroom"
HERE = Path(__file__).parent
STATIC = HERE / "static"

_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_style = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(STATIC.iterdir()))
).hexdigest()[:12]


def path(request: Request, route: str, /, **parameters: Any) -> str:
    """Return the path of a route, with the prefix of this request."""
    where: str = request.app.router.url_path_for(route, **parameters)
    return f"{request.scope.get('root_path', '')}{where}"


def absolute(request: Request, route: str, /, **parameters: Any) -> str:
    """Return the whole URL of a route, for feeds and sitemaps."""
    host = f"{request.url.scheme}://{request.url.netloc}"
    return f"{host}{path(request, route, **parameters)}"


def urls(request: Request) -> Urls:
    """Return how Markdown links to this site."""
    return Urls(
        article=lambda slug: path(request, "article", slug=slug),
        picture=lambda key: path(request, "picture", key=key),
    )


def branch(request: Request) -> str:
    """Return the branch that a request came to, from the prefix or the host; `main` is the paper.

    prefix  /@newsroom/pr-42
    host    pr-42--newsroom.localhost, web--pr-42--newsroom.localhost
    """
    parts = request.scope.get("root_path", "").split("/")
    if len(parts) > 2 and parts[1].startswith("@"):
        return str(parts[2])
    labels = request.url.hostname.split(".")[0].split("--") if request.url.hostname else []
    return labels[-2] if len(labels) in (2, 3) else "main"


def token(request: Request) -> str:
    """Return the visitor's token: the cookie's, or a new one that `page` will set."""
    if not hasattr(request.state, "token"):
        request.state.token = request.cookies.get(COOKIE, "") or sessions.new_token()
    return str(request.state.token)


def is_editor(request: Request) -> bool:
    """Tell whether the visitor has logged in as editor."""
    return sessions.is_editor(request.cookies.get(COOKIE, ""))


async def page(request: Request, template: str, /, status: int = 200, **values: Any) -> Response:
    """Return a page made from a template."""
    editor = is_editor(request)
    context = {
        "paper": NAME,
        "motto": MOTTO,
        "today": datetime.now(UTC),
        "branch": branch(request),
        "menu": await articles.sections(),
        "editor": editor,
        "waiting": await comments.waiting() if editor else 0,
        "csrf": sessions.csrf(token(request)),
        "path": lambda route, **parameters: path(request, route, **parameters),
        "here": request.url.path,
        "style": _style,
    }
    html = await run_in_threadpool(_templates.get_template(template).render, context | values)
    response = HTMLResponse(html, status, {"cache-control": "private, no-cache"})
    if request.cookies.get(COOKIE) != token(request):
        set_cookie(request, response, token(request))
    return response


def set_cookie(request: Request, response: Response, value: str) -> None:
    """Give the visitor a token, for this site and branch only."""
    response.set_cookie(
        COOKIE,
        value,
        max_age=sessions.EDITOR_SECONDS,
        path=request.scope.get("root_path", "") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def redirect(request: Request, route: str, /, query: str = "", **parameters: Any) -> Response:
    """Send the visitor on, after a form."""
    return RedirectResponse(path(request, route, **parameters) + query, 303)


async def form(request: Request, bytes_max: int = 256 * 1024) -> Form:
    """Read a form that this site made for this visitor. Raises HTTPException 400, 403 or 413."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "That form was sent by another site.")
    read = await read_form(request, bytes_max)
    if not sessions.csrf_matches(request.cookies.get(COOKIE, ""), read.text("csrf")):
        raise HTTPException(403, "That form is too old. Go back, reload the page, and try again.")
    return read


def client(request: Request) -> str:
    """Return who asks, for limits on attempts."""
    return request.client.host if request.client else ""


def found(row: Any) -> Any:
    """Return what was looked up, or raise 404."""
    if row is None:
        raise HTTPException(404, "There is no such page.")
    return row


def _day(moment: datetime) -> str:
    return f"{moment:%A} {moment.day} {moment:%B %Y}"


def _short_day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


def _minutes(body: str) -> int:
    return max(1, round(len(body.split()) / 220))


_FILTERS: Mapping[str, Any] = {"day": _day, "short_day": _short_day, "minutes": _minutes}
_templates.filters.update(_FILTERS)
