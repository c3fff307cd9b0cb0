"""The page of the console that asks several models at once."""

from __future__ import annotations

import shlex
from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.kinds.models.drawing import facts

PROMPT_LENGTH_MAX = 4000


async def view(visit: Any) -> dict[str, Any]:
    """Return the page's values: the form, and the answers if something was asked."""
    query = visit.request.query_params
    prompt = query.get("prompt", "").strip()[:PROMPT_LENGTH_MAX]
    models = query.get("models", "").strip()
    app = query.get("app", "").strip()
    rows: Any = ()
    problem = ""
    if prompt and models:
        asked = {"app": app} if app else {}
        try:
            found = await visit.ask("models.compare", prompt=prompt, models=models, **asked)
            rows = found.rows
        except SkerryError as error:
            problem = f"{error.what} {error.why}".strip()
    line = f"skerry models compare {shlex.quote(prompt or 'Hello')} --models {models or 'a,b'}"
    return {
        "prompt": prompt,
        "models": models,
        "app": app,
        "rows": rows,
        "facts": facts,
        "problem": problem,
        "cli": [line + (f" --app {app}" if app else "")],
    }
