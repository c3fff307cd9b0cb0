"""What every answer of the console says to browsers, and who may change something."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from skerry.kernel.errors import DENIED
from skerry.node.router.head import CONSOLE_COOKIE
from skerry.surfaces.sessions import SESSION_SECONDS, Session, same

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def protect(response: Response) -> Response:
    """Add the headers that keep other pages out."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def cookie_name(request: Request) -> str:
    """Return the cookie's name: browsers do not keep the cookies of two ports apart."""
    return f"{CONSOLE_COOKIE}-{request.url.port or 80}"


def cookie_of(request: Request) -> str:
    """Return the secret in the session's cookie."""
    return request.cookies.get(cookie_name(request), "")


def set_cookie(
    response: Response, secret: str, request: Request, seconds: float = SESSION_SECONDS
) -> None:
    """Give the browser a session; an empty secret takes it away."""
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=int(seconds) if secret else 0,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def check_mutation(request: Request, session: Session, token: str) -> None:
    """Raise DENIED if a request that changes something may come from another site's page."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if site not in {"same-origin", "none"} or foreign or not same(token, session.csrf):
        raise DENIED(
            "The form does not belong to the login.",
            why="Its CSRF token is missing or wrong, or another site sent it.",
            hint="Go back, load the page again, and repeat.",
        )


def local_path(path: str) -> str:
    """Return a path of this console to go to next, or the front page for anything else."""
    parts = urlsplit(path)
    safe = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if safe and not parts.netloc and path.isprintable() else "/"
