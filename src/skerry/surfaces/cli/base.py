"""The click classes that every command is made of: common options, and groups that load lazily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from skerry.surfaces.cli.call import Call

_COMMON = ("json", "quiet", "color", "home", "node")


def common_options() -> list[click.Option]:
    """Return the options that every command has."""
    return [
        click.Option(["--json", "common_json"], is_flag=True, default=None, help="write JSON"),
        click.Option(
            ["--quiet", "-q", "common_quiet"], is_flag=True, default=None, help="no remarks"
        ),
        click.Option(
            ["--color/--no-color", "common_color"], default=None, help="colour, or none of it"
        ),
        click.Option(
            ["--home", "common_home"], metavar="FOLDER", help="the home of this machine's node"
        ),
        click.Option(["--node", "common_node"], metavar="URL", help="a node on another machine"),
    ]


def take_common(context: click.Context) -> None:
    """Move the values of common options from a command's parameters to the call."""
    call = context.ensure_object(Call)
    for name in _COMMON:
        value = context.params.pop(f"common_{name}", None)
        if value is not None:
            setattr(call.options, name, value)


class Argument(click.Argument):
    """An argument that says what it is."""

    def __init__(self, *args: Any, about: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.about = about


class SkerryCommand(click.Command):
    """A command; its own parameters come first in its help, the common ones last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *common_options()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`; common options are taken even if the rest is wrong."""
        try:
            return super().parse_args(ctx, args)
        finally:
            take_common(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the common ones."""
        write_options(self, ctx, formatter)


class SkerryGroup(click.Group):
    """Commands under a word; a command is made when it is called for."""

    def __init__(self, name: str, summaries: dict[str, str], about: str) -> None:
        super().__init__(name, help=about, no_args_is_help=False)
        self.summaries = summaries
        self.params = [*self.params, *common_options()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Group.parse_args`; a group that is called for alone shows its help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        try:
            return super().parse_args(ctx, args)
        finally:
            take_common(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the words of the group."""
        return list(self.summaries)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that a word means; name the nearest one if there is none."""
        found = self.get_command(ctx, args[0])
        if found is None and not args[0].startswith("-"):
            raise UnknownCommand(args[0], self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the words with their summaries, without making the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the words, then the common options."""
        self.format_commands(ctx, formatter)
        write_options(self, ctx, formatter)


class UnknownCommand(click.UsageError):
    """A word that is no command."""

    def __init__(self, word: str, known: Sequence[str], ctx: click.Context) -> None:
        super().__init__(f"There is no command {word!r}.", ctx)
        self.word = word
        self.known = known


def write_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Write a command's own options, and the common ones under a heading of their own."""
    arguments: list[tuple[str, str]] = []
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for each in command.get_params(ctx):
        if isinstance(each, click.Argument):
            about = each.about if isinstance(each, Argument) else ""
            arguments += [(each.make_metavar(ctx), about)] if about else []
            continue
        record = each.get_help_record(ctx)
        if record is not None:
            is_common = each.name is not None and each.name.startswith("common_")
            (common if is_common else own).append(record)
    panels = (("Arguments", arguments), ("Options", own), ("Common options", common))
    for title, records in panels:
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
