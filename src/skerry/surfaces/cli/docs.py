"""`skerry docs`: the pages that the node serves, without a node."""

from __future__ import annotations

import click

from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.names import did_you_mean
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.pages import find, section, titles


@click.command(cls=SkerryCommand)
@click.argument("topic", required=False)
@click.pass_obj
def docs(call: Call, topic: str | None) -> None:
    """Read the documentation.

    Without TOPIC, the list of pages. A heading is named after #: `skerry docs errors#busy`.
    """
    if topic is None:
        _list(call)
        return
    page, _, heading = topic.partition("#")
    path = find(page)
    if path is None:
        known = {name.rpartition("/")[2] for name in titles()} - {"index"}
        raise NOT_FOUND(
            f"There is no page {page}.", why=did_you_mean(page, known), hint="skerry docs"
        )
    text = path.text() if not heading else section(path.text(), heading)
    if not text:
        raise NOT_FOUND(f"{page} has no heading {heading}.", hint=f"skerry docs {page}")
    if call.out.json:
        call.out.data({"topic": topic, "markdown": text})
    else:
        call.out.result(text)


def _list(call: Call) -> None:
    found = titles()
    if call.out.json:
        call.out.data(found)
        return
    wide = max(map(len, found), default=0)
    call.out.result("\n".join(f"{name:<{wide}}  {title}" for name, title in found.items()))
