"""View counts, in the key-value store.

Views are counted in memory and written together a moment later: a count may lose the last second
if the process is killed, and no reader waits for the disk.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from skerry import env

FLUSH_SECONDS = 1.0

_fresh: Counter[int] = Counter()
_flushes: set[asyncio.Task[None]] = set()


def count(article: int) -> None:
    """Count a view."""
    _fresh[article] += 1
    if not _flushes:
        task = asyncio.create_task(_flush_soon(), name="views")
        _flushes.add(task)
        task.add_done_callback(_flushes.discard)


def of(articles: list[int]) -> dict[int, int]:
    """Return the views of articles."""
    kept = env.sessions.get_many([_key(each) for each in articles])
    return {each: int(kept[_key(each)] or 0) + _fresh[each] for each in articles}


async def flush() -> None:
    """Write what was counted."""
    counted = dict(_fresh)
    if counted:
        await asyncio.to_thread(_write, counted)
        for article, views in counted.items():
            _fresh[article] -= views
            if not _fresh[article]:
                del _fresh[article]


async def _flush_soon() -> None:
    await asyncio.sleep(FLUSH_SECONDS)
    await flush()


def _write(counted: dict[int, int]) -> None:
    kept = env.sessions.get_many([_key(each) for each in counted])
    env.sessions.put_many(
        {_key(each): str(int(kept[_key(each)] or 0) + views) for each, views in counted.items()}
    )


def _key(article: int) -> str:
    return f"views/{article}"
