"""`skerry deploy`: packs a folder, sends it, and has it served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from skerry.kernel.errors import NOT_FOUND
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call, Project, read_project
from skerry.surfaces.units import size


def find_project(call: Call, folder: str | None) -> Project:
    """Return the app of a folder, or of the one we are in; raise NOT_FOUND."""
    found = read_project(Path(folder)) if folder else call.project
    if found is None:
        raise NOT_FOUND(
            f"There is no skerry.toml in {folder or 'this folder or above it'}.",
            why="An app is a folder with a skerry.toml.",
            hint="skerry init myapp",
        )
    return found


def upload_and_deploy(
    call: Call, project: Project, branch: str | None, report: Callable[[int, int, str], None]
) -> Any:
    """Send a project's folder and have it served; return the plain `Deployed`."""
    from skerry.surfaces.cli.pack import pack  # noqa: PLC0415 (not for help)

    chunks = counted(pack(project.folder, project.ignore), report)
    params = {"upload": call.client.upload(chunks)}
    return call.client.call("app.deploy", params | ({"branch": branch} if branch else {}), report)


def counted(chunks: Iterable[bytes], report: Callable[[int, int, str], None]) -> Iterator[bytes]:
    """Pass chunks on and report how much was sent."""
    sent = 0
    report(0, 0, "sending")
    for chunk in chunks:
        yield chunk
        sent += len(chunk)
        if sent >= 1 << 20:
            report(0, 0, f"sending, {size(sent)}")


@click.command(cls=SkerryCommand)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--branch", help="the branch; by default the one checked out, else main")
@click.pass_obj
def deploy(call: Call, folder: str | None, branch: str | None) -> None:
    """Serve a folder as a new version.

    Without FOLDER, the folder with the nearest skerry.toml. Nothing stops meanwhile: requests go to
    the old version until the new one answers.

    \b
    API: POST /v1/uploads, then POST /v1/app.deploy
    """
    from skerry.kernel.commands import Deployed  # noqa: PLC0415 (not for help)
    from skerry.surfaces.cli.derive import typed  # noqa: PLC0415
    from skerry.surfaces.cli.render import show  # noqa: PLC0415

    project = find_project(call, folder)
    with call.out.steps() as steps:
        found = upload_and_deploy(call, project, branch or project.branch, steps)
    if call.out.json:
        call.out.data(found)
    else:
        show(call.out, typed(found, Deployed))
