"""The report as text and as a page that stands alone."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from skerry.node.sovereignty.framework import SEALS

if TYPE_CHECKING:
    from skerry.node.sovereignty.shape import Line, Report

NOTE = (
    "A self-assessment, not a certificate. The overall level is the lowest of all criteria. "
    "What nobody answered counts as the lowest answer."
)


def level(seal: int) -> str:
    """Return a level as it is written."""
    return f"SEAL-{seal} ({SEALS[seal]})"


def draw_report(report: Report, *, whole: bool) -> str:
    """Return the report as text; `whole` lists every criterion."""
    lines = [
        f"{report.subject}, {report.date}: evidenced {level(report.evidenced_seal)}, "
        f"claimed {level(report.claimed_seal)}",
        f"{report.answered} of {report.criteria} criteria answered; framework {report.framework}",
        "",
        f"{'':6} {'objective':26} {'claimed':>8} {'evidenced':>10} {'points':>15}",
    ]
    for part in report.parts:
        shares = f"{part.claimed_share:.0%} / {part.evidenced_share:.0%}"
        lines.append(
            f"{part.code:6} {part.title:26} {part.claimed_seal:>8} {part.evidenced_seal:>10} "
            f"{shares:>15}"
        )
        if whole:
            lines += [f"         {_line(line)}" for line in part.lines]
    lines.append("")
    for score in report.scores:
        lines.append(
            f"score {score.claimed:>5} claimed, {score.evidenced:>5} evidenced of 100, "
            f"weights {score.weights} ({score.source})"
        )
    lines += ["", f"limited to SEAL-{report.evidenced_seal} by"]
    lines += [f"  {_line(line)}" for line in report.limiting]
    lines += ["", f"silicon: {report.silicon}", *report.remarks, NOTE]
    return "\n".join(lines)


def _line(line: Line) -> str:
    state = f"SEAL-{line.evidenced_seal}"
    if line.claimed_seal != line.evidenced_seal:
        state += f", claimed {line.claimed_seal}"
    support = f" [{line.evidence}]" if line.evidence else ""
    better = f"; {line.raised_by}" if line.raised_by else ""
    return f"{line.id} {line.title}: {line.label}{support} ({state}){better}"


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "th,td{text-align:left;padding:.35rem .6rem;border-top:1px solid #ccc;vertical-align:top}"
    "td.n{text-align:right}small{color:#555}"
)


def draw_html(report: Report) -> str:
    """Return the report as one page without anything from elsewhere."""
    head = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>Sovereignty of {escape(report.subject)}</title><style>{_STYLE}</style></head>"
    )
    parts = "".join(
        f"<tr><th scope='row'>{part.code} {escape(part.title)}</th>"
        f"<td class='n'>{part.claimed_seal}</td><td class='n'>{part.evidenced_seal}</td>"
        f"<td class='n'>{part.claimed_share:.0%}</td><td class='n'>{part.evidenced_share:.0%}</td>"
        "</tr>"
        for part in report.parts
    )
    scores = "".join(
        f"<li>{score.claimed} claimed, {score.evidenced} evidenced of 100 under weights "
        f"{escape(score.weights)} <small>({escape(score.source)})</small></li>"
        for score in report.scores
    )
    limits = "".join(f"<li>{escape(_line(line))}</li>" for line in report.limiting)
    rows = "".join(
        f"<tr><th scope='row'>{line.id}</th><td>{escape(line.title)}</td>"
        f"<td>{escape(line.label)}</td><td class='n'>{line.claimed_seal}</td>"
        f"<td class='n'>{line.evidenced_seal}</td><td>{escape(line.evidence)}</td>"
        f"<td>{escape(line.raised_by)}</td></tr>"
        for part in report.parts
        for line in part.lines
    )
    return (
        f"{head}<body><h1>Sovereignty of {escape(report.subject)}</h1>"
        f"<p>{report.date}. Evidenced <strong>{level(report.evidenced_seal)}</strong>, claimed "
        f"{level(report.claimed_seal)}; {report.answered} of {report.criteria} criteria answered; "
        f"EU Cloud Sovereignty Framework, calculator of {report.framework}.</p><p>{NOTE}</p>"
        "<table><thead><tr><th>Objective</th><th>Claimed</th><th>Evidenced</th>"
        f"<th>Points claimed</th><th>Evidenced</th></tr></thead><tbody>{parts}</tbody></table>"
        f"<ul>{scores}</ul><h2>Limited to SEAL-{report.evidenced_seal} by</h2><ul>{limits}</ul>"
        f"<p>Silicon: {escape(report.silicon)}</p>"
        f"<p>{escape(' '.join(report.remarks))}</p>"
        "<h2>Every criterion</h2><table><thead><tr><th>Id</th><th>Criterion</th><th>Answer</th>"
        "<th>Claimed</th><th>Evidenced</th><th>Evidence</th><th>What would raise it</th></tr>"
        f"</thead><tbody>{rows}</tbody></table></body></html>"
    )
