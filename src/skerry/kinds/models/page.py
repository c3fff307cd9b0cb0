"""The page of the console that asks several models at once."""

from __future__ import annotations

import shlex
from typing import Any

from skerry.kinds.models.drawing import facts


async def view(visit: Any) -> dict[str, Any]:
    """Return the page's values: the last comparisons, the newest first.

    A form asks for a new one by POST, so that no prompt stands in an address and no other site can
    have models asked.
    """
    found = await visit.ask("models.comparisons")
    prompt = found[0].prompt if found else "Hello"
    models = ",".join(row.model for row in found[0].rows) if found else "a,b"
    return {
        "comparisons": found,
        "facts": facts,
        "cli": [f"skerry models compare {shlex.quote(prompt)} --models {shlex.quote(models)}"],
    }
