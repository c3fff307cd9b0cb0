"""Words of kinds, `skerry <kind> <word> [RESOURCE] …`, which need not name the only resource.

Where an app has one database, `skerry postgres sql 'select 1'` can mean no other.
"""

from __future__ import annotations

import click

from skerry.kernel.errors import INVALID
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call

UNNAMED = ""
"""What stands for a resource that was not named."""


class WordCommand(SkerryCommand):
    """A word of a kind; it takes one argument fewer than it has."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`; a resource that is not named leaves a gap in front."""
        if not ctx.resilient_parsing and self._lacks_one(ctx, args):
            args = [UNNAMED, *args]
        return super().parse_args(ctx, args)

    def _lacks_one(self, ctx: click.Context, args: list[str]) -> bool:
        arguments = [each for each in self.params if isinstance(each, click.Argument)]
        if any(each.nargs != 1 for each in arguments):
            return False
        try:
            found, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        except click.UsageError:
            return False  # what is wrong is said when the arguments are really read
        said = sum(isinstance(found.get(each.name or ""), str) for each in arguments)
        return said == sum(each.required for each in arguments) - 1


def only_resource(call: Call, kind: str, app: str, branch: str | None) -> str:
    """Return the resource that a branch has of a kind; raise INVALID for none or several."""
    place = {"app": app} | ({"branch": branch} if branch else {})
    found = call.client.call("resource.list", place)
    names = [each["name"] for each in found if each["kind"] == kind]
    if len(names) == 1:
        return str(names[0])
    raise INVALID(
        f"It is not clear which {kind} of {app} is meant.",
        why=f"There are {', '.join(names)}." if names else "There is none.",
        hint=f"skerry resource list --app {app}",
    )
