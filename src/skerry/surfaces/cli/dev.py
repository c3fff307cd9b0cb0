"""`skerry dev`: serves a folder on a branch of its own, again at every save, and shows its log."""

from __future__ import annotations

import getpass
import os
import re
import threading
import time

import click

from skerry.kernel.errors import ALREADY_EXISTS, NOT_FOUND, SkerryError
from skerry.kernel.names import MAIN
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call, Project
from skerry.surfaces.cli.deploy import find_project, upload_and_deploy

_POLL_SECONDS = 0.1
_SHARE = 10
_SETTLE_SECONDS = 0.02
_SETTLES = 10
_RETRY_SECONDS = 1.0

Snapshot = dict[str, tuple[int, int]]


@click.command(cls=SkerryCommand)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--branch", help="the branch; by default dev-<your name>, a copy of main")
@click.option("--once", is_flag=True, help="serve it once and end")
@click.pass_obj
def dev(call: Call, folder: str | None, branch: str | None, once: bool) -> None:
    """Serve a folder on a branch of its own, again at every save.

    The branch is a copy of main with all its data, so nothing done here reaches main.
    """
    project = find_project(call, folder)
    branch = branch or default_branch()
    make_branch(call, project, branch)
    before = snapshot(project)
    _serve(call, project, branch)
    if once:
        return
    _follow_logs(call, project, branch)
    while True:
        before = wait_for_change(project, before)
        _serve(call, project, branch)


def default_branch() -> str:
    """Return the name of the branch that belongs to this user."""
    name = re.sub(r"[^a-z0-9]+", "-", getpass.getuser().lower()).strip("-")
    return f"dev-{name}"[:40].rstrip("-") if name else "dev"


def make_branch(call: Call, project: Project, branch: str) -> None:
    """Make the branch if it is not there yet, deploying the app first if that is not either."""
    if branch == MAIN:
        return
    try:
        known = [each["name"] for each in call.client.call("branch.list", {"app": project.app})]
    except SkerryError as error:
        if error.problem is not NOT_FOUND:
            raise
        _serve(call, project, MAIN)
        known = [MAIN]
    if branch in known:
        return
    try:
        call.client.call("branch.create", {"name": branch, "app": project.app})
    except SkerryError as error:
        if error.problem is not ALREADY_EXISTS:
            raise
    call.out.remark(f"{branch} is a copy of {MAIN}")


def _serve(call: Call, project: Project, branch: str) -> None:
    """Deploy; a mistake in the app is shown, and the old version stays served."""
    began = time.monotonic()
    try:
        with call.out.steps() as steps:
            found = upload_and_deploy(call, project, branch, steps)
    except SkerryError as error:
        if error.problem.temporary:
            raise
        call.out.failure(error, f"skerry docs errors#{error.code.lower()}")
        return
    seconds = time.monotonic() - began
    if call.out.json:
        call.out.data({**found, "seconds_in_all": seconds}, line=True)
        return
    sign = call.out.styled("✓", "green")
    url = call.out.styled(found["url"], "cyan")
    call.out.result(f"{sign} version {found['version']} in {seconds:.2f} s  {url}")


def snapshot(project: Project) -> Snapshot:
    """Return when each file of a project was last changed, and its size."""
    from skerry.surfaces.cli.pack import files  # noqa: PLC0415 (not for help)

    found = {}
    for path in files(project.folder, project.ignore):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        found[str(path)] = (status.st_mtime_ns, status.st_size)
    return found


def wait_for_change(project: Project, before: Snapshot) -> Snapshot:
    """Wait until files differ and have settled: an editor may write more than one.

    Looking takes at most a tenth of the time, however many files there are.
    """
    while True:
        began = time.monotonic()
        now = _look(project, before)
        cost = time.monotonic() - began
        if now == before:
            time.sleep(max(_POLL_SECONDS - cost, cost * _SHARE))
            continue
        for _ in range(_SETTLES):
            time.sleep(_SETTLE_SECONDS)
            later = _look(project, now)
            if later == now:
                break
            now = later
        return now


def _look(project: Project, before: Snapshot) -> Snapshot:
    """Take a snapshot; a folder that vanishes while it is read is looked at again later."""
    try:
        return snapshot(project)
    except FileNotFoundError:
        return before


def _follow_logs(call: Call, project: Project, branch: str) -> None:
    """Show the branch's log from now on, in a thread that ends with us."""

    def follow() -> None:
        from skerry.kernel.commands import LogRecord  # noqa: PLC0415 (only here)
        from skerry.surfaces.cli.derive import typed  # noqa: PLC0415
        from skerry.surfaces.cli.render import show  # noqa: PLC0415

        params = {"app": project.app, "branch": branch, "lines": 0, "follow": True}
        while True:
            try:
                for record in call.client.stream("node.logs", params):
                    if call.out.json:
                        call.out.data(record, line=True)
                    else:
                        show(call.out, typed(record, LogRecord))
            except SkerryError as error:
                call.out.remark(f"The log broke off: {error.what}")
            time.sleep(_RETRY_SECONDS)

    threading.Thread(target=follow, name="logs", daemon=True).start()
