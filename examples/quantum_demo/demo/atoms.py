"""Atoms that order themselves: every other one of a chain is excited."""

from __future__ import annotations

import json
from typing import Any

from demo import jobs
from demo.drawing import bars, circles

DEVICE = "quera-aquila"
ATOMS = 5
ORDERED = "rgrgr"
SHOTS = 300
SPACING = 5.5e-6
DURATION = 4e-6

TITLE = "Atoms that order themselves"
EXPLAINED = """Five atoms stand in a row, a few thousandths of a millimetre apart. A laser slowly
asks each of them to be excited, but an excited atom forbids it to its neighbours. So the row finds
the one order in which as many as possible are: every other one. Nobody told any atom which it is;
the order is the answer to a small puzzle (the largest set of atoms of which no two are neighbours),
and larger puzzles of this sort are what such machines are built for. What you see is a twin of the
machine Aquila of QuEra: a model with its published errors, not the machine itself."""


def program() -> str:
    """Return a slow sweep into the ordered phase, in Braket's format."""
    times = [0.0, 0.15 * DURATION, 0.85 * DURATION, DURATION]

    def series(values: list[float]) -> dict[str, Any]:
        points = {"times": list(map(str, times)), "values": list(map(str, values))}
        return {"time_series": points, "pattern": "uniform"}

    field = {
        "amplitude": series([0, 1.57e7, 1.57e7, 0]),
        "phase": series([0, 0, 0, 0]),
        "detuning": series([-3e7, -3e7, 3e7, 3e7]),
    }
    sites = [[str(number * SPACING), "0"] for number in range(ATOMS)]
    return json.dumps(
        {
            "braketSchemaHeader": {"name": "braket.ir.ahs.program", "version": "1"},
            "setup": {"ahs_register": {"sites": sites, "filling": [1] * ATOMS}},
            "hamiltonian": {"drivingFields": [field], "localDetuning": []},
        }
    )


def submit(queue: Any, again: int) -> list[Any]:
    """Queue the sweep on the twin."""
    how = {"device": DEVICE, "language": "ahs", "shots": SHOTS}
    return [jobs.submit(queue, DEVICE, again, [program()], **how)]


def found(queue: Any, queued: list[Any]) -> dict[str, Any]:
    """Return how often each atom was excited, and each outcome came."""
    (job,) = queued
    counts = queue.wait(job.id)[0].counts
    excited = [
        sum(number for text, number in counts.items() if text[atom] == "r") / SHOTS
        for atom in range(ATOMS)
    ]
    return {
        "job": job.id,
        "nature": job.nature,
        "cost": jobs.cost(job),
        "counts": counts,
        "excited": excited,
        "ordered": counts.get(ORDERED, 0) / SHOTS,
    }


def body(shown: dict[str, Any]) -> str:
    """Return what the page shows."""
    return (
        "<h2>How often each atom was excited</h2>"
        + circles(shown["excited"])
        + f"<p class='share'>In <strong>{shown['ordered']:.0%}</strong> of the runs the row is in "
        "order: excited (r), not (g), excited, not, excited.</p><section>"
        + bars(shown["counts"], lambda text: text == ORDERED)
        + f"</section><p>The same {SHOTS} runs on the machine: {shown['cost']}.</p>"
    )
