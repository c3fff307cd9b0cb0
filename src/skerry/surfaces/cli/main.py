"""Runs a command line and turns what went wrong into an error for people and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 4 not allowed, 8 not finished yet, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import sys

import click

from skerry.kernel.errors import INTERNAL, INVALID, SkerryError
from skerry.surfaces.cli.base import UnknownCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.names import COMPLETION
from skerry.surfaces.cli.tree import root

INTERRUPTED = 130


def run(arguments: list[str]) -> int:
    """Run a command line; return its exit code."""
    call = Call()
    wanted = os.environ.get(COMPLETION)
    if wanted:
        return _complete(call, wanted)
    try:
        with root().make_context("skerry", list(arguments), obj=call) as context:
            context.command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return 0
    except click.ClickException as error:
        call.options.json |= "--json" in arguments  # what is wrong may stand before it
        return _failed(call, usage_error(error))
    except SkerryError as error:
        return _failed(call, error)
    except Exception as error:
        if os.environ.get("SKERRY_TRACE"):
            raise
        return _failed(call, _defect(error))
    return 0


def _complete(call: Call, wanted: str) -> int:
    """Answer what a shell asks for while somebody types."""
    from click.shell_completion import shell_complete  # noqa: PLC0415 (only for shells)

    return shell_complete(root(), {"obj": call}, "skerry", COMPLETION, wanted)


def _failed(call: Call, error: SkerryError) -> int:
    base = call.client.url if "client" in call.__dict__ else ""
    page = (
        f"{base}{error.as_dict()['docs']}" if base else f"skerry docs errors#{error.code.lower()}"
    )
    with contextlib.suppress(BrokenPipeError):
        call.out.failure(error, page)
    return error.problem.exit


def _defect(error: Exception) -> SkerryError:
    return INTERNAL(
        f"A defect in Skerry: {type(error).__name__}: {error}",
        why="This is not your mistake.",
        hint="SKERRY_TRACE=1 shows where it happened.",
    )


def usage_error(error: click.ClickException) -> SkerryError:
    """Return click's error in our shape, with the nearest command or option."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "skerry"
    hint = f"{path} --help"
    if isinstance(error, click.NoSuchOption):
        return INVALID(
            f"{path} has no option {error.option_name}.", why=_nearest_option(error), hint=hint
        )
    if isinstance(error, UnknownCommand):
        return INVALID(error.message, why=_nearest_command(error), hint=hint)
    message = error.format_message()
    return INVALID(message if message.endswith((".", "?")) else f"{message}.", hint=hint)


def _nearest_option(error: click.NoSuchOption) -> str:
    from skerry.kernel.names import did_you_mean, nearest  # noqa: PLC0415 (only for errors)

    known = [
        option
        for each in (error.ctx.command.params if error.ctx else [])
        for option in [*each.opts, *each.secondary_opts]
        if option.startswith("--")
    ]
    # Words are compared, not the dashes: those are alike in all of them.
    words = {each.removeprefix("--"): each for each in [*known, "--help"]}
    guess = nearest(error.option_name.removeprefix("--"), words)
    return did_you_mean(words[guess] if guess else "", words.values())


def _nearest_command(error: UnknownCommand) -> str:
    from skerry.kernel.names import did_you_mean  # noqa: PLC0415 (only for errors)

    return did_you_mean(error.word, error.known)


def _forget_stdout() -> None:
    """Let nothing complain at exit that the reader of our results went away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
