"""Doing several things at once, all to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def together(work: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run coroutines at once; when all have ended, raise the first error or return the results.

    Nothing is cancelled half-way, so that what they hold can be let go in order.
    """
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
