"""Reservations on disk, and which jobs they hold back."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from skerry.kernel.errors import BUSY, CONFLICT, NOT_FOUND
from skerry.kinds._shared.sqlite_state import writing
from skerry.kinds.quantum.contract import JobRequest, Reservation
from skerry.kinds.quantum.store import Store

RESERVATIONS_MAX = 1000
_SECOND = 1_000_000_000
_encoder = msgspec.json.Encoder()
_reservations = msgspec.json.Decoder(Reservation)


def add(store: Store, made: Reservation, now: int) -> Reservation:
    """Keep a reservation, durably; raise CONFLICT where another has the device, BUSY at a bound."""
    with writing(store.db) as db:
        db.execute("DELETE FROM reservations WHERE ends <= ?", (now,))
        others = coming(store, now)
        if len(others) >= RESERVATIONS_MAX:
            raise BUSY(f"{RESERVATIONS_MAX} reservations are kept already.")
        for each in others:
            if each.device == made.device and each.starts < made.ends and made.starts < each.ends:
                raise CONFLICT(
                    f"{made.device} is reserved in that time.", why=f"Reservation {each.id} has it."
                )
        row = (made.id, made.ends, _encoder.encode(made))
        db.execute("INSERT INTO reservations VALUES (?, ?, ?)", row)
    return made


def coming(store: Store, now: int) -> list[Reservation]:
    """Return the reservations that are not over, the next first."""
    rows = store.db.execute("SELECT body FROM reservations WHERE ends > ?", (now,))
    found = [_reservations.decode(body) for (body,) in rows]
    return sorted(found, key=lambda each: (each.starts, each.id))


def remove(store: Store, reservation: str) -> None:
    """Give a reservation up, durably; raise NOT_FOUND."""
    with writing(store.db) as db:
        db.execute("DELETE FROM reservations WHERE id = ?", (reservation,))
        if not db.changes():
            raise NOT_FOUND(f"There is no reservation {reservation[:100]}.")


def clear(store: Store) -> None:
    """Forget all reservations: they are of the queue that they were made in, not of a copy."""
    with writing(store.db) as db:
        db.execute("DELETE FROM reservations")


def check(store: Store, request: JobRequest, now: int) -> None:
    """Raise NOT_FOUND or CONFLICT unless the reservation of a request takes it."""
    for each in coming(store, now):
        if each.id == request.reservation:
            if each.device != request.device:
                raise CONFLICT(f"Reservation {each.id} is of {each.device}.")
            return
    raise NOT_FOUND(f"There is no reservation {request.reservation[:100]} that is not over.")


def holds(known: Sequence[Reservation], request: JobRequest, now: int) -> bool:
    """Tell whether a job waits: for its own reservation to begin, or for another's to end."""
    for each in known:
        if each.id == request.reservation:
            if now < each.starts:
                return True
        elif each.device == request.device and each.starts <= now < each.ends:
            return True
    return False


def seconds_to_change(known: Sequence[Reservation], now: int) -> float | None:
    """Return when the next reservation begins or ends, from now; None if there is none."""
    moments = [at for each in known for at in (each.starts, each.ends) if at > now]
    return (min(moments) - now) / _SECOND if moments else None
