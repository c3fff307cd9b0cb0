"""The console's pages of workloads: what runs here, and one of them from near."""

from __future__ import annotations

from typing import Any

LINES = 40


async def workloads(visit: Any) -> dict[str, Any]:
    """Return what the page of all workloads shows: each of them, and the ladder of this machine."""
    handler = visit.node.handler("workload")
    return {
        "workloads": await visit.ask("workload.list"),
        "classes": await handler.workloads.classes(),
        "images": await visit.ask("workload.image.list"),
        "cli": ["skerry workload list", "skerry workload run host -- sleep 60"],
    }


async def workload(visit: Any) -> dict[str, Any]:
    """Return what the page of one workload shows: its state, bounds, ports and last lines."""
    name = visit.word("name")
    info = await visit.ask("workload.status", name=name)
    lines = [each async for each in visit.stream("workload.logs", name=info.name, lines=LINES)]
    return {
        "workload": info,
        "lines": lines,
        "cli": [
            f"skerry workload status {info.name}",
            f"skerry workload logs {info.name} --follow",
        ],
    }
