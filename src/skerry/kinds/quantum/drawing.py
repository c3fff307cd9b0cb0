"""Draws devices and outcomes with characters, for terminals."""

from __future__ import annotations

import math
import string
import textwrap
from collections.abc import Sequence

from skerry.kinds.quantum.catalogue.model import Calibration

_WIDE, _NARROW = 10, 4
_GRADES = "━─┄"
_DOWN = "┃│┆"
BARS_MAX = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
_WORDS_MIN = 20
"""How narrow a last column may be made by wrapping it."""


def columns_of(
    rows: Sequence[tuple[str, ...]], head: tuple[str, ...], columns: int | None = None
) -> str:
    """Return rows of text under a head, aligned; the last column is not padded.

    Within so many `columns`, the last one goes on in further lines.
    """
    lines = [head, *rows]
    wide = [max(len(line[number]) for line in lines) for number in range(len(head))]
    before = sum(wide[:-1]) + 2 * (len(head) - 1)
    wide[-1] = 0
    drawn = []
    for line in lines:
        last = [line[-1]]
        if columns is not None:
            last = wrapped(line[-1], max(_WORDS_MIN, columns - before)).splitlines() or [""]
        cells = zip((*line[:-1], last[0]), wide, strict=True)
        drawn.append("  ".join(f"{cell:<{size}}" for cell, size in cells).rstrip())
        drawn += [f"{'':{before}}{more}" for more in last[1:]]
    return "\n".join(drawn)


def wrapped(text: str, columns: int, indent: str = "") -> str:
    """Return a paragraph in lines of so many columns, further ones behind an indent."""
    return textwrap.fill(
        text,
        max(_WORDS_MIN, columns),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def percent(error: float | None) -> str:
    """Return an error in per cent with two digits, or a cross where the pair does not work."""
    if error is None:
        return "✗"
    value = error * 100
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def thirds(errors: Sequence[float]) -> tuple[float, float]:
    """Return the bounds below which the best third, and the middle third, of errors lie."""
    ordered = sorted(errors) or [0.0]
    return ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]


def grade(error: float | None, bounds: tuple[float, float]) -> int:
    """Return 0 for the best third, 1, 2 for the worst, 3 for what does not work."""
    if error is None:
        return 3
    return 0 if error <= bounds[0] else 1 if error <= bounds[1] else 2


def topology(calibration: Calibration, columns: int) -> str:
    """Return a device's lattice with the errors of its pairs; the marks fit the width.

    With room enough, errors stand beside the lines in per cent; else lines tell thirds.
    """
    places = {label: (int(x), int(y)) for label, (x, y) in calibration.at.items()}
    if not places:
        return ""
    across = max(x for x, _ in places.values()) + 1
    step = _WIDE if across * _WIDE <= columns else _NARROW
    bounds = thirds([error for _, _, error in calibration.edges() if error is not None])
    down = max(y for _, y in places.values()) + 1
    canvas = _Canvas(across * step, down * 2 - 1)
    for first, second, error in calibration.edges():
        _edge(canvas, places[first], places[second], error, bounds, step)
    for label, (x, y) in places.items():
        canvas.write(x * step, y * 2, label.replace("_", "."))
    legend = _legend(bounds, wide=step == _WIDE)
    return f"{canvas.text()}\n\n{legend}"


class _Canvas:
    def __init__(self, width: int, height: int) -> None:
        self._rows = [[" "] * width for _ in range(height)]

    def write(self, x: int, y: int, text: str) -> None:
        for number, each in enumerate(text):
            if x + number < len(self._rows[y]):
                self._rows[y][x + number] = each

    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self._rows)


def _edge(
    canvas: _Canvas,
    one: tuple[int, int],
    other: tuple[int, int],
    error: float | None,
    bounds: tuple[float, float],
    step: int,
) -> None:
    (x, y), (to_x, to_y) = sorted((one, other))
    mark = grade(error, bounds)
    if y == to_y:
        sign = "✗" if mark == 3 else _GRADES[mark]
        canvas.write(x * step + 1, y * 2, sign * (step * (to_x - x) - 1))
        if step == _WIDE:
            canvas.write(x * step + 4, y * 2, percent(error))
    else:
        sign = "✗" if mark == 3 else _DOWN[mark]
        canvas.write(x * step, min(y, to_y) * 2 + 1, sign)
        if step == _WIDE:
            canvas.write(x * step + 1, min(y, to_y) * 2 + 1, percent(error))


def legend(calibration: Calibration) -> tuple[str, str] | None:
    """Return up to which errors of pairs, in per cent, the best and the middle third go."""
    errors = [error for _, _, error in calibration.edges() if error is not None]
    if not errors:
        return None
    low, high = thirds(errors)
    return percent(low), percent(high)


def _legend(bounds: tuple[float, float], *, wide: bool) -> str:
    low, high = percent(bounds[0]), percent(bounds[1])
    lines = f"pairs: ━ ┃ error up to {low} %   ─ │ up to {high} %   ┄ ┆ above   ✗ does not work"
    return f"{lines}\nnumbers are two-qubit errors in per cent" if wide else lines


def histogram(counts: dict[str, int], columns: int) -> str:
    """Return bars of the outcomes, the most frequent first; the rest is summed up in a line."""
    total = sum(counts.values())
    if not total:
        return "no shots"
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ordered[:BARS_MAX], ordered[BARS_MAX:]
    label = min(max(len(text) for text, _ in shown), max(8, columns // 3))
    room = max(10, columns - label - 18)
    most = shown[0][1]
    lines = []
    for text, count in shown:
        name = text if len(text) <= label else f"{text[: label - 1]}…"
        lines.append(f"{name:<{label}} {_bar(count / most, room)} {count} ({count / total:.1%})")
    if rest:
        lines.append(f"and {len(rest)} more outcomes in {sum(count for _, count in rest)} shots")
    return "\n".join(lines)


def span(seconds: float) -> str:
    """Return a time in the unit that fits."""
    units = (("y", 31_557_600.0), ("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
    for unit, size in (*units, ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def count(number: float) -> str:
    """Return a large number in thousands, millions or billions."""
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def scatter(points: dict[str, list[tuple[int, float]]], columns: int) -> str:
    """Return series of (qubits, seconds) as letters on two logarithmic axes."""
    every = [(math.log10(x), math.log10(y)) for each in points.values() for x, y in each]
    if not every:
        return ""
    width, height = min(columns, 100) - 12, 14
    low_x, low_y = min(x for x, _ in every), min(y for _, y in every)
    span_x = max(max(x for x, _ in every) - low_x, 0.1)
    span_y = max(max(y for _, y in every) - low_y, 0.1)
    canvas = _Canvas(width, height)
    for letter, series in zip(string.ascii_uppercase, points.values(), strict=False):
        for qubits, seconds in series:
            x = round((math.log10(qubits) - low_x) / span_x * (width - 1))
            y = round((math.log10(seconds) - low_y) / span_y * (height - 1))
            canvas.write(x, height - 1 - y, letter)
    top, bottom = span(10 ** (low_y + span_y)), span(10**low_y)
    lines = canvas.text().splitlines()
    marked = [
        f"{top if n == 0 else bottom if n == height - 1 else '':>10} │{line}"
        for n, line in enumerate(lines)
    ]
    ends = f"{count(10**low_x)} qubits", count(10 ** (low_x + span_x))
    axis = f"{'':>11}└{'─' * width}"
    foot = f"{'':>12}{ends[0]}{ends[1]:>{max(1, width - len(ends[0]))}}"
    key = ", ".join(
        f"{letter} {name}" for letter, name in zip(string.ascii_uppercase, points, strict=False)
    )
    return "\n".join([*marked, axis, foot, key])


def curve(series: dict[str, list[tuple[float, float]]], columns: int) -> str:
    """Return series of points on two plain axes, each by its mark; the later cover the earlier."""
    every = [point for points in series.values() for point in points]
    width, height = min(columns, 100) - 14, 14
    low_x, low_y = min(x for x, _ in every), min(y for _, y in every)
    span_x = max(x for x, _ in every) - low_x or 1.0
    span_y = max(y for _, y in every) - low_y or 1.0
    canvas = _Canvas(width, height)
    for mark, points in series.items():
        for x, y in points:
            row = height - 1 - round((y - low_y) / span_y * (height - 1))
            canvas.write(round((x - low_x) / span_x * (width - 1)), row, mark)
    lines = canvas.text().splitlines()
    ends = {0: f"{low_y + span_y:.4f}", height - 1: f"{low_y:.4f}"}
    marked = [f"{ends.get(number, ''):>10} │{line}" for number, line in enumerate(lines)]
    last = f"{low_x + span_x:g}"
    foot = f"{'':>12}{low_x:g}{last:>{max(1, width - len(f'{low_x:g}'))}}"
    return "\n".join([*marked, f"{'':>11}└{'─' * width}", foot])


def _bar(part: float, room: int) -> str:
    eighths = round(part * room * 8)
    full, left = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[left] if left else "")
