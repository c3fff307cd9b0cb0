"""Everything that a node serves under its own name: the API, the console, and the documentation."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from skerry.surfaces.api import make_api
from skerry.surfaces.console import make_console
from skerry.surfaces.port import Node
from skerry.surfaces.sessions import Sessions


def make_web(node: Node) -> ASGIApp:
    """Make the application of a node."""
    sessions = Sessions(node.clock, node.entropy)
    api = make_api(node, sessions)
    console = make_console(node, sessions)

    async def web(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        is_api = path == "/healthz" or path.startswith("/v1/")
        await (api if is_api else console)(scope, receive, send)

    return web
