"""One page: the same two programs on a perfect machine and on the twins of two real ones."""

from __future__ import annotations

from html import escape
from typing import Any

from starlette.responses import HTMLResponse

SHOTS = 1000
DEVICES = ("sim-ideal", "ionq-forte-enterprise-1", "iqm-garnet")

BELL = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""

GHZ = """OPENQASM 3.0;
include "stdgates.inc";
qubit[5] q;
bit[5] c;
h q[0];
for int i in [0:3] { cx q[i], q[i + 1]; }
c = measure q;
"""

PROGRAMS = {"Two entangled qubits": BELL, "Five entangled qubits": GHZ}

EXPLAINED = """Each row is one outcome, and its bar says how often it came in a thousand runs. Bits
that are entangled agree whenever they are read: all 0 or all 1, each in half of the runs, though
nothing decides which before. A perfect machine shows these two outcomes only. Real machines err a
little with every operation, so some rows disagree; the more operations, the more of them. What you
see for the two machines is a twin: a model that this node made of the figures that their makers
published, and not the machines themselves. The price is what the same runs cost on the machine."""


def fetch(request: Any, env: Any) -> Any:
    """Run both programs on every device, and show them side by side."""
    columns = {device: run(env.qpu, device) for device in DEVICES}
    if request.query_params.get("format") == "json":
        return columns
    return HTMLResponse(page(columns))


def run(queue: Any, device: str) -> dict[str, Any]:
    """Run both programs as one job on a device's twin; return counts, costs and provenance."""
    job = queue.submit(list(PROGRAMS.values()), device=device, shots=SHOTS, seed=1)
    results = queue.wait(job.id)
    cost = job.cost.hardware
    return {
        "job": job.id,
        "nature": job.nature,
        "cost": None if cost is None else f"{cost / 1_000_000:.2f} {job.cost.currency}",
        "counts": [result.counts for result in results],
        "engine": results[0].provenance.engine,
    }


def page(columns: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    blocks = []
    for number, title in enumerate(PROGRAMS):
        cells = "".join(
            f"<section><h3>{escape(device)}</h3>{bars(found['counts'][number])}"
            f"<p><small>{escape(found['nature'])}</small></p></section>"
            for device, found in columns.items()
        )
        blocks.append(f"<h2>{escape(title)}</h2><div class='row'>{cells}</div>")
    costs = "".join(
        f"<li>{escape(device)}: {escape(found['cost'] or 'not published')}</li>"
        for device, found in columns.items()
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Quantum demo</title>"
        "<style>body{font:16px system-ui,sans-serif;max-width:70rem;margin:2rem auto;"
        "padding:0 1rem}"
        ".row{display:flex;flex-wrap:wrap;gap:1.5rem}section{flex:1;min-width:16rem}"
        ".bar{background:#1a7f5a;height:.9rem;border-radius:2px}"
        "td{padding:.1rem .4rem;font-variant-numeric:tabular-nums}td:nth-child(2){width:60%}"
        f"</style></head><body><h1>What a quantum computer does</h1><p>{escape(EXPLAINED)}</p>"
        f"{''.join(blocks)}<h2>What it would cost</h2><ul>{costs}</ul></body></html>"
    )


def bars(counts: dict[str, int]) -> str:
    """Return the most frequent outcomes as bars."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])[:8]
    most = ordered[0][1]
    rows = "".join(
        f"<tr><td><code>{escape(text)}</code></td><td><div class='bar' "
        f"style='width:{100 * count / most:.0f}%'></div></td><td>{count}</td></tr>"
        for text, count in ordered
    )
    return f"<table>{rows}</table>"
