"""Takes samples of the machine every minute. Sources: proc_loadavg(5), proc_meminfo(5), df(1)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from offsite_archive import tables
from skerry import env


async def scheduled(event: Any, env_: Any) -> None:
    """Keep one sample of every metric, at the moment that was due."""
    await keep(event.time)


async def keep(moment: datetime) -> None:
    """Keep the samples of a moment; a moment that was kept already gets no second ones."""
    await tables.prepare(tables.hour_of(moment))
    found = await asyncio.to_thread(lambda: list(samples()))
    async with env.db.transaction() as connection:
        await connection.execute("DELETE FROM samples WHERE at = $1", moment)
        await connection.executemany(
            "INSERT INTO samples VALUES ($1, $2, $3)",
            [(moment, metric, value) for metric, value in found],
        )


def samples() -> Iterator[tuple[str, float]]:
    """Yield metrics and their values now."""
    for minutes, value in zip((1, 5, 15), os.getloadavg(), strict=True):
        yield f"load{minutes}", value
    usage = shutil.disk_usage("/")
    yield "disk_used", usage.used / usage.total
    memory = Path("/proc/meminfo")
    if memory.exists():
        lines = (line.split() for line in memory.read_text(encoding="ascii").splitlines())
        fields = {words[0].rstrip(":"): float(words[1]) for words in lines}
        yield "memory_used", 1 - fields["MemAvailable"] / fields["MemTotal"]
