"""The accountant: it reads what processes counted and used, and posts the growth, once each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.clock import Clock
from skerry.kernel.ledger import Ledger, Posted, Reading, SourcesClosed, encode
from skerry.kernel.log import Log
from skerry.kernel.manifest import Manifest
from skerry.node.cells import Cell, Running
from skerry.node.counters import PREFIX, file_name, parse_file_name, read_counters
from skerry.node.tree_usage import tree_usage

POST_SECONDS = 10.0
_MIB = 1024 * 1024

_log = logging.getLogger(__name__)


class Accountant:
    """Turns counters and samples into postings of the ledger of record."""

    def __init__(
        self,
        *,
        run: Path,
        catalogue: Catalogue,
        manifests: Mapping[str, Manifest],
        ledger: Ledger,
        log: Log,
        clock: Clock,
        awake: Callable[[], list[Cell]],
        others: Callable[[], Iterable[Reading]] = tuple,
    ) -> None:
        self._run = run
        self._catalogue = catalogue
        self._manifests = manifests
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._awake = awake
        self._others = others
        self._posting = asyncio.Lock()

    async def settle_leftovers(self) -> None:
        """Post what processes counted that a killed node left behind, and close their counters."""
        files = {
            path: parsed
            for path in self._run.glob(f"*/{PREFIX}*")
            if (parsed := parse_file_name(path.name))
        }
        async with self._posting:
            await self._post(reading for path in files for reading in self._read(path))
            await self._close({instance for instance, _ in files.values()})
        for path in files:
            _remove(path)

    async def run_for_ever(self) -> None:
        """Post every few seconds."""
        while True:
            await asyncio.sleep(POST_SECONDS)
            try:
                await self.post()
            except Exception:
                _log.exception("usage could not be posted; the next try includes it")

    async def post(self) -> None:
        """Post the growth of every counter of what is awake."""
        processes = [running for cell in self._awake() for running in cell.running()]
        if processes:
            await asyncio.to_thread(self.sample, processes)
        async with self._posting:
            await self._post(each for cell in self._awake() for each in self._cell_readings(cell))
            others = await asyncio.to_thread(lambda: list(self._others()))
            await self._post(iter(others))

    async def settle(self, source: str) -> None:
        """Post what is left of a source that is no process of a cell, and close its counters."""
        others = await asyncio.to_thread(lambda: list(self._others()))
        async with self._posting:
            await self._post(each for each in others if each.source == source)
            await self._close({source})

    def sample(self, processes: Iterable[Running]) -> None:
        """Read CPU and memory of processes: from their cgroups, else from /proc."""
        without: list[Running] = []
        now = self._clock.monotonic()
        for running in processes:
            usage = running.group.usage()
            if usage.cpu_ms is None or usage.memory_bytes is None:
                without.append(running)
            else:
                _note(running, usage.cpu_ms, usage.memory_bytes, now)
        if without:
            used = tree_usage({running.child.pid for running in without})
            for running in without:
                cpu_ms, memory_bytes = used.get(running.child.pid, (0, 0))
                _note(running, cpu_ms, memory_bytes, now)

    async def on_end(self, cell: Cell, running: Running) -> None:
        """Post the last of a process that ended, and close its counters."""
        async with self._posting:
            await self._post(self._process_readings(cell, running))
            running.posted = True
            await self._close({running.instance})
        for path in self._counters(running):
            _remove(path)

    def _cell_readings(self, cell: Cell) -> Iterator[Reading]:
        for running in cell.running():
            yield from self._process_readings(cell, running)

    def _process_readings(self, cell: Cell, running: Running) -> Iterator[Reading]:
        if running.posted:
            return
        account = f"{cell.app}/{cell.branch}"
        if running.key:
            account = f"{account}/{running.key}"
        cpu_ms = running.cpu_ms + running.apart_cpu_ms
        memory_mib_s = int(running.memory_mib_s + running.apart_memory_mib_s)
        yield Reading(running.instance, account, "cpu_ms", cpu_ms)
        yield Reading(running.instance, account, "memory_mib_s", memory_mib_s)
        for path in self._counters(running):
            yield from self._read(path)

    def _counters(self, running: Running) -> Iterator[Path]:
        """Yield where a process counts: what it is bound to, beside its first resource."""
        for resource_id in running.resources.values():
            yield self._run / resource_id / file_name(running.instance, resource_id)
        home = next(iter(running.resources.values()), None)
        if home is not None:
            for resource_id in running.bound.values():
                yield self._run / home / file_name(running.instance, resource_id)

    def _read(self, path: Path) -> Iterator[Reading]:
        """Read one counter file. Whose it is follows from the catalogue, not from the file.

        Its name is as untrusted as its content: it counts for a resource of its own branch only.
        """
        parsed = parse_file_name(path.name)
        home, place = self._catalogue.find(path.parent.name), None
        if parsed is not None:
            place = self._catalogue.find(parsed[1])
        if parsed is None or place is None or home is None or place[:2] != home[:2]:
            return
        record = self._catalogue.record(*place)
        units = [unit.name for unit in self._manifests[record.kind].units]
        try:
            counters = read_counters(path, units)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("%s: what it counts is left out: %s", "/".join(place), error)
            return
        for unit, total in counters.items():
            yield Reading(f"{parsed[0]}.{record.id}", "/".join(place), unit, total)

    async def _post(self, readings: Iterator[Reading]) -> None:
        news = self._ledger.news(readings)
        if news:
            await self._log.append(encode(Posted(news, self._clock.now())))

    async def _close(self, instances: set[str]) -> None:
        sources = {source for source, _, _ in self._ledger.counters}
        closed = {each for each in sources if each.partition(".")[0] in instances}
        if closed:
            await self._log.append(encode(SourcesClosed(tuple(sorted(closed)))))


def _note(running: Running, cpu_ms: int, memory_bytes: int, now: float) -> None:
    """Add a sample: CPU is a running total, memory is integrated over the time since the last."""
    running.cpu_ms = max(running.cpu_ms, cpu_ms)
    seconds = max(now - running.sampled, 0.0)
    running.memory_mib_s += memory_bytes / _MIB * seconds
    running.memory_bytes, running.sampled = memory_bytes, now


def _remove(path: Path) -> None:
    """Remove a counter file; the process may have put a folder there, which goes with its own."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s stays for now: %s", path.name, error)
