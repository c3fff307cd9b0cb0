"""Pages and drawings, as HTML and SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

GOOD, BAD = "#0f766e", "#d97706"
STYLE = f"""body{{font:16px/1.5 system-ui,sans-serif;color:#16211f;background:#f5f7f6;margin:0}}
header{{background:#fff;border-bottom:1px solid #dfe5e3}}main,nav{{max-width:68rem;margin:0 auto;
padding:0 1.2rem}}nav{{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;padding-block:.8rem}}
nav a{{color:{GOOD};text-decoration:none}}nav a[aria-current]{{color:#16211f;font-weight:600}}
h1{{font-size:2rem;line-height:1.2;margin:1.6rem 0 .6rem}}h2{{margin:2rem 0 .8rem}}
h3{{margin:0}}.lead{{max-width:46rem}}.row{{display:flex;flex-wrap:wrap;gap:1.2rem}}
section{{flex:1;min-width:16rem;background:#fff;border:1px solid #dfe5e3;border-radius:10px;
padding:1rem 1.2rem}}.which{{margin:.1rem 0;font-size:.85rem;color:#566562}}
.share{{margin:.6rem 0}}.share strong{{font-size:1.5rem}}table.bars{{width:100%}}
td{{padding:.1rem .3rem;font-variant-numeric:tabular-nums}}.bars td:nth-child(2){{width:100%}}
.bars td:last-child{{text-align:right}}.bar{{height:.9rem;border-radius:3px;min-width:2px}}
.costs td,.costs th{{text-align:left;padding:.2rem 1.5rem .2rem 0;font-weight:400}}
.costs td{{font-weight:600}}pre{{background:#16211f;color:#e7eeec;border-radius:8px;
padding:.7rem 1rem;white-space:pre-wrap}}pre strong{{color:#fbbf24}}
svg{{width:100%;max-width:44rem;height:auto;background:#fff;border:1px solid #dfe5e3;
border-radius:10px;padding:.6rem;box-sizing:border-box}}footer{{color:#566562;margin:2.5rem 0}}"""
WIDE, HIGH, LEFT, BOTTOM = 640, 320, 70, 60
Points = Sequence[tuple[float, float]]


def page(
    title: str,
    explained: str,
    body: str,
    links: Mapping[str, str],
    here: str,
    again: int,
    head: str = "",
) -> str:
    """Return a whole page; `again` is the number of the next run."""
    menu = "".join(
        f"<a href='{escape(path)}'{' aria-current=page' if path == here else ''}>{escape(text)}</a>"
        for path, text in links.items()
    )
    foot = f"<a href='{escape(here)}?again={again}'>Run it again</a>, with other chances." * bool(
        again
    )
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'>{head}<style>{STYLE}</style></head>"
        f"<body><header><nav>{menu}</nav></header><main><h1>{escape(title)}</h1>"
        f"<p class='lead'>{escape(explained)}</p>{body}<footer>{foot}</footer></main></body></html>"
    )


def waiting(
    title: str, explained: str, jobs: Sequence[Any], links: Mapping[str, str], here: str
) -> str:
    """Return a page that says how far its jobs are, and is loaded again every second."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(job.nature)}</th><td>{escape(job.state.lower())}</td></tr>"
        for job in jobs
    )
    body = f"<h2>It runs</h2><table class='costs'>{rows}</table>"
    refresh = "<meta http-equiv='refresh' content='1'>"
    return page(title, explained, body, links, here, 0, refresh)


def bars(counts: Mapping[str, int], is_good: Callable[[str], bool]) -> str:
    """Return the most frequent outcomes as bars, in two colours."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])[:8]
    most = ordered[0][1]
    rows = "".join(
        f"<tr><td><code>{escape(text)}</code></td><td><div class='bar' "
        f"style='background:{GOOD if is_good(text) else BAD};width:{100 * count / most:.0f}%'>"
        f"</div></td><td>{count}</td></tr>"
        for text, count in ordered
    )
    return f"<table class='bars'>{rows}</table>"


def curve(measured: Points, expected: Points, across: str, up: str) -> str:
    """Return measured points over the line that is expected of them; values are up to 0.55."""
    first, last = measured[0][0], measured[-1][0]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (point[0] - first) / (last - first) * (WIDE - LEFT - 20)
        return round(x, 1), round((HIGH - BOTTOM) * (1 - point[1] / 0.55), 1)

    line = " ".join(f"{x},{y}" for x, y in map(place, expected))
    dots = "".join(
        f"<circle cx='{x}' cy='{y}' r='5' fill='{GOOD}'/>" for x, y in map(place, measured)
    )
    marks = "".join(
        f"<text x='{LEFT - 8}' y='{place((first, value))[1] + 5}' text-anchor='end'>"
        f"{value:.0%}</text>"
        for value in (0.0, 0.25, 0.5)
    )
    marks += "".join(
        f"<text x='{place((value, 0))[0]}' y='{HIGH - BOTTOM + 20}' text-anchor='middle'>"
        f"{value:g}</text>"
        for value in (first, 0.0, last)
    )
    return (
        f"<svg viewBox='0 0 {WIDE} {HIGH}' role='img' font-size='15'>"
        f"<title>{escape(up)} against {escape(across)}</title>"
        f"<path d='M{LEFT},0V{HIGH - BOTTOM}H{WIDE - 10}' fill='none' stroke='#888'/>"
        f"<polyline points='{line}' fill='none' stroke='#888' stroke-dasharray='5 4'/>{dots}{marks}"
        f"<text x='{(WIDE + LEFT) / 2}' y='{HIGH - 8}' text-anchor='middle'>"
        f"{escape(across)}</text>"
        f"<text transform='translate(16,{(HIGH - BOTTOM) / 2}) rotate(-90)' text-anchor='middle'>"
        f"{escape(up)}</text></svg>"
    )


def circles(shares: Sequence[float]) -> str:
    """Return a row of atoms, the darker the more often each was excited."""
    drawn = "".join(
        f"<circle cx='{50 + 90 * number}' cy='45' r='30' fill='{GOOD}' "
        f"fill-opacity='{share:.2f}' stroke='{GOOD}' stroke-width='2'/>"
        f"<text x='{50 + 90 * number}' y='98' text-anchor='middle'>{share:.0%}</text>"
        for number, share in enumerate(shares)
    )
    wide = 90 * len(shares) + 10
    return (
        f"<svg viewBox='0 0 {wide} 110' role='img' font-size='15'>"
        f"<title>How often each atom was excited</title>{drawn}</svg>"
    )
