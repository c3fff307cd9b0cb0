"""Everything that a node serves under its own name: API, console, documentation, services."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from skerry.kinds._shared.http.forwarded import apply_scheme
from skerry.surfaces.api import make_api
from skerry.surfaces.console import make_console
from skerry.surfaces.port import Node
from skerry.surfaces.sessions import Sessions


def make_web(node: Node) -> ASGIApp:
    """Make the application of a node."""
    sessions = Sessions(node.clock, node.entropy)
    api = make_api(node, sessions)
    console = make_console(node, sessions)
    mounted = _mounts(node)

    async def web(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            apply_scheme(scope)
        path = scope.get("path", "")
        for prefix, application in mounted.items():
            if path == prefix or path.startswith(f"{prefix.rstrip('/')}/"):
                await application()(scope, receive, send)
                return
        is_api = path == "/healthz" or path.startswith("/v1/")
        await (api if is_api else console)(scope, receive, send)

    return web


def _mounts(node: Node) -> dict[str, Callable[[], ASGIApp]]:
    """Return what services answer themselves, by path; made when the first request comes."""
    return {
        mount.prefix: _late(node, service.name, mount.application)
        for service in node.services.values()
        for mount in service.mounts
    }


def _late(node: Node, service: str, dotted: str) -> Callable[[], ASGIApp]:
    made: list[ASGIApp] = []

    def application() -> ASGIApp:
        if not made:
            made.append(node.services[service].load(dotted)(node.handler(service)))
        return made[0]

    return application
