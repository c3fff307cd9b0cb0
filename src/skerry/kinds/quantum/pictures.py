"""Draws devices and outcomes as SVG, for the console and for files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from skerry.kinds.quantum.catalogue.model import Calibration, Device
from skerry.kinds.quantum.contract import Job, Result
from skerry.kinds.quantum.drawing import grade, percent, thirds
from skerry.kinds.quantum.messages import Need

_COLOURS = ("#1a7f5a", "#b58a00", "#c2452d", "#8a8f98")
_SERIES = ("#1a7f5a", "#b58a00", "#c2452d", "#3566c4", "#8050b0", "#8a8f98")
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


def frontiers(needs: Sequence[Need]) -> str:
    """Return qubits against time for every target, on two logarithmic axes, as one SVG element."""
    points = {each.target: each.frontier for each in needs}
    every = [(math.log10(x), math.log10(y)) for each in points.values() for x, y in each]
    if not every:
        return ""
    low_x, low_y = min(x for x, _ in every), min(y for _, y in every)
    span_x = max(max(x for x, _ in every) - low_x, 0.1)
    span_y = max(max(y for _, y in every) - low_y, 0.1)
    width, height, edge = 640, 360, 60
    parts = [
        f'<path d="M{edge} 20V{height - edge}H{width - 20}" stroke="currentColor" fill="none"/>'
        f'<text x="{width - 20}" y="{height - 36}" text-anchor="end" font-size="12" '
        f'fill="currentColor">physical qubits: {10**low_x:.1e} to {10 ** (low_x + span_x):.1e}'
        f'</text><text x="8" y="14" font-size="12" fill="currentColor">time: {10**low_y:.1e} s to '
        f"{10 ** (low_y + span_y):.1e} s</text>"
    ]
    for number, (name, series) in enumerate(points.items()):
        colour = _SERIES[number % len(_SERIES)]
        for qubits, seconds in series:
            x = edge + (math.log10(qubits) - low_x) / span_x * (width - edge - 40)
            y = height - edge - (math.log10(seconds) - low_y) / span_y * (height - edge - 40)
            said = f"{name}: {qubits} qubits, {seconds:.3g} s"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}">'
                f"<title>{escape(said)}</title></circle>"
            )
        parts.append(
            f'<text x="{edge + (number % 3) * 180}" y="{height - 18 + (number // 3) * 14}" '
            f'font-size="12" fill="{colour}">{escape(name)}</text>'
        )
    return _svg(width, height, "Physical qubits against time", parts)


def page(job: Job, results: tuple[Result, ...]) -> str:
    """Return a page of its own with every histogram of a job and where it comes from."""
    blocks = []
    for result in results:
        source = result.provenance
        title = f"{job.request.name or job.id}, execution {result.execution}"
        blocks.append(
            f"<section><h2>{escape(title)}</h2>{histogram(result, title)}"
            f"<p>{result.shots} shots; {escape(result.endianness)}. {escape(source.nature)}. "
            f"Engine {escape(source.engine)}: {escape(source.engine_reason)} "
            f"Seed {source.seed}.</p></section>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Job {escape(job.id)}</title><style>body{{font-family:system-ui,sans-serif;"
        "max-width:46rem;margin:2rem auto;padding:0 1rem}</style></head><body>"
        f"<h1>Job {escape(job.id)}</h1>{''.join(blocks)}</body></html>\n"
    )
