"""The console's page of nodes: a map, a table, and what binds and moves."""

from __future__ import annotations

from typing import Any

from skerry.federation.atlas import HEIGHT, WIDTH, draw


async def view(visit: Any) -> dict[str, Any]:
    """Return what the page shows."""
    nodes = await visit.ask("federation.nodes")
    apps = await visit.ask("app.list")
    return {
        "nodes": nodes,
        "map": draw(nodes),
        "width": WIDTH,
        "height": HEIGHT,
        "apps": apps,
        "cli": [
            "skerry nodes",
            "skerry node invite",
            "skerry place APP --to NODE",
            "skerry place APP --replicas 2 --survive node",
        ],
    }
