"""The console's ASGI application: who is let in, and which page answers which path."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from skerry.kernel.errors import NOT_FOUND, TOO_LARGE, UNAUTHENTICATED, SkerryError
from skerry.surfaces.api.calls import as_skerry_error
from skerry.surfaces.console import live, security
from skerry.surfaces.console.actions import Actions
from skerry.surfaces.console.declared import LIVE, Declared
from skerry.surfaces.console.documents import documents
from skerry.surfaces.console.logins import BEGIN, CALLBACK, Logins
from skerry.surfaces.console.templates import Templates
from skerry.surfaces.console.views import Views
from skerry.surfaces.console.visit import Visit
from skerry.surfaces.port import Node
from skerry.surfaces.sessions import Session, Sessions

_FOLDER = Path(__file__).parent
_FORM_BYTES_MAX = 1 << 18
_log = logging.getLogger("skerry.console")

_Page = Callable[[Visit], Awaitable[Response]]


def make_console(node: Node, sessions: Sessions) -> Starlette:
    """Make the application."""
    console = _Console(node, sessions)
    views = Views(console.templates)
    actions = Actions(console.templates)
    feeds = live.Feeds(console.templates, views)
    page, act = console.page, console.act
    branch = "/apps/{app}/{branch}"
    routes = [
        Route("/", page(views.apps)),
        Route("/apps/{app}", page(views.app)),
        Route("/apps/{app}/usage", page(views.usage)),
        Route(branch, page(views.app)),
        Route(f"{branch}/logs", page(views.logs)),
        Route(f"{branch}/resources/{{name}}", page(views.resource)),
        Route("/node", page(views.node)),
        Route("/kinds", page(views.kinds)),
        Route("/confirm/{command}", page(actions.confirm)),
        Route("/do/{command}", act(actions.perform), methods=["POST"]),
        Route("/live/apps", page(feeds.apps)),
        Route("/live/node", page(feeds.node)),
        Route("/live/apps/{app}/{branch}", page(feeds.app)),
        Route("/live/logs/{app}/{branch}", page(feeds.logs)),
        *_declared(node, console, feeds),
        Route("/login", console.login, methods=["GET", "POST"]),
        Route(BEGIN, console.open_page(console.logins.begin)),
        Route(CALLBACK, console.open_page(console.logins.finish)),
        Route("/login/token", console.logins.token, methods=["POST"]),
        Route("/login/end", console.logins.end, methods=["POST"]),
        Route("/logout", act(console.logout), methods=["POST"]),
        Route("/docs", console.open_page(documents)),
        Route("/docs/{page:path}", console.open_page(documents)),
        Mount("/static", StaticFiles(directory=_FOLDER / "static")),
        Mount("/vendor", StaticFiles(directory=_FOLDER / "vendor")),
        Route("/{path:path}", page(console.nothing)),
    ]
    return Starlette(routes=routes)


def _declared(node: Node, console: _Console, feeds: live.Feeds) -> Iterator[Route]:
    """Yield the routes of the pages that services declare."""
    for service in node.services.values():
        for each in service.pages:
            declared = Declared(console.templates, service, each)
            yield Route(each.path, console.page(declared.page))
            if each.live:
                follow = functools.partial(feeds.declared, declared=declared)
                yield Route(f"{LIVE}{each.path}", console.page(follow))


class _Console:
    def __init__(self, node: Node, sessions: Sessions) -> None:
        self._node = node
        self._sessions = sessions
        self.templates = Templates(node)
        self.logins = Logins(node, sessions, self.templates, read_form)

    def page(self, handler: _Page) -> Callable[[Request], Awaitable[Response]]:
        """Serve a page to whoever is logged in; send others to the login."""

        async def answer(request: Request) -> Response:
            visit = self._visit(request)
            if visit is None:
                return self._to_login(request)
            return await self._guarded(visit, handler)

        return answer

    def open_page(self, handler: _Page) -> Callable[[Request], Awaitable[Response]]:
        """Serve a page to everybody: it holds nothing of this node."""

        async def answer(request: Request) -> Response:
            visit = self._visit(request) or Visit(self._node, request, None)
            return await self._guarded(visit, handler)

        return answer

    def act(self, handler: _Page) -> Callable[[Request], Awaitable[Response]]:
        """Carry out what a form asks for, if it came with one of our pages."""

        async def checked(visit: Visit) -> Response:
            visit.form = await read_form(visit.request)
            assert visit.session is not None
            security.check_mutation(visit.request, visit.session, visit.form.get("csrf", ""))
            return await handler(visit)

        return self.page(checked)

    async def _guarded(self, visit: Visit, handler: _Page) -> Response:
        try:
            response = await handler(visit)
        except Exception as error:
            known = as_skerry_error(error)
            if known is not error:
                _log.exception("%s failed", visit.request.url.path)
            response = self._failed(visit, known)
        return security.protect(response)

    def _failed(self, visit: Visit, error: SkerryError) -> Response:
        title = error.problem.summary
        body = self.templates.render("error.html", visit, title=title, error=error)
        return Response(body, status_code=error.problem.http, media_type="text/html")

    def _visit(self, request: Request) -> Visit | None:
        secret = security.cookie_of(request)
        session = self._sessions.find(secret) if secret else None
        if session is None or not self._still_in(secret, session):
            return None
        return Visit(self._node, request, session, secret, self._sessions)

    def _still_in(self, secret: str, session: Session) -> bool:
        """Present a session's token anew; close the session if it was refused meanwhile."""
        if not session.token:
            return True
        try:
            return self._node.principal_of(session.token) == session.principal
        except SkerryError as error:
            if error.problem is not UNAUTHENTICATED:
                raise
            self._sessions.close(secret)
            return False

    def _to_login(self, request: Request) -> Response:
        if request.method != "GET" or request.url.path.startswith("/live/"):
            visit = Visit(self._node, request, None)
            return security.protect(self._failed(visit, _logged_out()))
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = "/login" if here == "/" else f"/login?next={quote(here)}"
        return security.protect(RedirectResponse(target, status_code=303))

    async def login(self, request: Request) -> Response:
        """Open a session for a one-time code or a token."""
        visit = Visit(self._node, request, None)
        return await self._guarded(visit, self._login)

    async def _login(self, visit: Visit) -> Response:
        request = visit.request
        given = request.query_params if request.method == "GET" else await read_form(request)
        next_path = security.local_path(given.get("next", "/"))
        principal = self._sessions.redeem(given.get("code", ""))
        token = given.get("token", "").strip() if request.method == "POST" else ""
        if principal is None and token and token.isascii():
            principal = self._node.principal_of(token)
            if principal is not None:
                self._node.admit(principal, "login")
        if principal is not None:
            response = RedirectResponse(next_path, status_code=303)
            security.set_cookie(response, self._sessions.open(principal), request)
            return response
        refused = bool(token or given.get("code"))
        body = self.templates.render(
            "login.html",
            visit,
            title="Log in",
            next=next_path,
            refused=refused,
            issuer=self._node.identity.issuer if self._node.identity else "",
        )
        return Response(body, status_code=401 if refused else 200, media_type="text/html")

    async def logout(self, visit: Visit) -> Response:
        """End the session, and the token that it stood on."""
        self._sessions.close(visit.secret)
        await self.logins.left(visit)
        response = RedirectResponse("/login", status_code=303)
        security.set_cookie(response, "", visit.request)
        return response

    async def nothing(self, visit: Visit) -> Response:
        """Answer for a path that leads nowhere."""
        raise NOT_FOUND(f"There is no page {visit.request.url.path[:200]}.")


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; raise TOO_LARGE."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES_MAX:
            raise TOO_LARGE(f"The form is larger than {_FORM_BYTES_MAX} bytes.")
    return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=200))


def _logged_out() -> SkerryError:
    return UNAUTHENTICATED("You are not logged in.", hint="skerry open")
