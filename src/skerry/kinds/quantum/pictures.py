"""Draws devices and outcomes as SVG, for the console and for files."""

from __future__ import annotations

import math
from html import escape

from skerry.kinds.quantum.catalogue.model import Calibration, Device
from skerry.kinds.quantum.contract import Job, Result
from skerry.kinds.quantum.drawing import grade, percent, thirds

_COLOURS = ("#1a7f5a", "#b58a00", "#c2452d", "#8a8f98")
_STEP, _MARGIN, _RADIUS = 56, 34, 17
_BARS_MAX = 32


def topology(device: Device, calibration: Calibration | None) -> str:
    """Return a device's topology with the errors of its pairs in colour, as one SVG element."""
    if calibration is not None and calibration.at:
        return _lattice(device, calibration)
    if device.topology.kind == "all" and device.qubits:
        return _ring(device)
    return ""


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


def _ring(device: Device) -> str:
    """Draw qubits that all interact with each other: a ring, with every chord."""
    count = device.qubits
    size = 360
    middle, reach = size / 2, size / 2 - 20
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
    parts += [f'<circle cx="{x}" cy="{y}" r="7" fill="{_COLOURS[0]}"/>' for x, y in spots]
    return _svg(size, size, f"{device.name}: every pair of qubits can interact", parts)


def _svg(width: float, height: float, title: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
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
