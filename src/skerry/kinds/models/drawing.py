"""Answers of models side by side, for a terminal."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.kinds.models.manifest import Compared

COLUMN_MIN = 24
_GAP = "   "


def draw_comparison(rows: Sequence[Compared], columns: int) -> str:
    """Return answers in columns, or below each other where the terminal is too narrow."""
    beside = max(1, (columns + len(_GAP)) // (COLUMN_MIN + len(_GAP)))
    groups = [rows[at : at + beside] for at in range(0, len(rows), beside)]
    return "\n\n".join(_group(group, columns) for group in groups)


def _group(rows: Sequence[Compared], columns: int) -> str:
    width = min((columns - len(_GAP) * (len(rows) - 1)) // len(rows), 80)
    cells = [_cell(row, width) for row in rows]
    lines = itertools.zip_longest(*cells, fillvalue="")
    return "\n".join(_GAP.join(f"{part:{width}}" for part in line).rstrip() for line in lines)


def _cell(row: Compared, width: int) -> list[str]:
    text = row.error or row.answer or "(nothing)"
    body: Iterable[str] = itertools.chain.from_iterable(
        textwrap.wrap(line, width) or [""] for line in _printable(text).splitlines()
    )
    return [row.model[:width], "-" * min(width, len(row.model)), *body, "", *facts(row)]


def facts(row: Compared) -> list[str]:
    """Return what an answer took and cost, a line each."""
    if row.error:
        return ["failed"]
    first = "first token unknown" if row.first is None else f"first token {row.first:.3f} s"
    speed = row.tokens_per_second
    return [
        f"{row.provider} ({row.country})",
        first,
        "speed unknown" if speed is None else f"{speed:g} tokens/s",
        f"{row.input_tokens}+{row.output_tokens} tokens in {row.seconds:.2f} s",
        f"{row.euro} EUR" if row.euro else "price unknown",
    ]


def _printable(text: str) -> str:
    """Return a text without what would steer the terminal."""
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)
