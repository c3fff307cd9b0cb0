"""What this machine does: samples from the kernel, kept in Postgres for a week."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from skerry import env

KEPT = timedelta(days=7)
POINTS_MAX = 240
"""How many points a chart has at most; samples between them are averaged."""

SETTLE_SECONDS = 0.2
"""How long the first sample of a process watches the CPU; later ones look back to the last."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """The CPU's counters since the machine started."""

    busy: int
    total: int


_last: Ticks | None = None


async def sample() -> None:
    """Take a sample; one a second at most is kept, and what is older than a week goes."""
    cpu = await _cpu()
    memory, disk, load = await asyncio.to_thread(_rest)
    await env.db.execute(
        "INSERT INTO sample (time, cpu, memory, disk, load) "
        "VALUES (date_trunc('second', now()), $1, $2, $3, $4) ON CONFLICT DO NOTHING",
        cpu,
        memory,
        disk,
        load,
    )
    await env.db.execute("DELETE FROM sample WHERE time < now() - $1::interval", KEPT)


async def series(span: timedelta) -> list[Any]:
    """Return averages over `span` up to now, in at most POINTS_MAX steps of equal length."""
    step = max(span / POINTS_MAX, timedelta(seconds=1))
    rows: list[Any] = await env.db.fetch(
        "SELECT date_bin($2::interval, time, 'epoch'::timestamptz) AS time, avg(cpu) AS cpu, "
        "avg(memory) AS memory, avg(disk) AS disk, avg(load) AS load, count(*) AS samples "
        "FROM sample WHERE time > now() - $1::interval GROUP BY 1 ORDER BY 1",
        span,
        step,
    )
    return rows


async def newest() -> Any:
    """Return the last sample, or None."""
    return await env.db.fetchrow("SELECT * FROM sample ORDER BY time DESC LIMIT 1")


async def count() -> int:
    """Return how many samples there are."""
    return int(await env.db.fetchval("SELECT count(*) FROM sample"))


async def _cpu() -> float | None:
    """Return the share of the time that all CPUs were busy since the sample before."""
    global _last  # noqa: PLW0603 - the counters of the one machine that this process runs on
    before = _last
    if before is None:
        before = _ticks()
        await asyncio.sleep(SETTLE_SECONDS)
    after = _last = _ticks()
    if before is None or after is None or after.total <= before.total:
        return None
    return min(1.0, max(0.0, (after.busy - before.busy) / (after.total - before.total)))


def _ticks() -> Ticks | None:
    """Read the CPU's counters; None where there is no /proc. Source: proc_stat(5)."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    user, nice, system, idle, waiting, *more = (int(word) for word in line.split()[1:9])
    busy = user + nice + system + sum(more)
    return Ticks(busy, busy + idle + waiting)


def _rest() -> tuple[float | None, float, float]:
    """Return the shares of memory and disk in use, and the load of a CPU in the last minute."""
    disk = shutil.disk_usage(Path(__file__).parent)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return _memory(), disk.used / disk.total, load


def _memory() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    amounts = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
    return 1 - amounts["MemAvailable"] / amounts["MemTotal"]
