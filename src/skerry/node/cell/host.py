"""What a process offers to the engines and bindings in it: the kernel's `Host`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from typing import Any

import msgspec

from skerry.kernel.errors import DENIED
from skerry.kernel.policy import Decision, Place
from skerry.node.cell.slot import Slot
from skerry.node.cell.spec import PermitCall
from skerry.node.channel import Call, Channel

current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)
"""The call of the node that is being carried out, to which progress is reported."""

Bind = Callable[[], Coroutine[Any, Any, Any]]
"""Makes the binding of a resource."""


class SlotHost:
    """The host of one resource: it can reach that resource and those that are bound to it."""

    def __init__(
        self,
        name: str,
        slots: Mapping[str, Slot],
        bound: Mapping[str, Bind],
        channel: Channel,
    ) -> None:
        self._name = name
        self._slots = slots
        self._bound = bound
        self._channel = channel
        self._bindings: dict[str, asyncio.Task[Any]] = {}

    async def ready(self, resource: str) -> str:
        """See `Host.ready`."""
        if resource != self._name and resource not in self._bound:
            raise DENIED(f"{resource} is not bound to {self._name}.")
        slot = self._slots.get(resource)
        if slot is not None:
            return await (await slot.ready()).endpoint()
        return str(await self._channel.call("ready", resource, seconds=60.0))

    async def bind(self, resource: str) -> Any:
        """See `Host.bind`."""
        if resource not in self._bound:
            raise DENIED(
                f"{resource} is not bound to {self._name}.",
                hint=f'Add "{resource}" to its bindings in skerry.toml.',
            )
        known = self._bindings.get(resource)
        if known is None or (known.done() and (known.cancelled() or known.exception())):
            known = self._bindings[resource] = asyncio.ensure_future(self._bound[resource]())
        return await known

    async def permit(self, action: str, place: Place, *, encrypted: bool = False) -> Decision:
        """See `Permit`. The node adds whose resource it is, so that a process cannot lie there."""
        asked = PermitCall(self._name, action, place, encrypted)
        raw = await self._channel.call("permit", msgspec.to_builtins(asked))
        return msgspec.convert(raw, Decision)

    def progress(self, done: int, total: int, text: str) -> None:
        """See `Host.progress`."""
        call = current_call.get()
        if call is not None:
            call.progress({"done": done, "total": total, "text": text})
