"""The engine of a quantum resource: its desk, the verbs of every kind, and its words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.kind import Context, Engine
from skerry.kinds._shared.sqlite_state import WriterHold, checkpoint, connect, disk_bytes
from skerry.kinds.quantum import transfer
from skerry.kinds.quantum.contract import Job, Reservation
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.hybrid.contract import HybridJob, Told
from skerry.kinds.quantum.messages import (
    Awaited,
    Energy,
    Learned,
    Listed,
    Molecule,
    Named,
    Need,
    Needed,
    Outcome,
    Page,
    Quote,
    Quoted,
    Request,
    Reserve,
    Reserved,
    Revised,
)
from skerry.kinds.quantum.quoting import quotes
from skerry.kinds.quantum.results import public_key
from skerry.kinds.quantum.socket_wire import SocketWire
from skerry.kinds.quantum.store import Store

_FOLLOW_SECONDS = 0.5


class QuantumEngine(Engine):
    """Serves one queue of jobs."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.desk = Desk(context)
        self._hold = WriterHold(self.desk.path)
        self._socket = SocketWire(self.desk, context.run)

    async def start(self) -> None:
        """Open the jobs and go on with those that are not over."""
        await self.desk.start()
        await self._socket.start()

    async def stop(self) -> None:
        """Stop working and close the file."""
        await self._socket.stop()
        await asyncio.to_thread(self._hold.release)
        await self.desk.stop()

    async def endpoint(self) -> str:
        """Return the path of the socket for bindings."""
        return str(self._socket.path)

    async def busy(self) -> str:
        """Stay awake while jobs run or wait, and while a function waits for one."""
        waiting = f"{self._socket.waiting} functions wait" if self._socket.waiting else ""
        desk = self.desk
        return desk.runner.busy or desk.hardware.busy or desk.hybrid.busy or waiting

    async def prepare(self) -> None:
        """Move the log into the file, so that little is left to copy."""
        await asyncio.to_thread(self._checkpoint)

    async def freeze(self, atomic: bool) -> None:
        """Hold off writers."""
        await asyncio.to_thread(self._hold.hold)

    async def thaw(self) -> None:
        """Let writers go on."""
        await asyncio.to_thread(self._hold.release)

    async def export(self, target: Path) -> None:
        """Write jobs, results and calibrations as lines of JSON."""
        await self.desk.stored(transfer.export, target)

    async def restore(self, source: Path) -> None:
        """Replace everything by an export."""
        await self.desk.restore(source)

    async def status(self) -> dict[str, Any]:
        """Return how many jobs are in each state, and what runs."""
        states = await self.desk.stored(Store.count)
        out = self.desk.hardware.out
        now = self.desk.runner.busy or (f"{out} jobs are on hardware" if out else "")
        size = disk_bytes(self.desk.path)
        return {"jobs": states, "bytes": size, "now": now or "idle"}

    async def count(self) -> dict[str, int]:
        """See `Engine.count`: jobs by state."""
        return await self.desk.stored(Store.count)

    async def word_submit(self, params: Request) -> Job:
        """Queue a job, durably."""
        return await self.desk.submit(params.request)

    async def word_show(self, params: Named) -> Outcome:
        """Return a job with its results so far and its steps."""
        job = await self.desk.job(params.job)
        results = await self.desk.results(params.job)
        events = tuple(await self.desk.events(params.job))
        return Outcome(job, tuple(results), events, public_key(self.context))

    async def word_list(self, params: Listed) -> list[Job]:
        """Return jobs, the newest first."""
        return await self.desk.jobs(params.states, params.limit, params.before)

    async def word_stop(self, params: Named) -> Job:
        """Cancel a job, wherever it is."""
        return await self.desk.cancel(params.job)

    async def word_wait(self, params: Awaited) -> Outcome:
        """Return a job once it is over, telling meanwhile how far it is."""
        clock = self.context.clock
        deadline = clock.monotonic() + params.seconds
        job = await self.desk.job(params.job)
        while not job.over and clock.monotonic() < deadline:
            self.context.host.progress(job.done, job.executions, _said(job))
            job = await self.desk.wait(params.job, _FOLLOW_SECONDS)
        return await self.word_show(Named(params.job))

    async def word_hybrid_show(self, params: Named) -> Told:
        """Return a hybrid job with what it said and measured."""
        return await self.desk.hybrid.told(params.job)

    async def word_hybrid_list(self, params: Page) -> list[HybridJob]:
        """Return hybrid jobs, the newest first."""
        return await self.desk.hybrid.jobs(params.limit, params.before)

    async def word_hybrid_stop(self, params: Named) -> HybridJob:
        """Cancel a hybrid job, wherever it is; one that is over stays as it is."""
        job = await self.desk.hybrid.job(params.job)
        return job if job.over else await self.desk.hybrid.cancel(params.job)

    async def word_quote(self, params: Quoted) -> list[Quote]:
        """Return what a program would be on the devices that policy allows."""
        progress = self.context.host.progress
        return await quotes(self.desk, params.request, params.devices, params.currency, progress)

    async def word_needs(self, params: Needed) -> list[Need]:
        """Return what a program needs with error correction."""
        return await self.desk.resources(params)

    async def word_energies(self, params: Molecule) -> list[Energy]:
        """Return the energies of a molecule."""
        return await self.desk.chemistry(params)

    async def word_book(self, params: Reserve) -> Reservation:
        """Reserve a device, durably."""
        return await self.desk.calendar.reserve(**msgspec.structs.asdict(params))

    async def word_bookings(self, params: Reserved) -> list[Reservation]:
        """Return the reservations that are not over, the next first."""
        return await self.desk.calendar.coming()

    async def word_unbook(self, params: Reserved) -> list[Reservation]:
        """Give a reservation up; return those that are left."""
        await self.desk.calendar.give_up(params.reservation)
        return await self.desk.calendar.coming()

    async def word_learn(self, params: Learned) -> Revised:
        """Take a vendor's calibration in as a device's next revision."""
        revision, found = await self.desk.learn(params.device, params.data)
        return Revised(
            found.device,
            revision,
            found.taken_at,
            found.source,
            len(found.qubits),
            len(found.pairs),
        )

    def _checkpoint(self) -> None:
        connection = connect(self.desk.path)
        try:
            checkpoint(connection)
        finally:
            connection.close()


def _said(job: Job) -> str:
    if job.queue is not None and job.queue.position:
        return f"{job.state}, {job.queue} in the queue"
    if job.trouble:
        return f"{job.state}, no answer from {job.request.provider} yet: {job.trouble}"
    return f"{job.state}, {job.done} of {job.executions} executions done"
