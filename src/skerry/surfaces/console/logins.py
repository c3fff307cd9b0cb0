"""Logging in by an identity provider: a browser to the console, or a command line by a browser.

GET  /login/provider   sends the browser to the provider; `challenge` and `port` name a waiting
                       command line
GET  /login/callback   where it comes back to
POST /login/token      a command line changes its code and verifier into a token
POST /login/end        ends the log-in of the token that is presented
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from skerry.kernel.errors import INVALID, NOT_FOUND, UNAUTHENTICATED, SkerryError
from skerry.surfaces.api.calls import problem
from skerry.surfaces.console import security
from skerry.surfaces.console.templates import Templates
from skerry.surfaces.console.visit import Visit
from skerry.surfaces.port import Arrival, Identity, Node
from skerry.surfaces.sessions import Sessions

BEGIN, CALLBACK = "/login/provider", "/login/callback"
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_SECONDS = 600

ReadForm = Callable[[Request], Awaitable[Mapping[str, str]]]


class Logins:
    """Answers the paths; see the module's docstring."""

    def __init__(
        self, node: Node, sessions: Sessions, templates: Templates, read: ReadForm
    ) -> None:
        self._node = node
        self._sessions = sessions
        self._templates = templates
        self._read = read

    def _identity(self) -> Identity:
        found = self._node.identity
        if found is None or not found.issuer:
            raise NOT_FOUND("This node has no identity provider.", hint="skerry docs identity")
        return found

    async def begin(self, visit: Visit) -> Response:
        """Send a browser to the provider."""
        request = visit.request
        given = request.query_params
        memo = {"next": security.local_path(given.get("next", "/"))}
        challenge, port = given.get("challenge", ""), given.get("port", "")
        if challenge or port:
            if not _CHALLENGE.fullmatch(challenge) or (port and not _PORT.fullmatch(port)):
                raise INVALID("That is no log-in of a command line.", hint="skerry login")
            memo |= {"challenge": challenge, "port": port}
        redirect = str(request.url.replace(path=CALLBACK, query=""))
        url, secret = await self._identity().begin(redirect, memo)
        response = RedirectResponse(url, status_code=303)
        # Lax: the provider's page leads back here, and the browser must bring it along then.
        response.set_cookie(
            _cookie(request),
            secret,
            max_age=_SECONDS,
            path=CALLBACK,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    async def finish(self, visit: Visit) -> Response:
        """Let in who comes back, or tell why not."""
        request = visit.request
        secret = request.cookies.get(_cookie(request), "")
        arrival = await self._identity().finish(secret, dict(request.query_params))
        challenge = arrival.memo.get("challenge", "")
        response = self._told(visit, arrival) if challenge else self._opened(visit, arrival)
        response.delete_cookie(_cookie(request), path=CALLBACK)
        return response

    def _opened(self, visit: Visit, arrival: Arrival) -> Response:
        """Open a session of the console.

        A page leads on, not a redirect: at the end of a way that another site began, a browser does
        not show a strict cookie.
        """
        principal = self._node.principal_of(arrival.token) or ""
        session = self._sessions.open(principal, arrival.token, arrival.seconds)
        response = self._page(visit, arrival, onward=arrival.memo.get("next", "/"))
        security.set_cookie(response, session, visit.request, arrival.seconds)
        return response

    def _told(self, visit: Visit, arrival: Arrival) -> Response:
        """Give a code to the command line that waits, or show it."""
        code = self._sessions.code_for(arrival.token, arrival.memo["challenge"])
        port = arrival.memo["port"]
        if not port:
            return self._page(visit, arrival, code=code)
        there = f"http://127.0.0.1:{port}/?{urlencode({'code': code})}"
        return RedirectResponse(there, status_code=303)

    def _page(self, visit: Visit, arrival: Arrival, onward: str = "", code: str = "") -> Response:
        values = {"name": arrival.name, "onward": onward, "code": code}
        body = self._templates.render("arrived.html", visit, title="Logged in", **values)
        return Response(body, media_type="text/html")

    async def token(self, request: Request) -> Response:
        """Change a code and its verifier into a token."""
        try:
            given = await self._read(request)
            found = self._sessions.token_for(given.get("code", ""), given.get("verifier", ""))
            if found is None:
                raise UNAUTHENTICATED("The code is not valid.", hint="skerry login")
        except SkerryError as error:
            return problem(error)
        return JSONResponse({"token": found}, headers={"Cache-Control": "no-store"})

    async def end(self, request: Request) -> Response:
        """End the log-in of the token that is presented."""
        try:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not token.isascii():
                raise UNAUTHENTICATED("The request has no token.", hint="skerry login")
            await self._identity().leave(token.strip())
        except SkerryError as error:
            return problem(error)
        return JSONResponse({"ended": True})

    async def left(self, visit: Visit) -> None:
        """End the token of a session that ends."""
        if visit.session is not None and visit.session.token:
            await self._identity().leave(visit.session.token)


def _cookie(request: Request) -> str:
    return f"{security.cookie_name(request)}-login"
