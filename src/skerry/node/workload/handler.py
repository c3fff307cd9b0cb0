"""Carries out the commands of the service `workload`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from skerry.kernel.app import parse_duration
from skerry.kernel.commands import Done, Nothing
from skerry.kernel.errors import INVALID, TOO_LARGE
from skerry.node.node import Node
from skerry.node.words import Progress
from skerry.node.workload import service as s
from skerry.node.workload.images import Image
from skerry.node.workload.importing import Importer
from skerry.node.workload.sessions import Session
from skerry.node.workload.spec import (
    ClassInfo,
    Exit,
    Mount,
    Port,
    Restart,
    WorkloadInfo,
    WorkloadSpec,
)

EXEC_SECONDS = 600.0
EXEC_BYTES_MAX = 4 << 20
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_PORT = re.compile(r"(\d{1,5})(?:/([a-z]+))?(?:=(\d{1,5}))?")


class Handler:
    """See `skerry.kernel.service`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.workloads = node.workloads
        self._importer = Importer(node.workloads.images, node.clock)
        self._importing = asyncio.Lock()

    async def do_run(self, params: s.Run, progress: Progress) -> WorkloadInfo:
        """See `workload.run`."""
        return await self.workloads.run(self._spec(params), params.name)

    def _spec(self, params: s.Run) -> WorkloadSpec:
        image = self.workloads.images.resolve(params.image)
        return WorkloadSpec(
            image=params.image,
            command=params.program[:1] if image.kind != "wasm" else (),
            args=params.program[1:] if image.kind != "wasm" else params.program,
            env=dict(_pairs(params.env, "a variable")),
            isolation=params.isolation or ("wasm" if image.kind == "wasm" else "bwrap"),
            cpu_millicores=round(params.cpu * 1000),
            memory_bytes=parse_size(params.memory),
            disk_bytes=parse_size(params.disk),
            pids=params.pids,
            gpus=params.gpu,
            fuel=params.fuel,
            ports=tuple(parse_port(each) for each in params.port),
            mounts=tuple(parse_mount(each) for each in params.mount),
            restart=_restart(params.restart),
            expires=self._moment(params.lasts),
            hosts=params.host,
        )

    def _moment(self, lasts: str | None) -> int | None:
        """Return the time so long from now, in nanoseconds since 1970."""
        if lasts is None:
            return None
        try:
            return self.node.clock.now() + int(parse_duration(lasts) * 1e9)
        except ValueError as error:
            raise INVALID(f"{error}.") from error

    async def do_list(self, params: s.Listed, progress: Progress) -> list[s.WorkloadLine]:
        """See `workload.list`."""
        labels = dict(_pairs(params.label, "a label"))
        return [_line(each) for each in await self.workloads.list(labels)]

    async def do_status(self, params: s.OfWorkload, progress: Progress) -> WorkloadInfo:
        """See `workload.status`."""
        return await self.workloads.info(params.name)

    async def stream_logs(self, params: s.WorkloadLogs) -> AsyncIterator[s.LogRow]:
        """See `workload.logs`."""
        if not 0 <= params.lines <= 100_000:
            raise INVALID("Between 0 and 100000 lines can be asked for.")
        async for line in self.workloads.logs(params.name, params.lines, params.follow):
            yield s.LogRow(line.time, line.stream, line.text)

    async def do_exec(self, params: s.Execute, progress: Progress) -> s.Executed:
        """See `workload.exec`."""
        session = await self.workloads.execute(params.name, params.program)
        said: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        total = 0
        writing = asyncio.ensure_future(_give_input(session, params.input))
        try:
            async with asyncio.timeout(EXEC_SECONDS):
                async for stream, data in session.output():
                    total += len(data)
                    if total > EXEC_BYTES_MAX:
                        raise TOO_LARGE(
                            f"The command said more than {EXEC_BYTES_MAX >> 20} MiB.",
                            hint=f"skerry workload shell {params.name}",
                        )
                    said[stream].append(data)
        finally:
            writing.cancel()
            await session.close()
        assert session.code is not None, "its output has ended"
        return s.Executed(session.code, b"".join(said["stdout"]), b"".join(said["stderr"]))

    async def do_stop(self, params: s.Stop, progress: Progress) -> WorkloadInfo:
        """See `workload.stop`."""
        if not 0 <= params.grace <= 300:
            raise INVALID("The grace is between 0 and 300 seconds.")
        return await self.workloads.stop_one(params.name, params.grace)

    async def do_restart(self, params: s.OfWorkload, progress: Progress) -> WorkloadInfo:
        """See `workload.restart`."""
        return await self.workloads.restart(params.name)

    async def do_extend(self, params: s.Extend, progress: Progress) -> WorkloadInfo:
        """See `workload.extend`."""
        return await self.workloads.extend(params.name, self._moment(params.lasts))

    async def do_remove(self, params: s.OfWorkload, progress: Progress) -> Done:
        """See `workload.remove`."""
        await self.workloads.remove(params.name)
        return Done(f"{params.name} is removed.")

    async def do_classes(self, params: Nothing, progress: Progress) -> list[ClassInfo]:
        """See `workload.classes`."""
        self.workloads.look_again()
        return list(await self.workloads.classes())

    async def do_image_list(self, params: Nothing, progress: Progress) -> list[s.ImageLine]:
        """See `workload.image.list`."""
        found = await asyncio.to_thread(self.workloads.images.list)
        return [_image_line(each) for each in found]

    async def do_image_add(self, params: s.ImageAdd, progress: Progress) -> s.ImageLine:
        """See `workload.image.add`."""
        given = [bool(params.archive), bool(params.upload), bool(params.pip or params.debian)]
        if sum(given) != 1:
            raise INVALID(
                "An image comes from one archive, or one upload, or packages.",
                hint="skerry workload image add tools --pip httpx",
            )
        progress(0, 0, f"importing {params.name}")
        async with self._importing:
            if params.archive:
                path = Path(params.archive)
                if not path.is_absolute():
                    raise INVALID("The archive is an absolute path on the node's machine.")
                image = await asyncio.to_thread(self._importer.archive, params.name, path)
            elif params.upload:
                with self.node.archives.borrowed(params.upload) as path:
                    image = await asyncio.to_thread(self._importer.archive, params.name, path)
            else:
                image = await asyncio.to_thread(
                    self._importer.packages, params.name, params.pip, params.debian
                )
        return _image_line(image)

    async def do_image_remove(self, params: s.ImageNamed, progress: Progress) -> Done:
        """See `workload.image.remove`."""
        await self.workloads.remove_image(params.name)
        return Done(f"{params.name} is removed from the catalogue.")


async def _give_input(session: Session, data: bytes) -> None:

    await session.write(data)
    session.end_input()


def _pairs(texts: Iterable[str], what: str) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark:
            raise INVALID(f"{what} is written NAME=value, and {name[:40]!r} has no value.")
        yield name, value


def parse_size(text: str) -> int:
    """Return the bytes in `128M` or `2GiB` (powers of 1024). Raises INVALID."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise INVALID(f"{text[:40]!r} is no size such as 128M or 2G.")
    return int(found[1]) * _FACTORS[found[2].upper()]


def parse_port(text: str) -> Port:
    """Return the port in `80`, `80/http`, `5432/tcp` or `5432/tcp=15432`. Raises INVALID."""
    found = _PORT.fullmatch(text)
    if found is None:
        raise INVALID(f"{text[:40]!r} is no port such as 80/http or 5432/tcp=15432.")
    return Port(int(found[1]), found[2] or "http", int(found[3] or 0))


def parse_mount(text: str) -> Mount:
    """Return the mount in `data:/var/data` or `data:/var/data:ro`. Raises INVALID."""
    name, mark, rest = text.partition(":")
    path, _, mode = rest.partition(":")
    if not mark or mode not in ("", "ro", "rw"):
        raise INVALID(f"{text[:80]!r} is no mount such as data:/var/data.")
    return Mount(name, path, mode == "ro")


def _restart(text: str) -> Restart:
    try:
        return Restart(text)
    except ValueError as error:
        known = ", ".join(Restart)
        raise INVALID(f"{text[:40]!r} is no rule of restart.", why=f"It is {known}.") from error


def _line(info: WorkloadInfo) -> s.WorkloadLine:
    url = next((port.url for port in info.ports if port.url), "")
    return s.WorkloadLine(
        name=info.name,
        state=info.state,
        image=info.image,
        isolation=info.isolation,
        restarts=info.restarts,
        cpu_ms=info.usage.cpu_ms,
        memory_bytes=info.usage.memory_bytes,
        disk_bytes=info.usage.disk_bytes,
        url=url,
        ended=describe(info.exit),
    )


def describe(ended: Exit | None) -> str:
    """Return in a few words how a program ended last."""
    if ended is None:
        return ""
    return f"{ended.reason} {ended.code}" if ended.code else ended.reason


def _image_line(image: Image) -> s.ImageLine:
    return s.ImageLine(image.name, image.kind, image.bytes, image.source, image.digest)
