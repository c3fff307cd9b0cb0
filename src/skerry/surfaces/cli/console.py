"""`skerry open`: prints the console's address with a one-time login, and opens a browser."""

from __future__ import annotations

import os
import sys

import click

from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call


@click.command("open", cls=SkerryCommand)
@click.option("--print", "only_print", is_flag=True, help="print the address, open nothing")
@click.pass_obj
def open_console(call: Call, only_print: bool) -> None:
    """Open the console in a browser.

    The address logs one browser in, once, within a minute.
    """
    path = call.client.login_path()
    base = call.client.url or str(call.client.call("node.status", {})["http"]).rstrip("/")
    project = call.project
    page = f"&next=/apps/{project.app}" if project is not None else ""
    url = f"{base}{path}{page}"
    if call.out.json:
        call.out.data({"url": url})
        return
    call.out.result(url)
    if not only_print and sys.stdout.isatty() and has_display():
        click.launch(url)


def has_display() -> bool:
    """Tell whether a browser could show itself here."""
    on_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform == "darwin" or bool(on_screen)
