"""Pages and drawings, as HTML and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

STYLE = """body{font:16px system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
.row{display:flex;flex-wrap:wrap;gap:1.5rem}section{flex:1;min-width:16rem}
.bar{background:#1a7f5a;height:.9rem;border-radius:2px}nav a{margin-right:1.5rem}
td{padding:.1rem .4rem;font-variant-numeric:tabular-nums}td:nth-child(2){width:60%}
svg{width:100%;max-width:44rem;height:auto}"""
WIDE, HIGH, LEFT, BOTTOM = 640, 300, 60, 46
Points = Sequence[tuple[float, float]]


def page(title: str, explained: str, body: str, links: Mapping[str, str]) -> str:
    """Return a whole page."""
    menu = "".join(f"<a href='{escape(path)}'>{escape(text)}</a>" for path, text in links.items())
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head><body>"
        f"<nav>{menu}</nav><main><h1>{escape(title)}</h1><p>{escape(explained)}</p>{body}</main>"
        "</body></html>"
    )


def bars(counts: Mapping[str, int]) -> str:
    """Return the most frequent outcomes as bars."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])[:8]
    most = ordered[0][1]
    rows = "".join(
        f"<tr><td><code>{escape(text)}</code></td><td><div class='bar' "
        f"style='width:{100 * count / most:.0f}%'></div></td><td>{count}</td></tr>"
        for text, count in ordered
    )
    return f"<table>{rows}</table>"


def curve(measured: Points, expected: Points, across: str, up: str) -> str:
    """Return measured points over the line that is expected of them; values are up to 0.55."""
    first, last = measured[0][0], measured[-1][0]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (point[0] - first) / (last - first) * (WIDE - LEFT - 20)
        return round(x, 1), round((HIGH - BOTTOM) * (1 - point[1] / 0.55), 1)

    line = " ".join(f"{x},{y}" for x, y in map(place, expected))
    dots = "".join(
        f"<circle cx='{x}' cy='{y}' r='4' fill='#1a7f5a'/>" for x, y in map(place, measured)
    )
    marks = "".join(
        f"<text x='{LEFT - 8}' y='{place((first, value))[1] + 4}' text-anchor='end'>"
        f"{value:.0%}</text>"
        for value in (0.0, 0.25, 0.5)
    )
    return (
        f"<svg viewBox='0 0 {WIDE} {HIGH}' role='img' font-size='13'>"
        f"<title>{escape(up)} against {escape(across)}</title>"
        f"<path d='M{LEFT},0V{HIGH - BOTTOM}H{WIDE - 10}' fill='none' stroke='#888'/>"
        f"<polyline points='{line}' fill='none' stroke='#999' stroke-dasharray='4 3'/>{dots}{marks}"
        f"<text x='{(WIDE + LEFT) / 2}' y='{HIGH - 10}' text-anchor='middle'>"
        f"{escape(across)}</text>"
        f"<text transform='translate(16,{(HIGH - BOTTOM) / 2}) rotate(-90)' text-anchor='middle'>"
        f"{escape(up)}</text></svg>"
    )


def circles(shares: Sequence[float]) -> str:
    """Return a row of atoms, the darker the more often each was excited."""
    drawn = "".join(
        f"<circle cx='{50 + 90 * number}' cy='45' r='30' fill='#1a7f5a' "
        f"fill-opacity='{share:.2f}' stroke='#1a7f5a' stroke-width='2'/>"
        f"<text x='{50 + 90 * number}' y='98' text-anchor='middle'>{share:.0%}</text>"
        for number, share in enumerate(shares)
    )
    wide = 90 * len(shares) + 10
    return (
        f"<svg viewBox='0 0 {wide} 110' role='img' font-size='15'>"
        f"<title>How often each atom was excited</title>{drawn}</svg>"
    )
