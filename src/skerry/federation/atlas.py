"""Where countries are, roughly: for a map of nodes. Capitals' coordinates, to half a degree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from skerry.federation.messages import NodeInfo

CAPITALS: dict[str, tuple[float, float]] = {
    "AD": (42.5, 1.5), "AL": (41.5, 20.0), "AT": (48.0, 16.5), "AU": (-35.5, 149.0),
    "BA": (44.0, 18.5), "BE": (51.0, 4.5), "BG": (42.5, 23.5), "BR": (-16.0, -48.0),
    "CA": (45.5, -75.5), "CH": (47.0, 7.5), "CN": (40.0, 116.5), "CY": (35.0, 33.5),
    "CZ": (50.0, 14.5), "DE": (52.5, 13.5), "DK": (55.5, 12.5), "EE": (59.5, 24.5),
    "ES": (40.5, -3.5), "FI": (60.0, 25.0), "FR": (49.0, 2.5), "GB": (51.5, 0.0),
    "GR": (38.0, 23.5), "HR": (46.0, 16.0), "HU": (47.5, 19.0), "IE": (53.5, -6.5),
    "IL": (32.0, 35.0), "IN": (28.5, 77.0), "IS": (64.0, -22.0), "IT": (42.0, 12.5),
    "JP": (35.5, 139.5), "KR": (37.5, 127.0), "LI": (47.0, 9.5), "LT": (54.5, 25.5),
    "LU": (49.5, 6.0), "LV": (57.0, 24.0), "MC": (43.5, 7.5), "MD": (47.0, 29.0),
    "ME": (42.5, 19.5), "MK": (42.0, 21.5), "MT": (36.0, 14.5), "MX": (19.5, -99.0),
    "NL": (52.5, 5.0), "NO": (60.0, 10.5), "NZ": (-41.5, 175.0), "PL": (52.0, 21.0),
    "PT": (38.5, -9.0), "RO": (44.5, 26.0), "RS": (45.0, 20.5), "SE": (59.5, 18.0),
    "SG": (1.5, 104.0), "SI": (46.0, 14.5), "SK": (48.0, 17.0), "SM": (44.0, 12.5),
    "TR": (40.0, 33.0), "TW": (25.0, 121.5), "UA": (50.5, 30.5), "US": (39.0, -77.0),
    "XK": (42.5, 21.0), "ZA": (-25.5, 28.0),
}  # fmt: skip

WIDTH, HEIGHT = 520, 320
_MARGIN_DEGREES = 4.0
_SPAN_DEGREES_MIN = 16.0
_STACK = 22
_GRID_DEGREES = (5, 10, 20, 30)
_LETTER, _TALL, _RADIUS = 7.2, 15, 8
"""About how wide a letter and how tall a line of a text is, and a node's circle, in pixels."""
_SIDES = (
    (12, 4, "start"),
    (-12, 4, "end"),
    (0, -13, "middle"),
    (0, 22, "middle"),
    (12, -13, "start"),
    (-12, -13, "end"),
    (12, 22, "start"),
    (-12, 22, "end"),
)
"""Where a text may stand beside its node, best first: how far, and which end of it is meant."""
_LINES_MAX = 9


@dataclass(frozen=True, slots=True)
class Mark:
    """A node on the map, and its text; `anchor` tells which part of the text is at its place."""

    x: int
    y: int
    node: NodeInfo
    text: str
    text_x: int
    text_y: int
    anchor: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of latitude or longitude, and what it says."""

    path: str
    x: int
    y: int
    text: str


@dataclass(frozen=True, slots=True)
class Map:
    """A map: nodes on a grid of degrees (equirectangular), and those whose country is not known."""

    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]
    elsewhere: tuple[NodeInfo, ...]


def draw(nodes: Iterable[NodeInfo]) -> Map:
    """Return a map of just the part of the world where nodes are."""
    everything = list(nodes)
    placed = [node for node in everything if node.country in CAPITALS]
    elsewhere = [node for node in everything if node.country not in CAPITALS]
    if not placed:
        return Map((), (), tuple(elsewhere))
    window = _Window([CAPITALS[node.country] for node in placed])
    taken: dict[str, int] = {}
    spots = []
    for node in placed:
        x, y = window.at(*CAPITALS[node.country])
        below = taken.get(node.country, 0)
        taken[node.country] = below + 1
        spots.append((x, y + below * _STACK, node))
    return Map(tuple(_labelled(spots)), tuple(window.grid()), tuple(elsewhere))


_Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


def _labelled(spots: list[tuple[int, int, NodeInfo]]) -> Iterator[Mark]:
    """Give each node a text where it covers no node and no other text, if there is such a place."""
    full: list[_Box] = [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y, _ in spots]
    for x, y, node in spots:
        text = _text(node)
        boxes = [_box(x + right, y + down, anchor, text) for right, down, anchor in _SIDES]
        best = min(range(len(_SIDES)), key=lambda side: (_bad(boxes[side], full), side))
        right, down, anchor = _SIDES[best]
        full.append(boxes[best])
        yield Mark(x, y, node, text, x + right, y + down, anchor)


def _text(node: NodeInfo) -> str:
    held = len(node.holds)
    parts = [node.name, node.country, *([f"{held} app{'s' if held != 1 else ''}"] if held else [])]
    return " · ".join(parts)


def _box(x: float, y: float, anchor: str, text: str) -> _Box:
    wide = len(text) * _LETTER
    left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
    return left, y - _TALL + 3, left + wide, y + 3


def _bad(box: _Box, full: list[_Box]) -> int:
    """Return how many boxes a box covers; one that leaves the map is worse than any."""
    left, top, right, bottom = box
    out = left < 0 or top < 0 or right > WIDTH or bottom > HEIGHT
    covered = sum(
        left < other[2] and other[0] < right and top < other[3] and other[1] < bottom
        for other in full
    )
    return covered + (1000 if out else 0)


class _Window:
    """The part of the world that is shown."""

    def __init__(self, places: list[tuple[float, float]]) -> None:
        south, north = _around([latitude for latitude, _ in places])
        west, east = _around([longitude for _, longitude in places])
        self._north, self._south, self._west, self._east = north, south, west, east

    def at(self, latitude: float, longitude: float) -> tuple[int, int]:
        """Return where a place is, in pixels."""
        x = (longitude - self._west) / (self._east - self._west) * WIDTH
        y = (self._north - latitude) / (self._north - self._south) * HEIGHT
        return round(x), round(y)

    def grid(self) -> list[Line]:
        """Return lines of latitude and longitude, not too many."""
        span = max(self._east - self._west, self._north - self._south)
        step = next((each for each in _GRID_DEGREES if span / each <= _LINES_MAX), 45)
        lines = []
        for degree in _steps(self._west, self._east, step):
            x, _ = self.at(0, degree)
            lines.append(Line(f"M{x} 0 V{HEIGHT}", x + 4, HEIGHT - 6, _degrees(degree, "E", "W")))
        for degree in _steps(self._south, self._north, step):
            _, y = self.at(degree, 0)
            lines.append(Line(f"M0 {y} H{WIDTH}", 6, y - 4, _degrees(degree, "N", "S")))
        return lines


def _around(values: list[float]) -> tuple[float, float]:
    low, high = min(values) - _MARGIN_DEGREES, max(values) + _MARGIN_DEGREES
    missing = max(0.0, _SPAN_DEGREES_MIN - (high - low)) / 2
    return low - missing, high + missing


def _steps(low: float, high: float, step: int) -> range:
    first = -int(-low // step) * step
    return range(first, int(high) + 1, step)


def _degrees(value: int, positive: str, negative: str) -> str:
    return f"{abs(value)}°{positive if value >= 0 else negative}"
