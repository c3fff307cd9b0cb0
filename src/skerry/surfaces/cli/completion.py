"""`skerry completion`: scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.names import COMPLETION
from skerry.surfaces.cli.tree import root


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
    made = get_completion_class(shell)
    assert made is not None
    script = made(root(), {}, "skerry", COMPLETION).source()
    if call.out.json:
        call.out.data({"shell": shell, "script": script})
    else:
        call.out.result(script)
