"""The policy page of the console: what runs where, and any decision explained."""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.node.policy.drawing import draw_fact

FIELDS = ("action", "app", "branch", "at", "provider", "country", "host")


async def view(visit: Any) -> dict[str, Any]:
    """Return what the page shows: the check, the places, and the decision that was asked for."""
    query = {name: visit.request.query_params.get(name, "").strip() for name in FIELDS}
    encrypted = visit.request.query_params.get("encrypted", "") == "on"
    apps = [app.name for app in await visit.ask("app.list")]
    checked = await visit.ask("policy.check")
    explained, problem = None, ""
    if query["action"] and query["app"]:
        asked = {name: value for name, value in query.items() if value}
        try:
            explained = await visit.ask("policy.explain", **asked, encrypted=encrypted)
        except SkerryError as error:
            problem = f"{error.what} {error.why}".strip()
    return {
        "apps": apps,
        "checked": checked,
        "query": query,
        "encrypted": encrypted,
        "explained": explained,
        "problem": problem,
        "places": await visit.ask(
            "policy.places", app=query["app"] if query["app"] in apps else None
        ),
        "draw_fact": draw_fact,
        "cli": [_line(query, encrypted)],
    }


def _line(query: dict[str, str], encrypted: bool) -> str:
    """Return the same on the command line."""
    if not query["action"]:
        return "skerry policy check"
    words = ["skerry policy explain", query["action"]]
    words += [f"--{name} {query[name]}" for name in FIELDS[1:] if query[name]]
    return " ".join([*words, "--encrypted"] if encrypted else words)
