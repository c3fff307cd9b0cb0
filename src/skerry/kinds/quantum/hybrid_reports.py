"""A hybrid job for people: its state, what it used, its metrics as curves, and its last lines."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.kinds.quantum.hybrid.contract import HybridJob, Metric, Told

STEPS = "iteration_number"
"""What the SDK calls the number of a step; it counts, and is no curve."""

_LEVELS = "▁▂▃▄▅▆▇█"
_LINES = 20


def draw(told: Told, columns: int) -> str:
    """Return all of it as text that fits the width."""
    job = told.job
    lines = [f"hybrid job {job.id}  {job.state}  {job.request.name}"]
    lines.append(f"entry point {job.request.entry}, stack {job.request.stack}, {where(job)}")
    if job.position:
        lines.append(f"{job.position} in the queue")
    if job.why:
        lines.append(job.why)
    blocks = ["\n".join(lines)]
    wide = max(8, columns - 44)
    rows = [
        f"{name[:20]:<20} {_curve(values, wide)}  {values[0]:.6g} to {values[-1]:.6g}"
        for name, values in curves(told.metrics).items()
    ]
    blocks.append("\n".join(rows))
    blocks.append("\n".join(each.text[:columns] for each in told.lines[-_LINES:]))
    if job.over and job.usage:
        blocks.append(used(job))
    return "\n\n".join(block for block in blocks if block)


def where(job: HybridJob) -> str:
    """Say which device its tasks go first on."""
    return f"first on {job.request.device}" if job.request.device else "on no device"


def used(job: HybridJob) -> str:
    """Say what it used, as the meter counts it."""
    ran, cpu = (job.usage.get(name, 0) / 1000 for name in ("hybrid_ms", "cpu_ms"))
    memory = job.usage.get("memory_bytes", 0) / (1 << 20)
    return f"ran {ran:.1f} s, {cpu:.1f} s of CPU, {memory:.0f} MiB of memory at most"


def curves(metrics: Sequence[Metric]) -> dict[str, list[float]]:
    """Return the values of every metric in the order of telling."""
    found: dict[str, list[float]] = {}
    for each in metrics:
        for name, value in each.values.items():
            if name != STEPS:
                found.setdefault(name, []).append(value)
    return found


def _curve(values: list[float], columns: int) -> str:
    """Draw values as bars from the least to the most, the last of each stretch standing for it."""
    least, most = min(values), max(values)
    count = min(len(values), columns)
    shown = [values[(number + 1) * len(values) // count - 1] for number in range(count)]
    spread = (most - least) or 1.0
    return "".join(_LEVELS[int((each - least) / spread * (len(_LEVELS) - 1))] for each in shown)
