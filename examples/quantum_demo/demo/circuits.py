"""The same two circuits on a perfect machine and on the twins of two real ones."""

from __future__ import annotations

from html import escape
from typing import Any

from qiskit import QuantumCircuit

from demo import jobs
from demo.drawing import bars

SHOTS = 1000
MACHINES = {
    "sim-ideal": ("A perfect machine", "simulated"),
    "ionq-forte-enterprise-1": ("An ion trap", "IonQ Forte Enterprise 1, in Basel"),
    "iqm-garnet": ("A superconducting chip", "IQM Garnet, in Espoo"),
}
"""What a layperson calls each device, and which it is."""

CEILINGS = {"ionq-forte-enterprise-1": "80", "iqm-garnet": "2"}
"""Euros that a run on the machine itself may cost."""

PROVIDER = "braket"
"""By whom jobs can go to both machines; none of them is reached from here."""

TITLE = "What a quantum computer does"
EXPLAINED = """Two qubits are entangled, and then five. Each row is one outcome, and its bar says
how often it came in a thousand runs. Entangled bits agree whenever they are read: all 0 or all 1,
each in half of the runs, though nothing decides which before. A perfect machine shows these two
outcomes only. Real machines err a little with every operation, so in some runs a bit disagrees
(orange); the more operations, the more of them. What you see for the two machines is a twin: a
model that this node made of the figures that their makers published, and not the machines
themselves."""


def entangled(count: int) -> QuantumCircuit:
    """Return a circuit that entangles some qubits and reads them: Bell for two, else GHZ."""
    circuit = QuantumCircuit(count, count)
    circuit.h(0)
    for qubit in range(count - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure(range(count), range(count))
    return circuit


PROGRAMS = {"Two entangled qubits": entangled(2), "Five entangled qubits": entangled(5)}


def submit(queue: Any, again: int) -> list[Any]:
    """Queue both circuits, as one job, on every device."""
    programs = list(PROGRAMS.values())
    return [
        jobs.submit(queue, device, again, programs, device=device, shots=SHOTS)
        for device in MACHINES
    ]


def found(queue: Any, queued: list[Any]) -> dict[str, dict[str, Any]]:
    """Return counts, costs and provenance of every device."""
    return dict(zip(MACHINES, (_of(queue, job) for job in queued), strict=True))


def _of(queue: Any, job: Any) -> dict[str, Any]:
    results = queue.wait(job.id)
    return {
        "job": job.id,
        "nature": job.nature,
        "cost": jobs.cost(job),
        "counts": [result.counts for result in results],
        "engine": results[0].provenance.engine,
    }


def agreeing(counts: dict[str, int]) -> int:
    """Return in how many runs all bits agreed."""
    return sum(number for text, number in counts.items() if len(set(text)) == 1)


def body(columns: dict[str, dict[str, Any]]) -> str:
    """Return what the page shows."""
    blocks = []
    for number, title in enumerate(PROGRAMS):
        cells = "".join(_card(device, each, number) for device, each in columns.items())
        blocks.append(f"<h2>{escape(title)}</h2><div class='row'>{cells}</div>")
    costs = "".join(
        f"<tr><th scope='row'>{escape(MACHINES[device][1])}</th>"
        f"<td>{escape(each['cost'])}</td></tr>"
        for device, each in columns.items()
        if device in CEILINGS
    )
    there = "".join(
        f"<pre>skerry quantum run bell.qasm --device {escape(device)} --budget {euros} "
        f"<strong>--provider {escape(PROVIDER)}</strong></pre>"
        for device, euros in CEILINGS.items()
    )
    return (
        f"{''.join(blocks)}<h2>What it would cost</h2><p>Both circuits, {SHOTS} runs each, on the "
        f"machine itself; on this node they cost nothing but its own computing.</p>"
        f"<table class='costs'>{costs}</table><h2>On the machine itself</h2>"
        "<p>The last flag sends it there, with the vendor's credentials (it was not tried here); "
        f"without it, the same command runs on the twin:</p>{there}"
    )


def _card(device: str, shown: dict[str, Any], number: int) -> str:
    name, which = MACHINES[device]
    counts = shown["counts"][number]
    return (
        f"<section><h3>{escape(name)}</h3><p class='which'>{escape(which)}</p>"
        f"<p class='share'><strong>{agreeing(counts) / SHOTS:.1%}</strong> of the runs agree</p>"
        f"{bars(counts, lambda text: len(set(text)) == 1)}"
        f"<p class='which'>{escape(shown['nature'])}</p></section>"
    )
