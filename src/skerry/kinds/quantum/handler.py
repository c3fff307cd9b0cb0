"""Carries out `skerry quantum …`: the catalogue by itself, jobs by the app's own resource."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from typing import Any

import msgspec

from skerry.kernel.commands import Done, Nothing, WordCall
from skerry.kernel.errors import DENIED, INVALID, NOT_FOUND, SkerryError
from skerry.kernel.money import show
from skerry.kernel.policy import Request as PolicyRequest
from skerry.kinds.quantum import (
    device_reports,
    energies,
    installing,
    language,
    pictures,
    published,
    raster,
    reports,
    results,
    search,
    stacks,
    ways,
)
from skerry.kinds.quantum import service as words
from skerry.kinds.quantum.catalogue import benchmarks, load
from skerry.kinds.quantum.catalogue.model import Device, Here
from skerry.kinds.quantum.contract import Budget, Cost, Job, JobRequest, Options, Program
from skerry.kinds.quantum.hardware import ACTION
from skerry.kinds.quantum.hybrid.contract import HybridJob, Told
from skerry.kinds.quantum.messages import Energy, Outcome, Quote, Revised
from skerry.kinds.quantum.providers.interface import Provider
from skerry.kinds.quantum.twins import is_limited, is_runnable, medians
from skerry.kinds.quantum.waking import KIND, Waker

Progress = Callable[[int, int, str], None]
_DECLARE = "[quantum.qpu] in skerry.toml, then `skerry deploy`"


class Handler:
    """The service, made with the node (whose parts are not known here by type)."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._waking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wake resources whose jobs are not over, now and whenever one was killed."""
        self._waking = asyncio.create_task(Waker(self._node).run())

    async def stop(self) -> None:
        """Wake nothing more."""
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.gather(self._waking, return_exceptions=True)

    async def do_devices(
        self, params: words.Listing, progress: Progress
    ) -> device_reports.DeviceTable:
        """See `quantum.devices`."""
        reached = {name for way in ways.rows(self._node, "") for name in way.devices}
        rows = [
            _row(each, by_vendor=each.id in reached)
            for each in load.devices().values()
            if load.is_in(each.country, params.where)
            and params.modality.lower() in each.modality.value
            and params.status in ("", each.status.value)
        ]
        listed = {each.id for each in rows}
        here = ways.of_devices(self._node, listed, params.app) if params.app else ()
        return device_reports.DeviceTable(tuple(rows), here)

    async def do_device(
        self, params: words.Named, progress: Progress
    ) -> device_reports.DeviceReport:
        """See `quantum.device`."""
        device = load.find(params.device)
        calibration = load.calibration(device.id)
        own = medians(calibration) if calibration else []
        known = {each.name for each in own}
        found = ways.of_device(self._node, device, params.app)
        figures = [*own, *(each for each in device.figures if each.name not in known)]
        return device_reports.DeviceReport(
            device,
            str(_here(device)._replace(provider=bool(found))),
            device.revision,
            calibration,
            tuple(figures),
            tuple(map(device_reports.score_row, benchmarks.compared(device.id))),
            pictures.topology(device, calibration),
            params.svg,
            found,
        )

    async def do_providers(
        self, params: words.OfApp, progress: Progress
    ) -> device_reports.ProviderTable:
        """See `quantum.providers`."""
        return device_reports.ProviderTable(tuple(ways.rows(self._node, params.app)))

    async def do_estimate(self, params: words.Estimate, progress: Progress) -> reports.QuoteTable:
        """See `quantum.estimate`."""
        budget = Budget(params.budget, params.currency) if params.budget else None
        request = JobRequest(
            device="sim-ideal",
            programs=(Program(params.program, format=language.of(params.program)),),
            shots=params.shots,
            budget=budget,
            where=params.where,
        )
        asked = {"request": request, "devices": params.device, "currency": params.currency}
        found: list[Quote] = await self._call(params, "quote", asked, progress)
        reached = self._reached(params)
        allowed = {each.device: reached.get(each.device, ()) for each in found}
        return reports.QuoteTable(params.shots, params.currency, tuple(found), allowed)

    async def do_run(self, params: words.Run, progress: Progress) -> reports.JobReport:
        """See `quantum.run`."""
        if not 0 <= params.effort <= 3:
            raise INVALID(f"The effort is 0 to 3, not {params.effort}.", hint="--effort 2")
        written = params.language or language.of(params.program)
        request = JobRequest(
            device=params.device or language.simulator(written),
            programs=(Program(params.program, format=written),),
            shots=params.shots,
            level=params.level,
            options=Options(
                seed=params.seed,
                pessimism=params.pessimism,
                fidelity=params.fidelity,
                engine=params.engine,
                optimisation=params.effort,
            ),
            budget=Budget(params.budget, params.currency) if params.budget else None,
            where=params.where,
            provider=params.provider,
            name=params.name,
            token=params.token,
            reservation=params.reservation,
            booking=params.booking,
        )
        if params.png and not params.wait:
            raise INVALID("A job that is not waited for has no histogram yet.", hint="--wait")
        progress(0, 0, "checking and compiling the program")
        try:
            job = await self._call(params, "submit", {"request": request}, progress)
        except SkerryError as error:
            by_policy = error.problem is DENIED and error.hint.startswith("skerry policy")
            if not by_policy or params.provider == "twin":
                raise
            raise self._with_others(error, params) from error
        if not params.wait:
            return reports.JobReport(job)
        found = await self._call(params, "wait", {"job": job.id}, progress)
        return _report(found, params.png)

    def _with_others(self, error: SkerryError, params: words.Run) -> SkerryError:
        """Add to a refusal which machines the app's policy lets jobs go to."""
        found = [f"{device} by {way}" for device, by in self._reached(params).items() for way in by]
        reached = f"Policy lets its jobs go to: {', '.join(found) or 'no machine'}."
        return SkerryError(error.problem, error.what, f"{error.why} {reached}".strip(), error.hint)

    def _reached(self, params: words.Here) -> dict[str, tuple[str, ...]]:
        """Return to which machines the app's policy lets jobs go, and by which ways."""
        name = params.resource or self._only(params.app, params.branch)
        every = list(ways.all_ways(self._node.clock))
        found = {}
        for device in load.devices().values():
            by = tuple(
                way.name
                for way in every
                if ways.leads_to(way, device) and self._may_go(way, device, params, name)
            )
            if by:
                found[device.id] = by
        return found

    def _may_go(self, way: Provider, device: Device, params: words.Here, name: str) -> bool:
        places, who = way.places(device), f"app:{params.app}"
        asked = [
            PolicyRequest(
                who, ACTION, str(place), params.app, params.branch, KIND, name, place=place
            )
            for place in places
        ]
        return all(self._node.policy.decide(each).allowed for each in asked)

    async def do_jobs(self, params: words.Jobs, progress: Progress) -> reports.JobTable:
        """See `quantum.jobs`."""
        asked = {"limit": params.limit}
        found = await self._call(params, "list", asked, progress)
        hybrid = await self._call(params, "hybrid-list", asked, progress)
        return reports.JobTable(tuple(found), tuple(hybrid))

    async def do_job(self, params: words.Shown, progress: Progress) -> reports.ShownJob:
        """See `quantum.job`."""
        found: Outcome | Told = await self._either(params, ("show", "hybrid-show"), progress)
        if isinstance(found, Told):
            return reports.ShownJob(hybrid=found)
        made = _report(found, params.png)
        return reports.ShownJob(made.job, made.results, made.events, made.png)

    async def _either(self, params: words.OfJob, pair: tuple[str, str], progress: Progress) -> Any:
        """Call a word on a job, or its fellow if the job is a hybrid one; raise NOT_FOUND."""
        asked = {"job": params.job}
        try:
            return await self._call(params, pair[0], asked, progress)
        except SkerryError as error:
            if error.problem is not NOT_FOUND:
                raise
        return await self._call(params, pair[1], asked, progress)

    async def do_histogram(self, params: words.Chart, progress: Progress) -> reports.Text:
        """See `quantum.histogram`."""
        found: Outcome = await self._call(params, "show", {"job": params.job}, progress)
        if not found.results:
            raise NOT_FOUND(f"Job {params.job} has no result.", why=f"It is {found.job.state}.")
        if params.form == "html":
            return reports.Text(pictures.page(found.job, found.results))
        if params.form == "svg":
            return reports.Text(pictures.histogram(found.results[0], f"Job {params.job}"))
        return reports.Text(_report(found).draw(80))

    async def do_cost(self, params: words.OfJob, progress: Progress) -> reports.JobCost:
        """See `quantum.cost`."""
        found: Outcome = await self._call(params, "show", {"job": params.job}, progress)
        job, cost = found.job, found.job.cost
        assert cost is not None, "every job was estimated"
        return reports.JobCost(
            job=job.id,
            device=job.request.device,
            here=_here_cost(job, cost),
            hardware=reports.money(cost),
            channel=cost.channel,
            prices=cost.prices,
            as_of=cost.as_of,
            lines=cost.lines,
            usage=job.usage,
        )

    async def do_verify(self, params: words.Verified, progress: Progress) -> reports.Signatures:
        """See `quantum.verify`."""
        found: Outcome = await self._call(params, "show", {"job": params.job}, progress)
        if not found.results:
            raise NOT_FOUND(f"Job {params.job} has no result.", why=f"It is {found.job.state}.")
        forged = tuple(
            each.execution for each in found.results if not results.is_signed(each, found.key)
        )
        checked = reports.Signatures(
            job=found.job.id,
            key=found.key,
            signed=len(found.results) - len(forged),
            forged=forged,
            digests=tuple(results.digest(each) for each in found.results),
        )
        if not params.record:
            return checked
        said = {"app": params.app, "branch": params.branch, **msgspec.to_builtins(checked)}
        entry = await self._node.audit.add("quantum-results", said)
        return msgspec.structs.replace(checked, entry=entry)

    async def do_cancel(self, params: words.OfJob, progress: Progress) -> Done:
        """See `quantum.cancel`."""
        job: Job | HybridJob = await self._either(params, ("stop", "hybrid-stop"), progress)
        return Done(f"Job {job.id} is {job.state}.")

    async def do_reserve(self, params: words.Reserve, progress: Progress) -> reports.ReservationRow:
        """See `quantum.reserve`."""
        asked = {
            "device": params.device,
            "starts": _moment(params.at),
            "seconds": params.minutes * 60,
            "owner": params.owner,
        }
        return reports.reservation_row(await self._call(params, "book", asked, progress))

    async def do_reservations(
        self, params: words.Here, progress: Progress
    ) -> list[reports.ReservationRow]:
        """See `quantum.reservations`."""
        found = await self._call(params, "bookings", {}, progress)
        return [reports.reservation_row(each) for each in found]

    async def do_release(self, params: words.OfReservation, progress: Progress) -> Done:
        """See `quantum.release`."""
        await self._call(params, "unbook", {"reservation": params.reservation}, progress)
        return Done(f"Reservation {params.reservation} is given up; its jobs take their turn.")

    async def do_catalogue_import(self, params: words.Import, progress: Progress) -> Revised:
        """See `quantum.catalogue.import`."""
        asked = {"device": params.device, "data": params.file}
        found: Revised = await self._call(params, "learn", asked, progress)
        return found

    async def do_resources(self, params: words.Resources, progress: Progress) -> reports.NeedTable:
        """See `quantum.resources`."""
        if bool(params.program) == bool(params.workload):
            raise INVALID("Name a program or a workload.", hint="--workload rsa-2048")
        found_in = language.of(params.program)
        is_other = found_in in ("qsharp", "qir")
        asked = {
            "source": params.program,
            "format": params.language or (found_in if is_other else "openqasm"),
            "workload": params.workload,
            "error_budget": params.error_budget,
        }
        found = await self._call(params, "needs", asked, progress)
        known = published.FIGURES.get(params.workload, {})
        return reports.NeedTable(tuple(found), pictures.frontiers(found), params.svg, known)

    async def do_chemistry(
        self, params: words.Chemistry, progress: Progress
    ) -> reports.EnergyTable:
        """See `quantum.chemistry`."""
        twin = params.device != energies.NO_DEVICE
        asked = {
            **{name: getattr(params, name) for name in energies.ASKED},
            "larger": not params.lengths,
            "circuits": twin,
            "search": twin and params.search > 0,
        }
        progress(0, 0, "computing integrals, and optimising the circuit")
        found: list[Energy] = await self._call(params, "energies", asked, progress)
        if twin:
            found = [await self._measured(params, each, progress) for each in found]
        if twin and params.search > 0:
            found = [await self._searched(params, each, progress) for each in found]
        return reports.EnergyTable(params.molecule, params.basis, tuple(found))

    async def _measured(
        self, params: words.Chemistry, energy: Energy, progress: Progress
    ) -> Energy:
        """Return an energy with what a job on a twin measured, where few circuits do."""
        if not energy.measurements:
            return energy
        options = Options(seed=params.seed, pessimism=params.pessimism)
        request = energies.request(energy, params.molecule, params.device, params.shots, options)
        job = await self._call(params, "submit", {"request": request}, progress)
        outcome = await self._call(params, "wait", {"job": job.id}, progress)
        return energies.measured(energy, outcome)

    async def _searched(
        self, params: words.Chemistry, energy: Energy, progress: Progress
    ) -> Energy:
        """Return an energy with what a search on the twin came to."""
        options = Options(seed=params.seed, pessimism=params.pessimism)

        async def ask(request: JobRequest) -> Outcome:
            job = await self._call(params, "submit", {"request": request}, progress)
            found: Outcome = await self._call(params, "wait", {"job": job.id}, progress)
            energies.require(found)
            return found

        def tell(shots: int, expected: float) -> None:
            progress(shots, params.search, f"searching on the twin: {expected:.4f} hartree")

        found = await search.search(energy, params.device, params.search, options, ask, tell)
        asked = {name: getattr(params, name) for name in energies.ASKED}
        asked |= {"at": found.parameters, "circuits": True}
        asked["lengths"] = () if energy.length is None else (energy.length,)
        (end,) = await self._call(params, "energies", asked, progress)
        measured = await self._measured(params, end, progress)
        if measured.twin is None:
            return energy
        told = search.told(found, measured.twin, end.variational)
        return msgspec.structs.replace(energy, searched=told, searched_by=())

    async def do_stacks(self, params: Nothing, progress: Progress) -> list[reports.StackRow]:
        """See `quantum.stacks`."""
        return [
            reports.StackRow(name, self._state(name), each.summary)
            for name, each in stacks.STACKS.items()
        ]

    def _state(self, name: str) -> str:
        if stacks.is_here(name) and not name.endswith("-gpu"):
            return "in the node's environment"
        made = stacks.folder(self._node.home.environments, name)
        if (made / stacks.COMPLETE).exists():
            return "in an environment of its own"
        return "not installed"

    async def do_install(self, params: words.StackNamed, progress: Progress) -> Done:
        """See `quantum.install`."""
        stack = stacks.stack(params.stack)
        target = stacks.folder(self._node.home.environments, params.stack)
        await installing.install(stack, target, progress)
        return Done(f"The stack {params.stack} is installed.", next="skerry quantum stacks")

    async def _call(
        self, params: words.Here, word: str, asked: dict[str, Any], progress: Progress
    ) -> Any:
        """Call a word of the app's quantum resource."""
        name = params.resource or self._only(params.app, params.branch)
        call = WordCall(
            name=name,
            app=params.app,
            params=msgspec.to_builtins(asked),
            branch=params.branch,
        )
        return await self._node.words.call(KIND, word, call, progress)

    def _only(self, app: str, branch: str) -> str:
        """Return the app's only quantum resource; raise NOT_FOUND or INVALID."""
        found = self._node.catalogue.branch(app, branch)
        names = [r.name for r in self._node.catalogue.declared(found) if r.kind == KIND]
        if not names:
            raise NOT_FOUND(f"{app}/{branch} has no quantum resource.", hint=f"Add {_DECLARE}.")
        if len(names) > 1:
            raise INVALID(
                f"{app}/{branch} has several quantum resources: {', '.join(names)}.",
                hint=f"--resource {names[0]}",
            )
        return str(names[0])


def _moment(text: str) -> int:
    """Return a time as nanoseconds since 1970, 0 for none; raise INVALID."""
    if not text:
        return 0
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise INVALID(f"{text[:40]!r} is no time.", hint="--at 2026-11-23T14:05:00Z") from error
    if found.tzinfo is None:
        raise INVALID(f"{text[:40]!r} has no time zone.", hint="Z is UTC: 2026-11-23T14:05:00Z")
    return int(found.timestamp()) * 1_000_000_000


def _report(found: Outcome, png: str = "") -> reports.JobReport:
    title = f"Job {found.job.id} on {found.job.request.device}: {found.job.nature}"
    picture = raster.histograms(found.results, title) if png and found.results else b""
    return reports.JobReport(found.job, found.results, found.events, picture)


def _here_cost(job: Job, cost: Cost) -> str:
    """Say what a job cost here: a twin's compute, or what the ledger holds of hardware."""
    if job.request.provider == "twin":
        return f"{show(cost.here, cost.currency)} (the node's own compute: skerry meter)"
    how = "corrected at its end" if job.over else "as estimated"
    return f"{show(cost.posted, 'EUR')} in the ledger, {how} (skerry meter)"


def _here(device: Device) -> Here:
    return Here(
        twin=device.twin,
        simulator=device.status.value == "local" or is_limited(device),
        provider=False,
        estimate=not is_runnable(device) and device.status.value in ("announced", "unsold"),
    )


def _row(device: Device, *, by_vendor: bool) -> device_reports.DeviceRow:
    calibration = load.calibration(device.id)
    own = medians(calibration) if calibration is not None else []
    figures = {each.name: each.value for each in (*reversed(device.figures), *own)}
    return device_reports.DeviceRow(
        id=device.id,
        name=device.name,
        vendor=device.vendor,
        modality=device.modality.value,
        status=device.status.value,
        qubits=device.qubits,
        country=device.country,
        place=device.place,
        topology=device.topology.shape or device.topology.kind,
        native_gates=device.native_gates,
        here=str(_here(device)._replace(provider=by_vendor)),
        as_of=device.as_of,
        one_qubit_fidelity=figures.get("one_qubit_fidelity"),
        two_qubit_fidelity=figures.get("two_qubit_fidelity"),
        readout_fidelity=figures.get("readout_fidelity"),
        two_qubit_seconds=figures.get("two_qubit_seconds"),
        prices=tuple(device_reports.price_line(device, each.channel) for each in device.prices),
        sources=(
            *dict.fromkeys(each.source for each in own),
            *(device_reports.source_text(device, each) for each in device.sources),
        ),
        conflicts=sum(1 for _ in device.conflicts()),
        note=device.note,
    )
