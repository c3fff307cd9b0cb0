"""The tree of commands: words of the grammar, and words of kinds."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.surfaces.cli.base import SkerryGroup
from skerry.surfaces.cli.grammar import GROUPS, PANELS, WORDS

if TYPE_CHECKING:
    from skerry.kernel.commands import Command
    from skerry.kernel.manifest import Manifest

_EXAMPLES = (
    ("skerry up", "run the node"),
    ("skerry init myapp && cd myapp && skerry deploy", "serve an app"),
    ("skerry branch create pr-42", "copy its whole environment"),
)


def root() -> SkerryGroup:
    """Return the group of everything."""
    return _Root("skerry", {}, "A whole cloud on machines that you own.")


class _Root(SkerryGroup):
    """What stands right after `skerry`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return words, groups of words, and kinds."""
        alone = [word for word in WORDS if " " not in word]
        return [*alone, *GROUPS, *(kind for kind in kind_names() if kind not in GROUPS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a word's command, a group, or the group of a kind's words."""
        if cmd_name in WORDS:
            return word(cmd_name)
        if cmd_name in GROUPS:
            return _Words(cmd_name)
        return _KindWords(manifest(cmd_name)) if cmd_name in kind_names() else None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples and panels: forty lines, which fit on a screen."""
        with formatter.section("Examples"):
            formatter.write_dl(list(_EXAMPLES), col_max=50)
        for title, names in PANELS.items():
            with formatter.section(title):
                formatter.write_dl([(name, _summary(name)) for name in names])
        with formatter.section("Kinds"):
            formatter.write_text(f"{', '.join(kind_names())}: skerry KIND --help")
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


class _KindWords(SkerryGroup):
    """The words of a kind: `<kind> <word> RESOURCE`."""

    def __init__(self, kind: Manifest) -> None:
        self._kind = kind
        about = f"{kind.summary.rstrip('.')}. Stands in for {kind.stands_in_for.rstrip('.')}."
        super().__init__(kind.name, {each.name: each.summary for each in kind.words}, about)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a kind's word."""
        from skerry.kernel.commands import commands  # noqa: PLC0415 (not for help)
        from skerry.surfaces.cli.derive import derive  # noqa: PLC0415
        from skerry.surfaces.cli.grammar import Entry  # noqa: PLC0415

        found = commands([self._kind]).get(f"{self._kind.name}.{cmd_name}")
        return derive(cmd_name, found, Entry(found.summary)) if found else None


def _summary(name: str) -> str:
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


def kinds_folder() -> Path:
    """Return the folder with one folder a kind."""
    return Path(__file__).parents[2] / "kinds"


def kind_names() -> list[str]:
    """Return the kinds by their folders, without importing them."""
    try:
        found = [each.name for each in kinds_folder().iterdir() if (each / "manifest.py").is_file()]
    except FileNotFoundError:
        return []
    return sorted(name for name in found if name[0] != "_")


def manifest(kind: str) -> Manifest:
    """Import the manifest of a kind."""
    from skerry.kernel.manifest import read_manifests  # noqa: PLC0415 (only for its words)

    return read_manifests([f"skerry.kinds.{kind}"])[kind]
