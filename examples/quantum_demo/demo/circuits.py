"""The same two circuits on a perfect machine and on the twins of two real ones."""

from __future__ import annotations

from html import escape
from typing import Any

from demo.drawing import bars

SHOTS = 1000
MACHINES = {"ionq-forte-enterprise-1": "braket", "iqm-garnet": "braket"}
"""Machines that are not reached from here, and by whom jobs can go to each."""

DEVICES = ("sim-ideal", *MACHINES)

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

TITLE = "What a quantum computer does"
EXPLAINED = """Each row is one outcome, and its bar says how often it came in a thousand runs. Bits
that are entangled agree whenever they are read: all 0 or all 1, each in half of the runs, though
nothing decides which before. A perfect machine shows these two outcomes only. Real machines err a
little with every operation, so some rows disagree; the more operations, the more of them. What you
see for the two machines is a twin: a model that this node made of the figures that their makers
published, and not the machines themselves. The price is what the same runs cost on the machine."""


def run(queue: Any) -> dict[str, dict[str, Any]]:
    """Run both programs on every device."""
    return {device: _run(queue, device) for device in DEVICES}


def _run(queue: Any, device: str) -> dict[str, Any]:
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


def body(columns: dict[str, dict[str, Any]]) -> str:
    """Return what the page shows."""
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
    there = "".join(
        f"<li><code>skerry quantum run bell.qasm --device {escape(device)} "
        f"--provider {escape(provider)}</code></li>"
        for device, provider in MACHINES.items()
    )
    return (
        f"{''.join(blocks)}<h2>What it would cost</h2><ul>{costs}</ul>"
        "<h2>On the machine itself</h2><p>One flag more, and the credentials of the vendor "
        f"(it was not tried here):</p><ul>{there}</ul>"
    )
