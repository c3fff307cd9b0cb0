"""What a function receives for a hello resource."""

from __future__ import annotations

import asyncio

from skerry.kernel.kind import Context
from skerry.kinds.hello.guestbook import Guestbook


class Hello:
    """A guestbook, opened in the function's own process."""

    def __init__(self, context: Context) -> None:
        self._book = Guestbook(context.directory)
        self._context = context

    async def greet(self, guest: str) -> str:
        """Greet a guest and remember it."""
        await asyncio.to_thread(self._book.add, guest)
        self._context.meter.add("greetings")
        return f"{self._context.config.greeting}, {guest}!"

    async def times(self, guest: str) -> int:
        """Return how often a guest has been greeted."""
        return (await asyncio.to_thread(self._book.counts))[guest]


async def bind(context: Context) -> Hello:
    """Return the binding."""
    return await asyncio.to_thread(Hello, context)
