"""The report in the console."""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.node.sovereignty.drawing import level


async def view(visit: Any) -> dict[str, Any]:
    """Return the report on what was chosen: this node, a provider, or an app."""
    subject = visit.request.query_params.get("of", "").strip()
    kind, _, name = subject.partition("/")
    asked = {"provider": name} if kind == "provider" else {"app": name} if kind == "app" else {}
    problem, shown = "", None
    try:
        shown = await visit.ask("sovereignty.report", **asked)
    except SkerryError as error:
        problem = f"{error.what} {error.why}".strip()
    apps = await visit.ask("app.list")
    places = await visit.ask("policy.places")
    subjects = [f"app/{app.name}" for app in apps]
    subjects += [each.place for each in places if each.place.startswith("provider/")]
    option = f" --{kind} {name}" if asked else ""
    return {
        "report": shown.report if shown else None,
        "problem": problem,
        "subject": subject,
        "subjects": subjects,
        "level": level,
        "cli": [
            f"skerry sovereignty report{option}",
            f"skerry sovereignty report{option} --format html > report.html",
        ],
    }
