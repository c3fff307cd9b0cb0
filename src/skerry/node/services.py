"""The services of a node while it runs: handlers, started in order, stopped in the reverse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec

from skerry.kernel.commands import Check, Command
from skerry.kernel.ledger import Reading
from skerry.kernel.service import Service
from skerry.node.words import Progress

STOP_SECONDS = 10.0


class Services:
    """What carries out the commands of services."""

    def __init__(self, declared: Mapping[str, Service]) -> None:
        self.declared = declared
        self._handlers: dict[str, Any] = {}
        self._started: set[str] = set()

    async def start(self, node: Any, stack: contextlib.AsyncExitStack) -> None:
        """Make every handler with the node; the stack stops them."""
        for service in self.declared.values():
            if not service.handler:
                continue
            handler = await asyncio.to_thread(service.load, service.handler)
            self._handlers[service.name] = made = handler(node)
            if hasattr(made, "stop"):
                stack.push_async_callback(_stop, made)
            if hasattr(made, "start"):
                await made.start()
            self._started.add(service.name)

    @property
    def running(self) -> frozenset[str]:
        """The services that have started."""
        return frozenset(self._started)

    def handler(self, service: str) -> Any:
        """Return the handler of a service."""
        return self._handlers[service]

    def known(self, service: str) -> Any | None:
        """Return the handler of a service; None if the node runs without it."""
        return self._handlers.get(service)

    def readings(self) -> Iterator[Reading]:
        """Yield how far the counters of services have come, for the accountant."""
        for handler in list(self._handlers.values()):
            if hasattr(handler, "readings"):
                yield from handler.readings()

    def accounts(self) -> set[str]:
        """Return the accounts, besides those of apps, that services are posted to."""
        handlers = [each for each in self._handlers.values() if hasattr(each, "accounts")]
        return {account for each in handlers for account in each.accounts()}

    async def examine(self) -> list[Check]:
        """Return what running services say of themselves for `skerry doctor`."""
        handlers = [each for each in self._handlers.values() if hasattr(each, "examine")]
        return [check for each in handlers for check in await each.examine()]

    async def perform(self, command: Command, params: msgspec.Struct, progress: Progress) -> Any:
        """Carry a command of a service out."""
        carry_out = getattr(self._handlers[command.service], f"do_{_method(command)}")
        return await carry_out(params, progress)

    def stream(self, command: Command, params: msgspec.Struct) -> AsyncIterator[Any]:
        """Yield the results of a command of a service that streams them."""
        handler = self._handlers[command.service]
        found: AsyncIterator[Any] = getattr(handler, f"stream_{_method(command)}")(params)
        return found


async def _stop(handler: Any) -> None:
    async with asyncio.timeout(STOP_SECONDS):
        await handler.stop()


def _method(command: Command) -> str:
    """Return the part of a handler's method that names a command without its service."""
    return command.name.partition(".")[2].replace(".", "_").replace("-", "_")
