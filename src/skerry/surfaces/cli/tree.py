"""The tree of commands: words of the grammar, of services, and of kinds."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click

from skerry.surfaces import installed
from skerry.surfaces.cli.base import SkerryGroup
from skerry.surfaces.cli.grammar import GROUPS, OF_SERVICES, PANELS, WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.kernel.commands import Command
    from skerry.kernel.manifest import Manifest
    from skerry.kernel.service import Service

_EXAMPLES = (
    ("skerry up", "run the node"),
    ("skerry init myapp && cd myapp && skerry deploy", "serve an app"),
    ("skerry branch create pr-42", "copy its whole environment"),
)

_OF_RESOURCES = "On one resource"


def root() -> SkerryGroup:
    """Return the group of everything."""
    return _Root("skerry", {}, "A whole cloud on machines that you own.")


class _Root(SkerryGroup):
    """What stands right after `skerry`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return words, groups of words, services and their words, and kinds."""
        alone = [word for word in WORDS if " " not in word]
        more = [*installed.service_folders(), *_words_of_services(), *installed.kind_names()]
        return list(dict.fromkeys([*alone, *GROUPS, *more]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a word's command, a group of words, or the group of a service or a kind."""
        if cmd_name in WORDS:
            return word(cmd_name)
        if cmd_name in GROUPS:
            return _Words(cmd_name)
        kind = installed.manifest(cmd_name) if cmd_name in installed.kind_names() else None
        is_service = cmd_name in installed.service_folders()
        service = installed.service(cmd_name) if is_service else None
        if kind or service:
            return _Declared(cmd_name, kind, service)
        found = _words_of_services().get(cmd_name)
        return _command_of(cmd_name, *found) if found else None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, panels of words, and what has a help of its own."""
        with formatter.section("Examples"):
            formatter.write_dl(list(_EXAMPLES), col_max=50)
        for title, names in PANELS.items():
            with formatter.section(title):
                formatter.write_dl([(name, _summary(name)) for name in names])
        services = list(installed.service_folders())
        if services:
            with formatter.section("Services"):
                formatter.write_text(f"{', '.join(services)}: skerry SERVICE --help")
        with formatter.section("Kinds"):
            formatter.write_text(f"{', '.join(installed.kind_names())}: skerry KIND --help")
        formatter.write_text("Every command takes --json, --quiet, --no-color, --home, --node.")


class _Words(SkerryGroup):
    """Words under a noun: `branch create`."""

    def __init__(self, noun: str) -> None:
        below = {
            name.split()[1]: each for name, each in WORDS.items() if name.startswith(f"{noun} ")
        }
        super().__init__(noun, {name: each.summary for name, each in below.items()}, GROUPS[noun])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a word."""
        return word(f"{self.name} {cmd_name}") if cmd_name in self.summaries else None


class _Declared(SkerryGroup):
    """The commands of a service (`market bids`), and the words of a kind (`kv get RESOURCE`)."""

    def __init__(self, name: str, kind: Manifest | None, service: Service | None) -> None:
        from skerry.kernel.commands import commands  # noqa: PLC0415 (not for help)

        self._service = service
        self._words = {
            each.name.partition(".")[2]: each
            for each in commands([kind] if kind else []).values()
            if each.kind
        }
        self._tree = _tree(service.commands) if service else {}
        about = f"{service.summary.rstrip('.')}." if service else ""
        if kind:
            of_kind = f"{kind.summary.rstrip('.')}. Stands in for {kind.stands_in_for.rstrip('.')}."
            about = f"{about} {of_kind}".strip()
        words = {name: each.summary for name, each in self._words.items()}
        super().__init__(name, _summaries(self._tree) | words, about)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what people call first, then what a resource answers to programs."""
        if not (self._tree and self._words):
            super().format_commands(ctx, formatter)
            return
        words = {name for name in self._words if name not in self._tree}
        for title, chosen in (("Commands", self.summaries.keys() - words), (_OF_RESOURCES, words)):
            rows = [(name, each) for name, each in self.summaries.items() if name in chosen]
            with formatter.section(title):
                formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a service, or of a kind's word."""
        if cmd_name in self._tree:
            assert self._service is not None
            return _below(cmd_name, self._tree[cmd_name], self._service)
        found = self._words.get(cmd_name)
        return _derived(cmd_name, found) if found else None


Tree = dict[str, "Command | Tree"]


class _Branch(SkerryGroup):
    """Commands of a service under a word of their own: `market provider start`."""

    def __init__(self, name: str, tree: Tree, service: Service) -> None:
        self._tree = tree
        self._service = service
        about = f"{service.summary.rstrip('.')}: {name}."
        super().__init__(name, _summaries(tree), about)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a word."""
        found = self._tree.get(cmd_name)
        return _below(cmd_name, found, self._service) if found else None


def _tree(found: tuple[Command, ...]) -> Tree:
    """Return commands by their words after the service's name."""
    tree: Tree = {}
    for command in found:
        *groups, last = command.name.split(".")[1:]
        place = tree
        for group in groups:
            inner = place.setdefault(group, {})
            assert isinstance(inner, dict), f"{command.name} stands below a command"
            place = inner
        place[last] = command
    return tree


def _summaries(tree: Tree) -> dict[str, str]:
    return {
        name: ", ".join(found) if isinstance(found, dict) else found.summary
        for name, found in tree.items()
    }


def _below(name: str, found: Command | Tree, service: Service) -> click.Command:
    if isinstance(found, dict):
        return _Branch(name, found, service)
    return _derived(name, found, service)


def _derived(name: str, command: Command, service: Service | None = None) -> click.Command:
    from skerry.surfaces.cli.derive import derive  # noqa: PLC0415 (not for help)
    from skerry.surfaces.cli.grammar import Entry  # noqa: PLC0415

    entry = Entry(command.summary, confirm=command.confirm, empty=command.empty)
    return derive(name, command, entry, service)


def _words_of_services() -> Mapping[str, tuple[Service, Tree]]:
    """Return what services add right after `skerry`: commands, and groups of them."""
    found: dict[str, tuple[Service, Tree]] = {}
    for service in installed.services():
        commands = {each.name: each for each in service.commands}
        for words, command in service.words.items():
            first, _, rest = words.partition(" ")
            _, tree = found.setdefault(first, (service, {}))
            tree[rest] = commands[command]
    return found


def _command_of(name: str, service: Service, tree: Tree) -> click.Command:
    alone = tree.get("")
    return _below(name, alone if alone is not None else tree, service)


def _summary(name: str) -> str:
    if name in OF_SERVICES:
        return OF_SERVICES[name]
    return WORDS[name].summary if name in WORDS else GROUPS[name]


def word(name: str) -> click.Command:
    """Return the command of a word of the grammar."""
    entry = WORDS[name]
    if entry.runs:
        module, _, attribute = entry.runs.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found
    from skerry.surfaces.cli.derive import derive  # noqa: PLC0415 (not for help)

    return derive(name.rpartition(" ")[2], node_command(entry.command), entry)


def node_command(name: str) -> Command:
    """Return one of the node's own commands."""
    from skerry.kernel.commands import commands  # noqa: PLC0415 (not for help)

    return commands([])[name]
