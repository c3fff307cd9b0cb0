"""Names from the node, for a shell that completes what somebody types."""

from __future__ import annotations

import click

from skerry.kernel.errors import SkerryError
from skerry.surfaces.cli.call import Call

COMPLETION = "_SKERRY_COMPLETE"
"""The variable in which a shell says what it wants completed."""

_PATIENCE_SECONDS = 0.1
_LISTS = {"app": "app.list", "branch": "branch.list", "resource": "resource.list"}


def names(context: click.Context, what: str, incomplete: str) -> list[str]:
    """Return names of the node that start with what was typed; none if it does not answer fast."""
    call = context.ensure_object(Call)
    if what == "name":
        group = context.parent.info_name if context.parent else ""
        what = "branch" if group == "branch" else "resource"
    try:
        params: dict[str, str] = {} if what == "app" else {"app": call.app()}
        if what == "resource" and (branch := call.branch()):
            params["branch"] = branch
        found = call.client.call(_LISTS[what], params, seconds=_PATIENCE_SECONDS)
    except SkerryError:
        return []
    return [each["name"] for each in found if each["name"].startswith(incomplete)]
