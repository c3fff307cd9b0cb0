"""The drills in the console: each with its criterion and how it went last."""

from __future__ import annotations

from typing import Any


async def view(visit: Any) -> dict[str, Any]:
    """Return every drill with its last verdict."""
    drills = await visit.ask("drill.list")
    return {"drills": drills, "cli": ["skerry drill all", "skerry drill <name>"]}
