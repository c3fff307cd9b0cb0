"""`skerry describe`: every command and kind as one document, for programs and agents."""

from __future__ import annotations

from typing import Any

import click

from skerry import __version__
from skerry.kernel.commands import commands
from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.manifest import Manifest
from skerry.kernel.names import did_you_mean
from skerry.surfaces import installed
from skerry.surfaces.cli.base import SkerryCommand, common_options
from skerry.surfaces.cli.call import Call


@click.command(cls=SkerryCommand)
@click.argument("words", nargs=-1)
@click.pass_obj
def describe(call: Call, words: tuple[str, ...]) -> None:
    """Describe every command and every kind.

    With WORDS, only that command: `skerry describe branch create`, or by its name in the API:
    `skerry describe branch.create`.
    """
    found = whole_tree()
    for word in _as_words(words):
        below = found.get("commands", {})
        if word not in below:
            raise NOT_FOUND(
                f"There is no command {' '.join(words)}.", why=did_you_mean(word, below)
            )
        found = below[word]
    if call.out.json:
        call.out.data(found)
    else:
        call.out.result("\n".join(_lines("skerry", [*_as_words(words)], found)))


def _as_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of the command line for a command named as the API names it."""
    from skerry.surfaces.cli.grammar import WORDS  # noqa: PLC0415 (only for names of the API)

    if len(words) != 1 or "." not in words[0]:
        return words
    known = {entry.command: name for name, entry in WORDS.items() if entry.command}
    return tuple(known.get(words[0], words[0].replace(".", " ")).split())


def whole_tree() -> dict[str, Any]:
    """Return the tree of commands, and what kinds say of themselves."""
    from skerry.surfaces.cli.tree import root  # noqa: PLC0415 (a cycle)

    top = root()
    context = click.Context(top, info_name="skerry")
    kinds = {each.name: each for each in installed.manifests()}
    shared = [option for each in common_options() for option in _spellings(each)]
    return {
        "version": __version__,
        "options": ["--version", *shared],
        "commands": _below(top, context),
        "kinds": {name: describe_kind(each) for name, each in kinds.items()},
        "api": sorted(commands(kinds.values(), installed.services())),
    }


def _below(group: click.Group, context: click.Context) -> dict[str, Any]:
    found = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        inner = click.Context(command, info_name=name, parent=context)
        found[name] = _describe(command, inner)
    return found


def _describe(command: click.Command, context: click.Context) -> dict[str, Any]:
    own = [each for each in command.params if not str(each.name).startswith("common_")]
    shape: dict[str, Any] = {
        "summary": command.get_short_help_str(200).rstrip("."),
        "arguments": [
            {"name": each.make_metavar(context), "required": each.required}
            for each in own
            if isinstance(each, click.Argument)
        ],
        "options": [
            option for each in own if isinstance(each, click.Option) for option in _spellings(each)
        ],
        "help": {each.opts[-1]: each.help or "" for each in own if isinstance(each, click.Option)},
    }
    if isinstance(command, click.Group):
        shape["commands"] = _below(command, context)
    return shape


def _spellings(option: click.Option) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def describe_kind(found: Manifest) -> dict[str, Any]:
    """Return what a kind says of itself, for programs."""
    return {
        "summary": found.summary,
        "stands_in_for": found.stands_in_for,
        "engine": f"{found.engine_info.name} {found.engine_info.version}".strip(),
        "can": {verb.value: answer.answer.value for verb, answer in found.can.items()},
        "wires": [
            {
                "name": wire.name,
                "protocol": wire.protocol,
                "clients": [client.name for client in wire.clients],
            }
            for wire in found.wires
        ],
        "units": {unit.name: unit.summary for unit in found.units},
        "words": {word.name: word.summary for word in found.words},
    }


def _lines(path: str, words: list[str], found: dict[str, Any]) -> list[str]:
    """Return one line a command."""
    name = " ".join([path, *words])
    below = found.get("commands", {})
    if not below:
        arguments = " ".join(each["name"] for each in found.get("arguments", []))
        return [f"{f'{name} {arguments}'.strip():<52} {found['summary']}"]
    return [line for word, each in below.items() for line in _lines(path, [*words, word], each)]
