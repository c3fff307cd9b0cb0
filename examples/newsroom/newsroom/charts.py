"""Line charts as SVG, drawn on the server: geometry here, colours in the style sheet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 14, 28
SPAN_MIN = timedelta(minutes=8)
_MULTIPLE_MIN = 9.995
"""From here on a share is no longer written in per cent: 2,900 % is 29 times."""
_GAP_STEPS = 4
"""A line breaks where more than this many steps have no sample: the machine was off."""


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a moment."""

    time: datetime
    value: float


def line_chart(title: str, points: list[Point], end: datetime, span: timedelta) -> Markup:
    """Draw shares (0 to 1, more if need be) over the time that ends at `end`.

    The chart is as long as `span`, or as the samples go back.
    """
    if points:
        span = min(span, max(end - points[0].time, SPAN_MIN))
    top = max(1.0, *(point.value for point in points)) if points else 1.0
    scale = _Scale(end - span, span, top)
    parts = [*_rules(scale), *_hours(scale)]
    for run in _runs(points, span):
        parts += _line(scale, run)
    return Markup(  # noqa: S704 - numbers, and texts that are escaped
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(_summary(title, points))}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    start: datetime
    span: timedelta
    top: float

    def x(self, time: datetime) -> float:
        share = (time - self.start) / self.span
        return round(_LEFT + min(1.0, max(0.0, share)) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - _BOTTOM - value / self.top * (HEIGHT - _TOP - _BOTTOM), 1)

    def told(self, value: float) -> str:
        """Write a value for the axis, beside which is room for four characters."""
        return f"{value:.0%}" if self.top < _MULTIPLE_MIN else f"{value:.0f}\u00d7"


def _rules(scale: _Scale) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        value = share * scale.top
        y = scale.y(value)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        text = scale.told(value)
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{text}</text>')
    return parts


def _hours(scale: _Scale) -> list[str]:
    """Name five moments below the line; days where the chart is longer than two."""
    form = "%-d %b" if scale.span > timedelta(days=2) else "%H:%M"
    parts = []
    for step in range(5):
        time = scale.start + scale.span * step / 4
        anchor = "start" if step == 0 else "end" if step == 4 else "middle"
        parts.append(
            f'<text x="{scale.x(time)}" y="{HEIGHT - 8}" text-anchor="{anchor}">'
            f"{time.strftime(form)}</text>"
        )
    return parts


def _runs(points: list[Point], span: timedelta) -> list[list[Point]]:
    """Part the points where samples are missing."""
    gap = max(span / 240 * _GAP_STEPS, timedelta(minutes=5))
    runs: list[list[Point]] = []
    for point in points:
        if runs and point.time - runs[-1][-1].time <= gap:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _line(scale: _Scale, run: list[Point]) -> list[str]:
    spots = [(scale.x(point.time), scale.y(point.value)) for point in run]
    if len(spots) == 1:
        return [f'<circle class="dot" cx="{spots[0][0]}" cy="{spots[0][1]}" r="3"/>']
    path = " ".join(f"{x},{y}" for x, y in spots)
    floor = scale.y(0)
    last_x, last_y = spots[-1]
    return [
        f'<polygon class="area" points="{spots[0][0]},{floor} {path} {last_x},{floor}"/>',
        f'<polyline class="line" points="{path}"/>',
        f'<circle class="dot" cx="{last_x}" cy="{last_y}" r="3"/>',
    ]


def _summary(title: str, points: list[Point]) -> str:
    if not points:
        return f"{title}: no samples."
    values = [point.value for point in points]
    return (
        f"{title}: {values[-1]:.0%} now, between {min(values):.0%} and {max(values):.0%} "
        f"in {len(values)} points."
    )
