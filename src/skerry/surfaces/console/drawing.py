"""The tree of branches as lines and points, which a template draws as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skerry.kernel.commands import BranchInfo
from skerry.surfaces.units import in_tree_order

ROW = 56
"""The height of a branch's row, in pixels; the style sheet has the same number."""

_LANE = 22
_MARGIN = 18
_LANES_MAX = 8


@dataclass(frozen=True, slots=True)
class Point:
    """A branch: where its circle is, and what it says."""

    x: int
    y: int
    branch: BranchInfo


@dataclass(frozen=True, slots=True)
class Drawing:
    """A whole tree."""

    width: int
    height: int
    points: tuple[Point, ...]
    lines: tuple[str, ...]


def draw(branches: Sequence[BranchInfo]) -> Drawing:
    """Return where everything goes: a branch stands below its parent, one lane to the right."""
    points: dict[str, Point] = {}
    lines = []
    for row, (depth, branch) in enumerate(in_tree_order(branches)):
        x = _MARGIN + min(depth, _LANES_MAX) * _LANE
        point = Point(x, row * ROW + ROW // 2, branch)
        points[branch.name] = point
        parent = points.get(branch.parent or "")
        if parent is not None and parent is not point:
            lines.append(_curve(parent, point))
    deepest = max((point.x for point in points.values()), default=0)
    return Drawing(deepest + _MARGIN, len(points) * ROW, tuple(points.values()), tuple(lines))


def _curve(parent: Point, child: Point) -> str:
    """Return a path that leaves the parent downwards and reaches the child from the left."""
    bend = min(14, max(child.x - parent.x, 1))
    return f"M{parent.x} {parent.y} V{child.y - bend} Q{parent.x} {child.y} {child.x} {child.y}"
