"""The calendar of a resource: who has which device to himself, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from skerry.kernel.errors import INVALID
from skerry.kernel.kind import Context
from skerry.kinds.quantum import checks, reservations
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.config import QuantumConfig
from skerry.kinds.quantum.contract import Reservation

T = TypeVar("T")
RESERVATION_SECONDS_MAX = 7 * 86_400
AHEAD_SECONDS_MAX = 366 * 86_400
_SECOND = 1_000_000_000


class Keeper(Protocol):
    """What the calendar needs of the desk of its resource."""

    context: Context
    config: QuantumConfig

    async def stored(self, job: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function on the store in its thread."""
        ...

    def new_id(self) -> str:
        """Return an id in the shape of a UUID."""
        ...


class Calendar:
    """Reservations; `changed` is called when jobs may take another turn than before."""

    def __init__(self, desk: Keeper, changed: Callable[[], Awaitable[None]]) -> None:
        self._desk = desk
        self._changed = changed

    async def reserve(
        self, device: str, *, starts: int = 0, seconds: int = 3600, owner: str = ""
    ) -> Reservation:
        """Reserve a device, durably, from a moment (ns, by default now) on; raise CONFLICT."""
        found = load.find(device)
        checks.place(found, self._desk.config.countries, "This resource")
        now = self._desk.context.clock.now()
        starts = starts or now
        if not 1 <= seconds <= RESERVATION_SECONDS_MAX:
            raise INVALID(f"A reservation lasts 1 to {RESERVATION_SECONDS_MAX} seconds.")
        if not now <= starts <= now + AHEAD_SECONDS_MAX * _SECOND:
            raise INVALID("A reservation begins now or later, within a year.")
        ends = starts + seconds * _SECOND
        made = Reservation(self._desk.new_id(), found.id, starts, ends, now, owner)
        await self._desk.stored(reservations.add, made, now)
        await self._changed()
        return made

    async def coming(self) -> list[Reservation]:
        """Return the reservations that are not over, the next first."""
        return await self._desk.stored(reservations.coming, self._desk.context.clock.now())

    async def give_up(self, reservation: str) -> None:
        """End a reservation now; its jobs take their turn. Raise NOT_FOUND."""
        await self._desk.stored(reservations.remove, reservation)
        await self._changed()
