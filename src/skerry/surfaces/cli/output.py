"""Where the command line writes: results to stdout, progress and remarks to stderr."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any

from skerry.kernel.clock import Clock, SystemClock
from skerry.kernel.errors import SkerryError
from skerry.surfaces.cli.options import Options

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_CALM_SECONDS = 0.2
_REPEAT_SECONDS = 5.0
_BAR_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Output:
    """The two streams, and whether they are coloured."""

    json: bool = False
    quiet: bool = False
    color: bool = False
    color_error: bool = False
    out: IO[str] = field(default_factory=lambda: sys.stdout)
    error: IO[str] = field(default_factory=lambda: sys.stderr)
    clock: Clock = field(default_factory=SystemClock)

    @classmethod
    def for_process(cls, options: Options) -> Output:
        """Return the output of this process, as options and environment want it."""
        return cls(
            json=options.json,
            quiet=options.quiet,
            color=wants_color(sys.stdout, options.color),
            color_error=wants_color(sys.stderr, options.color),
        )

    def result(self, text: str) -> None:
        """Write a result for people."""
        if text:
            self.out.write(text if text.endswith("\n") else f"{text}\n")
            self.out.flush()

    def data(self, value: Any, *, line: bool = False) -> None:
        """Write a result for programs: one document, or one line of many."""
        indent = None if line else 2
        self.out.write(json.dumps(value, indent=indent, ensure_ascii=False) + "\n")
        self.out.flush()

    def remark(self, text: str, style: str = "dim") -> None:
        """Say something that is no result."""
        if not self.quiet:
            self.error.write(self.styled_error(text, style) + "\n")
            self.error.flush()

    def failure(self, error: SkerryError, docs: str) -> None:
        """Report an error: what, why, what to run, where to read; as JSON if that is wanted."""
        if self.json:
            self.error.write(json.dumps({"error": error.as_dict()}, ensure_ascii=False) + "\n")
            return
        lines = [f"{self.styled_error(f'error[{error.code}]:', 'red')} {error.what}"]
        lines += [textwrap.indent(error.why, "  ")] if error.why else []
        lines += [f"{self.styled_error('hint:', 'cyan')} {error.hint}"] if error.hint else []
        lines += [f"{self.styled_error('docs:', 'cyan')} {docs}"]
        self.error.write("\n".join(lines) + "\n")

    def styled(self, text: str, style: str) -> str:
        """Return text in a style of the results, plain if they are not coloured."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color else text

    def styled_error(self, text: str, style: str) -> str:
        """Return text in a style of what is no result."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color_error else text

    def steps(self) -> Steps:
        """Return what shows how far a command has come."""
        silent = self.quiet or self.json or bool(os.environ.get("SKERRY_NO_PROGRESS"))
        return Steps(self, silent=silent, lively=self.error.isatty())


def wants_color(stream: IO[str], option: bool | None) -> bool:
    """Tell whether a stream is coloured: by option, by environment, or because it is a terminal."""
    if option is not None:
        return option
    environment = os.environ
    if environment.get("NO_COLOR") or environment.get("CLICOLOR") == "0":
        return False
    if environment.get("CLICOLOR_FORCE", "0") != "0" or environment.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environment.get("TERM") != "dumb"


class Steps(AbstractContextManager["Steps"]):
    """Shows progress: a line that changes on a terminal after a moment, else a line a step.

    A step that goes on (`sending, 3 MiB`, `sending, 4 MiB`) has a line every few seconds then.
    """

    def __init__(self, output: Output, *, silent: bool, lively: bool) -> None:
        self._output = output
        self._silent = silent
        self._lively = lively
        self._began = output.clock.monotonic()
        self._step = ""
        self._written = self._began
        self._frame = 0
        self._shown = False

    def __call__(self, done: int, total: int, text: str) -> None:
        """Show a step; see `Progress`."""
        if self._silent:
            return
        if self._lively:
            self._redraw(done, total, text)
        elif text:
            self._add_line(done, total, text)

    def _add_line(self, done: int, total: int, text: str) -> None:
        step, now = text.partition(",")[0], self._output.clock.monotonic()
        if step == self._step:
            if now - self._written < _REPEAT_SECONDS:
                return
            text += f" {done / total:.0%}" if total > 0 else ""
        self._step, self._written = step, now
        self._output.error.write(f"· {text}\n")
        self._output.error.flush()

    def _redraw(self, done: int, total: int, text: str) -> None:
        if self._output.clock.monotonic() - self._began < _CALM_SECONDS:
            return
        self._frame += 1
        sign = self._output.styled_error(_FRAMES[self._frame % len(_FRAMES)], "cyan")
        self._output.error.write(f"\r\x1b[K{sign} {bar(done, total)}{text}")
        self._output.error.flush()
        self._shown = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._output.error.write("\r\x1b[K")
            self._output.error.flush()


def bar(done: int, total: int) -> str:
    """Return a bar for a part of a whole, or nothing where the whole is not known."""
    if total <= 0:
        return ""
    part = min(max(done / total, 0.0), 1.0)
    full = round(part * _BAR_WIDTH)
    return f"{'━' * full}{'╌' * (_BAR_WIDTH - full)} {part:4.0%} "


Report = Callable[[int, int, str], None]
