"""Runs what leases pay for, in the node's sandboxes, and tells how it fares.

Every workload outlives the node and ends by its own clock when the prepaid time is over; so nothing
here needs to be alive, or to reach anybody, for a lease to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skerry.kernel.errors import CONFLICT, NOT_FOUND, SkerryError
from skerry.kernel.names import did_you_mean
from skerry.market.core.names import LeaseId
from skerry.market.link import LeaseNotice, LogLine, ServiceStatus
from skerry.market.provider.workloads import (
    LABEL_LEASE,
    LABEL_SERVICE,
    MILLISECOND,
    digest_of,
    name_of,
    spec_of,
)
from skerry.node.workload import Port, State, WorkloadInfo, WorkloadSpec
from skerry.node.workload.sessions import Session
from skerry.node.workload.supervisor import Workloads

QUEUE_LINES_MAX = 1000
DIGEST_LINES_MAX = 100_000


class Runner:
    """The workloads of a provider's leases."""

    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads

    async def can(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the classes of isolation and the images that this node has."""
        classes = [each.name for each in await self._workloads.classes() if each.available]
        images = await asyncio.to_thread(self._workloads.images.list)
        return tuple(classes), tuple(each.name for each in images)

    async def obstacles(
        self, image: str, isolation: str, *, exposed: bool, gpus: int = 0
    ) -> list[str]:
        """Return why an image cannot be run in a class here, with a port to the outside or not."""
        found = []
        classes = {each.name: each for each in await self._workloads.classes()}
        wanted = classes.get(isolation)
        if wanted is None or not wanted.available:
            why = wanted.why if wanted else f"there is none of that name ({', '.join(classes)})"
            found.append(f"isolation: it does not offer {isolation}: {why}")
        try:
            await asyncio.to_thread(self._workloads.images.resolve, image)
        except SkerryError as error:
            found.append(f"image: {error.what}")
        if not found:
            ports = (Port(number=8080),) if exposed else ()
            spec = WorkloadSpec(
                image=image, command=("-",), isolation=isolation, ports=ports, gpus=gpus
            )
            found += [f"sandbox: {each}" for each in await self._workloads.reasons(spec)]
        return found

    async def start(self, notice: LeaseNotice, group: dict[str, Any]) -> None:
        """Run every service of a group; what runs already is left alone."""
        known = {each.name: each for each in await self.of(notice.id)}
        wanted = set()
        for service in group["services"]:
            for replica in range(int(service["count"])):
                name = name_of(notice.id, service["name"], replica)
                wanted.add(name)
                if name not in known:
                    await self._workloads.run(spec_of(service, notice, replica), name)
        for name in set(known) - wanted:
            await self._workloads.remove(name)

    async def check(self, notice: LeaseNotice, group: dict[str, Any]) -> None:
        """Raise why a group cannot run here, before anything of it runs."""
        for service in group["services"]:
            spec = spec_of(service, notice, 0)
            reasons = await self._workloads.reasons(spec)
            if reasons:
                raise CONFLICT(
                    f"Service {service['name']} cannot run here.", why="; ".join(reasons)
                )

    async def replace(self, notice: LeaseNotice, group: dict[str, Any]) -> None:
        """Run a new manifest in place of the one before."""
        await self.end(notice.id)
        await self.start(notice, group)

    async def extend(self, notice: LeaseNotice) -> None:
        """Move the moment at which a lease's workloads end by themselves."""
        for each in await self.of(notice.id):
            if each.state is not State.ENDED:
                try:
                    await self._workloads.extend(each.name, notice.funded_until * MILLISECOND)
                except SkerryError as error:
                    # It was removed meanwhile, as by a new manifest, and needs no more time.
                    if error.problem is not NOT_FOUND:
                        raise

    async def end(self, lease: LeaseId) -> None:
        """Stop and remove everything of a lease."""
        for each in await self.of(lease):
            await self._workloads.remove(each.name)

    async def of(self, lease: LeaseId) -> list[WorkloadInfo]:
        """Return the workloads of a lease."""
        return await self._workloads.list({LABEL_LEASE: str(lease)})

    async def status(self, lease: LeaseId, group: dict[str, Any]) -> list[ServiceStatus]:
        """Return how the services of a lease fare."""
        found = await self.of(lease)
        return [
            _status(service, [e for e in found if e.labels[LABEL_SERVICE] == service["name"]])
            for service in group["services"]
        ]

    async def result(self, lease: LeaseId) -> tuple[int, str] | None:
        """Return status and output's digest of a lease's only program once it has ended."""
        found = await self.of(lease)
        if len(found) != 1 or found[0].state is not State.ENDED or found[0].exit is None:
            return None
        ended = found[0].exit
        if ended.reason not in ("exited", "killed", "out-of-memory"):
            return None
        lines = [
            line.text
            async for line in self._workloads.logs(found[0].name, DIGEST_LINES_MAX)
            if line.stream == "stdout"
        ]
        return (ended.code if ended.reason == "exited" else 128 + ended.code), digest_of(lines)

    async def logs(
        self, lease: LeaseId, service: str, lines: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Yield the lines of a service, or of all."""
        chosen = await self._chosen(lease, service)
        if not follow:
            for each in chosen:
                async for line in self._workloads.logs(each.name, lines):
                    yield LogLine(each.labels[LABEL_SERVICE], line.stream, line.text, line.time)
            return
        queue: asyncio.Queue[LogLine] = asyncio.Queue(QUEUE_LINES_MAX)

        async def pump(info: WorkloadInfo) -> None:
            async for line in self._workloads.logs(info.name, lines, follow_on=True):
                name = info.labels[LABEL_SERVICE]
                await queue.put(LogLine(name, line.stream, line.text, line.time))

        tasks = [asyncio.create_task(pump(each)) for each in chosen]
        try:
            while True:
                yield await queue.get()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def session(
        self,
        lease: LeaseId,
        service: str,
        command: tuple[str, ...],
        *,
        replica: int = 0,
        terminal: tuple[int, int] | None = None,
    ) -> Session:
        """Run a command beside a replica of a service."""
        chosen = await self._chosen(lease, service)
        if not 0 <= replica < len(chosen):
            raise NOT_FOUND(f"There is no replica {replica}.", why=f"There are {len(chosen)}.")
        return await self._workloads.execute(chosen[replica].name, command, terminal=terminal)

    async def _chosen(self, lease: LeaseId, service: str) -> list[WorkloadInfo]:
        found = await self.of(lease)
        names = sorted({each.labels[LABEL_SERVICE] for each in found})
        if service and service not in names:
            raise NOT_FOUND(f"There is no service {service}.", why=did_you_mean(service, names))
        if not found:
            raise CONFLICT("Nothing runs for this lease.", why="No manifest came, or it ended.")
        chosen = [e for e in found if not service or e.labels[LABEL_SERVICE] == service]
        return sorted(chosen, key=lambda each: each.created)


def _status(service: dict[str, Any], found: list[WorkloadInfo]) -> ServiceStatus:
    running = [each for each in found if each.state is State.RUNNING]
    reachable = [port for each in found for port in each.ports]
    state = found[0].state.value if found else "missing"
    ended = [each.exit for each in found if each.exit is not None]
    detail = f"{ended[-1].reason} {ended[-1].code} {ended[-1].text}".strip() if ended else ""
    return ServiceStatus(
        name=service["name"],
        state=state,
        wanted=int(service["count"]),
        ready=len(running),
        uris=tuple(port.url for port in reachable if port.url),
        ports=tuple(
            (port.number, port.address, "udp" if port.protocol == "udp" else "tcp")
            for port in reachable
        ),
        detail=detail,
    )
