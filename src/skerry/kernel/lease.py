"""Leases: who may serve a subject now, so that at each moment there is at most one who does.

A **lease** gives one node (its holder) the right to serve a subject for some seconds. Its **epoch**
grows by one each time that it is taken, and goes into every message about the subject: whoever
keeps a copy refuses what comes with an older epoch (`Fence`), so that an old holder that wakes up
does no harm.

Clocks are never compared between nodes. A holder counts from the moment before it asked, and stops
a little early; whoever wants to take over counts from the moment at which it first saw the lease as
it stands, and waits a little longer. All that has to hold is that two clocks run at the same speed,
to within `DRIFT` each (Gray and Cheriton, Leases, SOSP 1989).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import CONFLICT, CORRUPT, FENCED, INVALID, SkerryError

DRIFT = 0.02
"""By which share a node's clock may run too fast or too slow."""

SECONDS_MIN, SECONDS_MAX = 0.1, 3600.0
RENEWALS = 3
"""How often a lease is renewed within its time."""

SUBJECT_LETTERS_MAX = 200
_SEEN_MAX = 65_536


class Lease(msgspec.Struct, frozen=True):
    """A lease as one node sees it.

    `expires_ns` is in nanoseconds of this node's own clock (`Clock.monotonic`), never of another
    one's: for the holder the moment from which it must not serve, for others the moment from which
    they may take over. `revision` is the register's, for the next change. A lease that was
    `released` may be taken at once.
    """

    subject: str
    holder: str
    epoch: int
    expires_ns: int
    replicas: tuple[str, ...] = ()
    seconds: float = 0.0
    revision: int = 0
    released: bool = False


class Leases(Protocol):
    """Where leases are kept."""

    async def acquire(
        self,
        subject: str,
        holder: str,
        seconds: float,
        replicas: tuple[str, ...] = (),
        after: int = 0,
    ) -> Lease:
        """Take a lease that is free, with the next epoch.

        The epoch is above `after`: the highest one that copies know of, so that it goes on growing
        where the leases themselves were lost.

        Raises CONFLICT with who holds it and for how long, and STORE_UNREACHABLE.
        """
        ...

    async def renew(
        self, lease: Lease, seconds: float, replicas: tuple[str, ...] | None = None
    ) -> Lease:
        """Hold a lease for longer; the epoch stays. `replicas` change if they are given.

        Raises FENCED if it was taken by another, and STORE_UNREACHABLE, after which it is not known
        whether it was renewed: the time that the caller knew before goes on.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Hand a lease over: the next one need not wait. Raises FENCED, STORE_UNREACHABLE."""
        ...

    async def current(self, subject: str) -> Lease | None:
        """Return a lease as others see it; None if there never was one."""
        ...

    def watch(self) -> AsyncIterator[Lease]:
        """Yield every lease as it stands, then every one that changes, as others see it.

        What comes in quick succession may be left out but for the last.
        """
        ...


class Slot(NamedTuple):
    """What a register holds of a subject, and the revision of that."""

    data: bytes
    revision: int


class Register(Protocol):
    """What leases are built on: one value a subject, changed by compare-and-set, linearizable.

    JetStream, etcd and the simulation implement it.
    """

    async def read(self, subject: str) -> Slot | None:
        """Return a value. It may be a little old; then a change of it fails."""
        ...

    async def write(self, subject: str, data: bytes, revision: int) -> int:
        """Set a value if its revision is still this one (0: none yet); return the new revision.

        Raises CONFLICT if it is not, and STORE_UNREACHABLE if it is not known what happened.
        """
        ...

    def watch(self) -> AsyncIterator[tuple[str, Slot]]:
        """Yield (subject, value): all that there are, then each that changes."""
        ...


class _Record(msgspec.Struct, frozen=True):
    """What is stored of a lease: nothing in it depends on anyone's clock."""

    holder: str
    epoch: int
    seconds: float
    replicas: tuple[str, ...] = ()
    released: bool = False


class RegisterLeases:
    """Implements `Leases` on a register."""

    def __init__(self, register: Register, clock: Clock) -> None:
        self._register = register
        self._clock = clock
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def acquire(
        self,
        subject: str,
        holder: str,
        seconds: float,
        replicas: tuple[str, ...] = (),
        after: int = 0,
    ) -> Lease:
        """See `Leases.acquire`."""
        _check(subject, seconds)
        slot = await self._register.read(subject)
        if slot is None:
            return await self._take(subject, _Record(holder, after + 1, seconds, replicas), 0)
        found = _decode(slot.data)
        if found.holder != holder and not found.released:
            wait = self._free_at(subject, slot.revision, found) - self._clock.monotonic()
            if wait > 0:
                raise _held(subject, found, wait)
        record = _Record(holder, max(found.epoch, after) + 1, seconds, replicas)
        return await self._take(subject, record, slot.revision)

    async def _take(self, subject: str, record: _Record, revision: int) -> Lease:
        began = self._clock.monotonic()
        try:
            revision = await self._register.write(subject, msgspec.json.encode(record), revision)
        except SkerryError as error:
            if error.problem is CONFLICT:
                raise CONFLICT(f"The lease on {subject} was taken a moment ago.") from error
            raise
        return _holders(subject, record, revision, began)

    async def renew(
        self, lease: Lease, seconds: float, replicas: tuple[str, ...] | None = None
    ) -> Lease:
        """See `Leases.renew`."""
        _check(lease.subject, seconds)
        replicas = lease.replicas if replicas is None else replicas
        return await self._change(lease, _Record(lease.holder, lease.epoch, seconds, replicas))

    async def release(self, lease: Lease) -> None:
        """See `Leases.release`."""
        record = _Record(lease.holder, lease.epoch, lease.seconds, lease.replicas, released=True)
        await self._change(lease, record)

    async def _change(self, lease: Lease, record: _Record) -> Lease:
        """Write a record of the same epoch, over one whose answer was lost too."""
        data, revision = msgspec.json.encode(record), lease.revision
        for _ in range(2):
            began = self._clock.monotonic()
            try:
                revision = await self._register.write(lease.subject, data, revision)
            except SkerryError as error:
                if error.problem is not CONFLICT:
                    raise
                revision = await self._own_revision(lease)
                continue
            return _holders(lease.subject, record, revision, began)
        raise CONFLICT(f"The lease on {lease.subject} is being changed by another task.")

    async def _own_revision(self, lease: Lease) -> int:
        """Return the revision of a lease that is still ours; raise FENCED if it is not."""
        slot = await self._register.read(lease.subject)
        found = _decode(slot.data) if slot else None
        if slot is None or found is None or found.epoch != lease.epoch or found.released:
            raise FENCED(
                f"{lease.holder} holds {lease.subject} no more.",
                why=f"{found.holder} holds it, with epoch {found.epoch}." if found else "",
                hint="skerry nodes",
            )
        return slot.revision

    async def current(self, subject: str) -> Lease | None:
        """See `Leases.current`."""
        slot = await self._register.read(subject)
        return self._others(subject, slot) if slot else None

    async def watch(self) -> AsyncIterator[Lease]:
        """See `Leases.watch`."""
        async for subject, slot in self._register.watch():
            yield self._others(subject, slot)

    def _others(self, subject: str, slot: Slot) -> Lease:
        record = _decode(slot.data)
        free_at = self._free_at(subject, slot.revision, record)
        return Lease(
            subject=subject,
            holder=record.holder,
            epoch=record.epoch,
            expires_ns=int(free_at * NANOSECONDS),
            replicas=record.replicas,
            seconds=record.seconds,
            revision=slot.revision,
            released=record.released,
        )

    def _free_at(self, subject: str, revision: int, record: _Record) -> float:
        """Return when another node may take a lease, counted from when this one first saw it."""
        seen = self._seen.get(subject)
        if seen is None or seen[0] < revision:
            seen = self._seen[subject] = (revision, self._clock.monotonic())
            self._seen.move_to_end(subject)
            if len(self._seen) > _SEEN_MAX:
                self._seen.popitem(last=False)
        if record.released:
            return seen[1]
        return seen[1] + record.seconds * (1 + DRIFT)


class Tenure:
    """A lease that is held: renewed in time, and at each moment known to be good or not."""

    def __init__(self, leases: Leases, clock: Clock, lease: Lease) -> None:
        self._leases = leases
        self._clock = clock
        self._lost = False
        self.lease = lease

    def may_serve(self) -> bool:
        """Tell whether the holder may serve now; asked before each answer that counts."""
        return not self._lost and self._clock.monotonic() * NANOSECONDS < self.lease.expires_ns

    async def keep(self) -> None:
        """Renew until the lease is lost; return when the holder must not serve any more."""
        seconds = self.lease.seconds
        wait = seconds / RENEWALS
        while self.may_serve():
            await asyncio.sleep(wait)
            wait = seconds / RENEWALS
            left = self.lease.expires_ns / NANOSECONDS - self._clock.monotonic()
            try:
                async with asyncio.timeout(max(left, 0)):
                    self.lease = await self._leases.renew(self.lease, seconds)
            except TimeoutError:
                break
            except SkerryError as error:
                if not error.problem.temporary:
                    break
                wait = seconds / RENEWALS / RENEWALS
        self._lost = True

    async def give_up(self) -> None:
        """Stop serving, then hand the lease over; one that is lost already is left as it is."""
        if not self._lost:
            self._lost = True
            await self._leases.release(self.lease)


class Fence:
    """What a copy of a subject knows of its leaders: it refuses those of older epochs.

    Whoever keeps the copy makes the epoch durable before it acknowledges what came with it.
    """

    def __init__(self, subject: str, epoch: int = 0) -> None:
        self._subject = subject
        self.epoch = epoch

    def admit(self, epoch: int) -> bool:
        """Tell whether an epoch is new here; raise FENCED if it is older than one seen before."""
        if epoch < self.epoch:
            raise FENCED(
                f"Epoch {epoch} of {self._subject} is over.",
                why=f"A node with epoch {self.epoch} leads now.",
                hint="skerry nodes",
            )
        is_new = epoch > self.epoch
        self.epoch = epoch
        return is_new


def _check(subject: str, seconds: float) -> None:
    if not subject or len(subject) > SUBJECT_LETTERS_MAX:
        raise INVALID(f"A lease's subject has 1 to {SUBJECT_LETTERS_MAX} letters.")
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise INVALID(f"A lease is for {SECONDS_MIN} to {SECONDS_MAX:.0f} seconds.")


def _holders(subject: str, record: _Record, revision: int, began: float) -> Lease:
    """Return a lease as its holder sees it: it counts from before it asked."""
    until = began if record.released else began + record.seconds * (1 - DRIFT)
    return Lease(
        subject=subject,
        holder=record.holder,
        epoch=record.epoch,
        expires_ns=int(until * NANOSECONDS),
        replicas=record.replicas,
        seconds=record.seconds,
        revision=revision,
        released=record.released,
    )


def _held(subject: str, record: _Record, wait: float) -> SkerryError:
    return CONFLICT(
        f"{record.holder} holds {subject}, with epoch {record.epoch}.",
        why=f"It may be taken in {wait:.1f} s if it is not renewed.",
    )


def _decode(data: bytes) -> _Record:
    try:
        return msgspec.json.decode(data, type=_Record)
    except msgspec.DecodeError as error:
        raise CORRUPT("A stored lease cannot be read.", why=f"{error}.") from error
