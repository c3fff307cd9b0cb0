"""`skerry secret set`: the value is asked for or read from stdin, and is never an argument."""

from __future__ import annotations

import sys

import click

from skerry.kernel.errors import INVALID
from skerry.kernel.names import SECRET_NAMES, is_secret_name
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.derive import perform
from skerry.surfaces.cli.tree import node_command

_VALUE_CHARACTERS_MAX = 1 << 16


@click.command("set", cls=SkerryCommand)
@click.argument("name")
@click.option("--app", help="the app; by default the one whose folder you are in")
@click.pass_obj
def set_secret(call: Call, name: str, app: str | None) -> None:
    """Set a secret of an app.

    Its value is asked for, or read from standard input: arguments are seen by everybody who lists
    the processes of the machine.

    \b
    API: POST /v1/secret.set
    """
    if not is_secret_name(name):
        # What was given may hold the value itself, as in NAME=value: it is not repeated.
        raise INVALID(
            "That cannot name a secret; its value is not given with it.",
            why=SECRET_NAMES,
            hint=f"skerry secret set {_likely(name)}",
        )
    app = app or call.app()
    value = _ask(name)
    if not value:
        raise INVALID("The value is empty.", hint=f"skerry secret delete {name}")
    perform(call, node_command("secret.set"), {"name": name, "value": value, "app": app})


def _likely(text: str) -> str:
    """Return the name that was meant, as far as one can tell without repeating a value."""
    name = text.partition("=")[0].upper().replace("-", "_")
    return name if "=" in text and is_secret_name(name) else "NAME"


def _ask(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True, err=True, default=""))
    value = sys.stdin.read(_VALUE_CHARACTERS_MAX + 1)
    if len(value) > _VALUE_CHARACTERS_MAX:
        raise INVALID(f"The value is longer than {_VALUE_CHARACTERS_MAX} characters.")
    return value.removesuffix("\n").removesuffix("\r")
