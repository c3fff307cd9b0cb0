"""Two photons that meet on a beam splitter: the dip of Hong, Ou and Mandel."""

from __future__ import annotations

import json
import math
from typing import Any

from demo import jobs
from demo.drawing import curve

DEVICE = "quandela-belenos"
SHOTS = 4000
ALIKE = 0.92
"""How alike the photons are at best: a good source of today, not a figure of the machine's."""

DELAYS = [step / 4 for step in range(-8, 9)]
"""How much later one of the photons comes, in lengths of a photon."""

TITLE = "Two photons that leave together"
EXPLAINED = """Two photons come to a half-transparent mirror from both sides. If nothing tells them
apart, they always leave by the same side, as if they agreed on it: no detector on the other side
clicks at the same time. If one comes late they can be told apart, and each goes where it wants, so
that in half of the runs both detectors click. The depth of the dip is how alike the photons are.
The circuit is simulated within the limits of the photonic machine Belenos of Quandela; how alike
the photons are is set here."""


def program(delay: float) -> str:
    """Return a beam splitter for two photons of which one comes late."""
    return json.dumps(
        {
            "modes": 2,
            "input": [1, 1],
            "components": [["bs", [0, 1], [math.pi / 2]]],
            "noise": {"indistinguishability": ALIKE * math.exp(-(delay**2))},
        }
    )


def submit(queue: Any, again: int) -> list[Any]:
    """Queue a sweep of the delay, as one job."""
    how = {"device": DEVICE, "language": "photonic", "shots": SHOTS}
    return [jobs.submit(queue, DEVICE, again, [program(delay) for delay in DELAYS], **how)]


def found(queue: Any, queued: list[Any]) -> dict[str, Any]:
    """Return how often both detectors clicked."""
    (job,) = queued
    results = queue.wait(job.id)
    both = [result.counts.get("1,1", 0) / SHOTS for result in results]
    return {
        "job": job.id,
        "nature": job.nature,
        "cost": jobs.cost(job),
        "delays": DELAYS,
        "both": both,
        "visibility": 1 - min(both) / 0.5,
        "engine": results[0].provenance.engine,
    }


def body(shown: dict[str, Any]) -> str:
    """Return what the page shows."""
    expected = [0.5 * (1 - ALIKE * math.exp(-(each**2))) for each in DELAYS]
    drawn = curve(
        list(zip(shown["delays"], shown["both"], strict=True)),
        list(zip(DELAYS, expected, strict=True)),
        "delay, in lengths of a photon",
        "both detectors click",
    )
    return (
        f"<h2>The dip of Hong, Ou and Mandel</h2>{drawn}<p class='share'>The dip is <strong>"
        f"{shown['visibility']:.0%}</strong> deep; the photons are alike by {ALIKE:.0%}.</p>"
        f"<p>Dots are {SHOTS} runs each, the line is what theory says. "
        f"The same runs on the machine: {shown['cost']}.</p><p class='which'>{shown['nature']}</p>"
    )
