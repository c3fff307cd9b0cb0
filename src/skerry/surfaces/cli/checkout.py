"""`skerry branch checkout`: chooses the branch that commands in this folder mean."""

from __future__ import annotations

import click

from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.names import did_you_mean
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.deploy import find_project


@click.command(cls=SkerryCommand)
@click.argument("name")
@click.pass_obj
def checkout(call: Call, name: str) -> None:
    """Choose the branch that commands in this folder mean.

    It is written to .skerry/branch beside skerry.toml.
    """
    project = find_project(call, None)
    known = [each["name"] for each in call.client.call("branch.list", {"app": project.app})]
    if name not in known:
        raise NOT_FOUND(
            f"There is no branch {name} in {project.app}.",
            why=did_you_mean(name, known),
            hint=f"skerry branch create {name}",
        )
    project.check_out(name)
    if call.out.json:
        call.out.data({"app": project.app, "branch": name})
    else:
        call.out.result(f"{call.out.styled('✓', 'green')} Commands here mean {project.app} {name}.")
