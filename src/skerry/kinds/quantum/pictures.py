"""Draws devices and outcomes as SVG, for the console and for files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from skerry.kinds.quantum.catalogue.model import Calibration, Device
from skerry.kinds.quantum.contract import Job, Result
from skerry.kinds.quantum.drawing import count as counted
from skerry.kinds.quantum.drawing import grade, percent, span, thirds
from skerry.kinds.quantum.messages import Need

_COLOURS = ("#1a7f5a", "#b58a00", "#c2452d", "#8a8f98")
_SERIES = ("#1a7f5a", "#b58a00", "#c2452d", "#3566c4", "#8050b0", "#8a8f98", "#0891b2")
_STEP, _MARGIN, _RADIUS = 56, 34, 17
_DOTS_MAX = 100
_BARS_MAX = 32


def topology(device: Device, calibration: Calibration | None) -> str:
    """Return a device's topology with the errors of its pairs in colour, as one SVG element."""
    if calibration is not None and calibration.at:
        return _lattice(device, calibration)
    if device.topology.kind == "all" and device.qubits:
        return _ring(device)
    return ""


def thumbnail(device: Device, calibration: Calibration | None) -> str:
    """Return a device's topology in small: lines in three colours, and nothing to point at."""
    if calibration is None or not calibration.at:
        return _ring(device, 96) if device.topology.kind == "all" and device.qubits < 100 else ""
    bounds = thirds([error for _, _, error in calibration.edges() if error is not None])
    paths: dict[int, list[str]] = {0: [], 1: [], 2: [], 3: []}
    for first, second, error in calibration.edges():
        (x1, y1), (x2, y2) = calibration.at[first], calibration.at[second]
        line = f"M{x1 * 8 + 4:g} {y1 * 8 + 4:g}L{x2 * 8 + 4:g} {y2 * 8 + 4:g}"
        paths[grade(error, bounds)].append(line)
    width = max(x for x, _ in calibration.at.values()) * 8 + 8
    height = max(y for _, y in calibration.at.values()) * 8 + 8
    parts = [
        f'<path d="{"".join(lines)}" stroke="{_COLOURS[mark]}" stroke-width="2" fill="none"/>'
        for mark, lines in paths.items()
        if lines
    ]
    return _svg(width, height, f"Topology of {device.name}", parts, "96")


def _lattice(device: Device, calibration: Calibration) -> str:
    places = {label: _place(at) for label, at in calibration.at.items()}
    bounds = thirds([error for _, _, error in calibration.edges() if error is not None])
    width = max(x for x, _ in places.values()) + _MARGIN
    height = max(y for _, y in places.values()) + _MARGIN
    parts = []
    for first, second, error in calibration.edges():
        (x1, y1), (x2, y2) = places[first], places[second]
        mark = grade(error, bounds)
        dashes = ' stroke-dasharray="4 4"' if mark == 3 else ""
        said = "does not work" if error is None else f"error {percent(error)} %"
        parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{_COLOURS[mark]}" '
            f'stroke-width="5"{dashes}><title>{escape(first)}-{escape(second)}: {said}</title>'
            "</line>"
        )
    errors = {label: each.gate_error for label, each in calibration.qubits.items()}
    inner = thirds([each for each in errors.values() if each is not None])
    for label, (x, y) in places.items():
        parts.append(_qubit(label, x, y, errors.get(label), inner))
    title = f"Topology of {device.name} with errors of {calibration.taken_at}"
    return _svg(width, height, title, parts)


def _place(at: tuple[float, float]) -> tuple[int, int]:
    return round(at[0] * _STEP) + _MARGIN, round(at[1] * _STEP) + _MARGIN


def _qubit(label: str, x: int, y: int, error: float | None, bounds: tuple[float, float]) -> str:
    said = "no figure" if error is None else f"one-qubit error {percent(error)} %"
    return (
        f'<g><title>qubit {escape(label)}: {said}</title><circle cx="{x}" cy="{y}" r="{_RADIUS}" '
        f'fill="{_COLOURS[grade(error, bounds)]}"/><text x="{x}" y="{y + 4}" fill="#fff" '
        f'font-size="12" text-anchor="middle">{escape(label.replace("_", "."))}</text></g>'
    )


def _ring(device: Device, size: int = 360) -> str:
    """Draw qubits that all interact with each other: a ring, with every chord."""
    count = device.qubits
    middle, reach = size / 2, size * 0.44
    spots = [
        (
            round(middle + reach * math.sin(2 * math.pi * number / count), 1),
            round(middle - reach * math.cos(2 * math.pi * number / count), 1),
        )
        for number in range(count)
    ]
    chords = " ".join(
        f"M{x1} {y1}L{x2} {y2}"
        for number, (x1, y1) in enumerate(spots)
        for x2, y2 in spots[number + 1 :]
    )
    parts = [f'<path d="{chords}" stroke="{_COLOURS[0]}" stroke-width="0.4" fill="none"/>']
    dot = f'r="{size / 50:g}" fill="{_COLOURS[0]}"'
    parts += [f'<circle cx="{x}" cy="{y}" {dot}/>' for x, y in spots]
    return _svg(size, size, f"{device.name}: every pair of qubits can interact", parts, str(size))


def _svg(width: float, height: float, title: str, parts: list[str], tall: str = "") -> str:
    size = f'height="{tall}" ' if tall else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {size}'
        f'role="img" font-family="system-ui, sans-serif"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def histogram(result: Result, title: str) -> str:
    """Return the outcomes of a result as bars, the most frequent first, as one SVG element."""
    total = sum(result.counts.values()) or 1
    ordered = sorted(result.counts.items(), key=lambda item: (-item[1], item[0]))[:_BARS_MAX]
    most = max((count for _, count in ordered), default=1)
    width, row = 640, 24
    parts = []
    for number, (text, count) in enumerate(ordered):
        y = 8 + number * row
        length = max(1, round(380 * count / most))
        name = text if len(text) <= 20 else f"{text[:19]}…"
        parts.append(
            f'<text x="150" y="{y + 15}" text-anchor="end" font-size="13" '
            f'font-family="ui-monospace, monospace" fill="currentColor">{escape(name)}</text>'
            f'<rect x="158" y="{y}" width="{length}" height="18" rx="2" fill="{_COLOURS[0]}"/>'
            f'<text x="{164 + length}" y="{y + 14}" font-size="12" fill="currentColor">'
            f"{count} ({count / total:.1%})</text>"
        )
    hidden = len(result.counts) - len(ordered)
    if hidden:
        y = 8 + len(ordered) * row + 15
        parts.append(
            f'<text x="158" y="{y}" font-size="12" fill="currentColor">and {hidden} more</text>'
        )
    return _svg(width, 16 + (len(ordered) + bool(hidden)) * row, title, parts)


def curve(values: Sequence[float], title: str) -> str:
    """Return values in their order as a line between the least and the most, as one SVG element."""
    least, most = min(values), max(values)
    spread, last = (most - least) or 1.0, max(1, len(values) - 1)
    spots = [
        (64 + 560 * number / last, 148 - 132 * (value - least) / spread)
        for number, value in enumerate(values)
    ]
    path = " ".join(
        f"{'L' if number else 'M'}{x:.1f} {y:.1f}" for number, (x, y) in enumerate(spots)
    )
    parts = [f'<path d="{path}" stroke="{_COLOURS[0]}" stroke-width="2" fill="none"/>']
    parts += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS[0]}"/>'
        for x, y in (spots if len(spots) <= _DOTS_MAX else spots[-1:])
    ]
    parts += [
        f'<text x="58" y="{y}" text-anchor="end" font-size="12" '
        f'fill="currentColor">{value:.4g}</text>'
        for y, value in ((20, most), (152, least))
    ]
    return _svg(640, 164, title, parts)


class _Axis:
    """A logarithmic axis over some values, from one place in a drawing to another."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        logarithms = [math.log10(each) for each in values]
        room = max(0.15, 0.06 * (max(logarithms) - min(logarithms)))
        self._low = min(logarithms) - room
        self._span = max(logarithms) + room - self._low
        self._first, self._reach = first, last - first

    def place(self, value: float) -> float:
        """Return where a value stands."""
        part = (math.log10(value) - self._low) / self._span
        return round(self._first + part * self._reach, 1)

    def within(self, values: Sequence[float]) -> list[float]:
        """Return those of some values that the axis shows."""
        return [each for each in values if 0 <= math.log10(each) - self._low <= self._span]


_WIDE, _HIGH, _LEFT, _FOOT = 680, 440, 64, 110
_TIMES = (1e-9, 1e-6, 1e-3, 1.0, 60.0, 3600.0, 86_400.0, *(31_557_600.0 * 10**n for n in range(7)))
_COUNTS = tuple(factor * 10.0**power for power in range(12) for factor in (1, 2, 5))


def frontiers(needs: Sequence[Need]) -> str:
    """Return qubits against time for every target, on two logarithmic axes, as one SVG element.

    A target's points are its Pareto front: fewer qubits for more time. Hypothetical ones are
    hollow.
    """
    every = [point for each in needs for point in each.frontier]
    if not every:
        return ""
    bottom = _HIGH - _FOOT
    across = _Axis([qubits for qubits, _ in every], _LEFT, _WIDE - 20)
    up = _Axis([seconds for _, seconds in every], bottom, 16)
    parts = [
        f'<path d="M{_LEFT} 10V{bottom}H{_WIDE - 10}" stroke="currentColor" fill="none"/>',
        _mark(_WIDE - 10, bottom + 36, "physical qubits", "end"),
    ]
    marks = across.within(_COUNTS)
    parts += [
        _mark(across.place(each), bottom + 18, counted(each), "middle")
        for each in marks[:: max(1, len(marks) // 5)]
    ]
    for value in up.within(_TIMES):
        parts.append(_mark(_LEFT - 8, up.place(value) + 4, span(value), "end"))
        parts.append(_rule(up.place(value)))
    for number, each in enumerate(needs):
        parts.append(_front(each, _SERIES[number % len(_SERIES)], across, up))
        x, y = _LEFT + (number % 3) * 205, bottom + 62 + (number // 3) * 18
        parts.append(_dot(x, y - 4, _SERIES[number % len(_SERIES)], hollow=each.hypothetical))
        named = f"{each.target}{' (hypothetical)' if each.hypothetical else ''}"
        parts.append(_mark(x + 10, y, named, "start"))
    return _svg(_WIDE, _HIGH, "Physical qubits against time", parts)


def _front(need: Need, colour: str, across: _Axis, up: _Axis) -> str:
    """Return a target's points, joined by a line, each telling what it is."""
    spots = [(across.place(qubits), up.place(seconds)) for qubits, seconds in need.frontier]
    line = " ".join(f"{x},{y}" for x, y in spots)
    dots = [
        _dot(
            *spot,
            colour,
            hollow=need.hypothetical,
            said=f"{need.target}: {counted(qubits)} qubits, {span(seconds)}",
        )
        for spot, (qubits, seconds) in zip(spots, need.frontier, strict=True)
    ]
    return f'<polyline points="{line}" fill="none" stroke="{colour}"/>{"".join(dots)}'


def _dot(x: float, y: float, colour: str, *, hollow: bool, said: str = "") -> str:
    inner = "none" if hollow else colour
    title = f"<title>{escape(said)}</title>" if said else ""
    return f'<circle cx="{x}" cy="{y}" r="5" fill="{inner}" stroke="{colour}">{title}</circle>'


def _mark(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="12" fill="currentColor">'
        f"{escape(text)}</text>"
    )


def _rule(y: float) -> str:
    return f'<path d="M{_LEFT} {y}H{_WIDE - 10}" stroke="#8a8f98" stroke-opacity="0.25"/>'


def _dated(result: Result) -> str:
    """Return of when the figures are, where a twin made a result."""
    found = result.provenance.calibration
    return "" if found is None else f"Figures of {escape(found.taken_at)}. "


def page(job: Job, results: tuple[Result, ...]) -> str:
    """Return a page of its own with every histogram of a job and where it comes from."""
    blocks = []
    for result in results:
        source = result.provenance
        title = f"Execution {result.execution}" if len(results) > 1 else "Outcome"
        blocks.append(
            f"<section><h2>{escape(title)}</h2>{histogram(result, title)}"
            f"<p>{result.shots} shots; {escape(result.endianness)}. {_dated(result)}"
            f"Engine {escape(source.engine)}: {escape(source.engine_reason)} "
            f"Seed {source.seed}.</p></section>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Job {escape(job.id)}</title><style>body{{font-family:system-ui,sans-serif;"
        "max-width:46rem;margin:2rem auto;padding:0 1rem}</style></head><body>"
        f"<h1>{escape(job.request.name or job.request.device)}</h1><p>Job {escape(job.id)}: "
        f"{escape(job.nature)}.</p>{''.join(blocks)}</body></html>\n"
    )
