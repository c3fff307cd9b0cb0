"""`skerry completion`: scripts for shells, and names from the node for them."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from skerry.kernel.errors import SkerryError
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call

_PATIENCE_SECONDS = 0.1
_LISTS = {"app": "app.list", "branch": "branch.list", "resource": "resource.list"}


@click.command(cls=SkerryCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion(call: Call, shell: str) -> None:
    """Print a script that completes commands and names.

    \b
    bash: source <(skerry completion bash)
    zsh:  source <(skerry completion zsh)
    fish: skerry completion fish | source
    """
    from skerry.surfaces.cli.main import COMPLETION  # noqa: PLC0415 (a cycle)
    from skerry.surfaces.cli.tree import root  # noqa: PLC0415

    made = get_completion_class(shell)
    assert made is not None
    script = made(root(), {}, "skerry", COMPLETION).source()
    if call.out.json:
        call.out.data({"shell": shell, "script": script})
    else:
        call.out.result(script)


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
