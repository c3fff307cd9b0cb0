"""The desk: every operation of a quantum resource, in the words of the neutral job.

Wires, words and bindings all come here and nowhere else. A job that `submit` returns is on the
disk; it runs in its turn, on one worker, while another worker checks what comes next.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from skerry.kernel.clock import Entropy, SystemEntropy
from skerry.kernel.errors import INVALID, TOO_LARGE, UNSUPPORTED
from skerry.kernel.kind import Context
from skerry.kinds.quantum import (
    checks,
    pricing,
    reservations,
    sessions,
    timing,
    transfer,
    twins,
)
from skerry.kinds.quantum.alarm import Alarm
from skerry.kinds.quantum.calendar import Calendar
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.importing import read as read_calibration
from skerry.kinds.quantum.catalogue.model import Calibration, Device, Price
from skerry.kinds.quantum.config import QuantumConfig
from skerry.kinds.quantum.contract import (
    Budget,
    Cost,
    Event,
    Job,
    JobRequest,
    JobState,
    Program,
    Queue,
    Result,
    Session,
)
from skerry.kinds.quantum.hardware import Hardware
from skerry.kinds.quantum.hybrid import records
from skerry.kinds.quantum.hybrid.jobs import HybridJobs
from skerry.kinds.quantum.messages import Energy, Molecule, Need, Needed
from skerry.kinds.quantum.providers.interface import Dialect
from skerry.kinds.quantum.readied import Readied
from skerry.kinds.quantum.results import nature
from skerry.kinds.quantum.runner import Runner
from skerry.kinds.quantum.store import FILE, Store
from skerry.kinds.quantum.worker.ir import computes, line_of_choice
from skerry.kinds.quantum.workers import Workers

PLAN_SECONDS = 120.0
SESSION_SECONDS_MAX = 7 * 86_400
STEPS = (JobState.CREATED, JobState.VALIDATED, JobState.ESTIMATED, JobState.QUEUED)

_UNREAD: dict[str, Any] = {"qubits": 0, "bits": 0, "registers": [], "ops": []}
"""What is told of a program that is passed on as it came."""

T = TypeVar("T")


class Plan(msgspec.Struct, frozen=True):
    """What a program is once it is compiled for a device, and what it would be to run it."""

    device: str
    qubits: int
    bits: int
    one_qubit_gates: int
    two_qubit_gates: int
    measurements: int
    depth: int
    fidelity: float
    engine: str
    reason: str
    bytes_needed: int
    layout: tuple[str, ...]


class Desk:
    """The operations of one resource, while its engine runs."""

    def __init__(self, context: Context, entropy: Entropy | None = None) -> None:
        self.context = context
        self.config: QuantumConfig = context.config
        self.path = context.directory / FILE
        self._entropy = entropy or SystemEntropy()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quantum-store")
        self._store: Store
        self._checkers = Workers(context.clock, context.environments)
        self._learned: dict[str, tuple[int, Calibration]] = {}
        self._readied = Readied()
        alarm = Alarm(context.directory)
        self.runner = Runner(self, alarm)
        self.calendar = Calendar(self, self.runner.reserved)
        self.hybrid = HybridJobs(self, alarm)
        self.hardware = Hardware(self, self._for_hardware, alarm, self.runner.tell)

    async def start(self) -> None:
        """Open the jobs, finish what a crash or a copy left unclear, and go on with the rest."""
        self._store = await self._in_thread(
            lambda: Store(self.path, self.context.clock, create=True)
        )
        self._learned = await self.stored(Store.calibrations)
        await self.stored(_settle, self.context.id)
        await self.runner.start()
        await self.hardware.start()
        await self.hybrid.start()

    async def stop(self) -> None:
        """Stop working; jobs that are not over go on at the next start."""
        await self.hybrid.stop()
        await self.hardware.stop()
        await self.runner.stop()
        await self._checkers.close()
        if hasattr(self, "_store"):
            await self._in_thread(self._store.close)
        await asyncio.to_thread(self._thread.shutdown)

    async def _in_thread(self, job: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, job))

    async def stored(self, job: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a method of the store in its thread, to its end even if the caller goes away."""
        return await self._in_thread(lambda: job(self._store, *args, **kwargs))

    def device(self, name: str) -> tuple[Device, Calibration | None, int]:
        """Return a device, the calibration in force for it, and its revision."""
        found = load.find(name)
        learned = self._learned.get(found.id)
        if learned is not None:
            return found, learned[1], learned[0]
        return found, load.calibration(found.id), found.revision

    async def learn(self, device: str, data: bytes) -> tuple[int, Calibration]:
        """Take a vendor's capability or calibration file in as a device's next revision."""
        found = load.find(device)
        calibration = await asyncio.to_thread(read_calibration, data, found.id)
        revision = await self.stored(Store.learn, calibration, found.revision + 1)
        self._learned[found.id] = (revision, calibration)
        return revision, calibration

    async def plan(self, request: JobRequest, program: int = 0, binding: int = 0) -> Plan:
        """Return what one execution of a request is on its device; raise what forbids it."""
        device, _, _ = self.device(request.device)
        checks.check(request, device, self.config.countries)
        twins.check(device, request.options.pessimism)
        params = self.worker_params(request, request.programs[program], binding, 0)
        checker = self._checkers.of(twins.stack_of(device, params["engine"]))
        found = await checker.ask("plan", params, PLAN_SECONDS)
        self._readied.keep(params, found.pop("ready", ""))
        plan = msgspec.convert({"device": device.id, **found}, Plan)
        if device.id == twins.DENSITY and plan.qubits > device.qubits:
            raise TOO_LARGE(f"{device.name} has {device.qubits} qubits, not {plan.qubits}.")
        return plan

    async def parse(self, program: Program, binding: int = 0) -> dict[str, Any]:
        """Return the circuit of a program (see `worker.ir`); raise INVALID with line and reason."""
        params = {
            "source": program.source,
            "format": program.format,
            "bindings": program.bindings[binding],
        }
        found: dict[str, Any] = await self._checkers.of("gates").ask("parse", params, PLAN_SECONDS)
        return found

    async def resources(self, needed: Needed) -> list[Need]:
        """Return what a program needs with error correction on every target."""
        asked = msgspec.to_builtins(needed)
        found = await self._checkers.of("resources").ask("resources", asked, PLAN_SECONDS)
        return msgspec.convert(found, list[Need])

    async def estimate(self, source: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return Microsoft's estimate of what a program in QIR needs, by its own parameters."""
        params = {"source": source, "asked": asked}
        found: dict[str, Any] = await self._checkers.of("resources").ask(
            "estimate", params, PLAN_SECONDS
        )
        return found

    async def disassemble(self, bitcode: bytes) -> str:
        """Return the text of QIR that came as LLVM's bitcode; raise INVALID."""
        params = {"source": base64.b64encode(bitcode).decode()}
        found: str = await self._checkers.of("resources").ask("disassemble", params, PLAN_SECONDS)
        return found

    async def recorded(self, source: str) -> Any:
        """Return what a program in QIR records, see `worker.qir`; raise INVALID."""
        return await self._checkers.of("gates").ask("recorded", {"source": source}, PLAN_SECONDS)

    async def chemistry(self, molecule: Molecule) -> list[Energy]:
        """Return the energies of a molecule."""
        asked = msgspec.to_builtins(molecule)
        seconds = float(self.config.job_seconds_max)
        found = await self._checkers.of("chemistry").ask("chemistry", asked, seconds)
        return msgspec.convert(found, list[Energy])

    async def _for_hardware(
        self, request: JobRequest, dialect: Dialect
    ) -> tuple[dict[str, Any], dict[str, Any], str]:
        """Return a program's circuit, the same compiled for its device, and a provider's text."""
        params = self.worker_params(request, request.programs[0], 0, 0)
        if params["paradigm"] != "gate":
            return _UNREAD, _UNREAD, ""
        gates = self._checkers.of("gates")
        circuit = await gates.ask("parse", params, PLAN_SECONDS)
        compiled = await gates.ask("compile", params, PLAN_SECONDS)
        line = line_of_choice(circuit)
        if line is not None and (dialect != "native3" or computes(compiled)):
            where = f"Line {line}: an" if line else "An"
            raise UNSUPPORTED(
                f"{where} `if` or a loop by measured bits is not sent to {request.provider}.",
                why="Its form of programs here has none; IBM's has, and so have twins.",
            )
        if not dialect:
            return circuit, compiled, msgspec.json.encode(compiled).decode()
        native = dialect.startswith("native")
        if dialect == "braket" and request.level == "verbatim":
            name, native = "braket-verbatim", True
        else:
            name = {"native2": "openqasm2", "native3": "openqasm3"}.get(dialect, dialect)
        source = msgspec.json.encode(compiled if native else circuit).decode()
        asked = {"source": source, "format": "circuit", "dialect": name}
        return circuit, compiled, await gates.ask("emit", asked, PLAN_SECONDS)

    def worker_params(
        self, request: JobRequest, program: Program, binding: int, seed: int
    ) -> dict[str, Any]:
        """Return what a worker is told of one execution."""
        device, calibration, _ = self.device(request.device)
        options = request.options
        params = {
            "source": program.source,
            "format": program.format,
            "bindings": program.bindings[binding],
            "device": twins.for_worker(device, calibration),
            "paradigm": device.paradigm.value,
            "level": request.level,
            "layout": list(options.layout),
            "optimisation": options.optimisation,
            "pessimism": options.pessimism,
            "fidelity": options.fidelity,
            "engine": twins.engine_of(request, program, device),
            "memory": options.memory,
            "shots": request.shots_of(program),
            "seed": seed,
            "memory_bytes": checks.memory_bytes(self.config.memory_mib << 20),
        }
        return params | {"ready": self._readied.find(params)}

    async def submit(self, request: JobRequest, id: str = "") -> Job:  # noqa: A002
        """Check a request, estimate it, and queue it durably; nothing is kept of a refused one.

        `id` is that of the job where a vendor's client chooses it.
        """
        device, _, _ = self.device(request.device)
        request = msgspec.structs.replace(request, device=device.id)
        known = await self.stored(Store.known, request)
        if known is not None:
            return self._placed(known)
        plans = await self._plans(request, device)
        uses = [self.use(request, each, number) for number, each in enumerate(plans)]
        cost = self._cost(device, uses, request)
        if request.provider != "twin":
            await self.hardware.admit(request, device)
        now = self.context.clock.now()
        await self._belongs(request, now)
        job = Job(
            id=id or self.new_id(),
            state=JobState.QUEUED,
            request=request,
            created=now,
            updated=now,
            executions=sum(len(each.bindings) for each in request.programs),
            cost=cost,
            expected_fidelity=plans[0].fidelity,
            nature=nature(device, request),
        )
        kept = await self.stored(Store.add, job, STEPS)
        if kept is job:
            self.context.meter.add("tasks")
            if request.provider == "twin":
                await self.runner.enqueue(kept)
            else:
                await self.hardware.enqueue(kept)
        return self._placed(kept)

    async def _plans(self, request: JobRequest, device: Device) -> list[Plan]:
        """Return what every program of a request is on its device; raise what is wrong with it."""
        plans = [
            await self.plan(request, number) for number in range(max(1, len(request.programs)))
        ]
        for number, program in enumerate(request.programs):
            for binding in range(1, len(program.bindings)):
                if twins.engine_of(request, program, device) in twins.EXACT.values():
                    await self.plan(request, number, binding)
                elif program.format == "circuit":
                    checks.binding(program, binding)
                elif program.format in checks.CIRCUITS:
                    await self.parse(program, binding)
        return plans

    async def _belongs(self, request: JobRequest, now: int) -> None:
        """Raise NOT_FOUND or CONFLICT unless a request's session and reservation take it."""
        if request.session:
            await self.stored(sessions.check, request, now)
        if request.reservation:
            await self.stored(reservations.check, request, now)

    def chance(self) -> int:
        """Return a seed for what is drawn at random before a job is queued."""
        return int.from_bytes(self._entropy.bytes(7), "big")

    def new_id(self) -> str:
        """Return an id in the shape of a UUID, which vendors' clients expect."""
        text = self._entropy.bytes(16).hex()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def _cost(self, device: Device, uses: list[pricing.Use], request: JobRequest) -> Cost:
        """Return what a job costs on the machine; raise DENIED above a ceiling."""
        budget, way = request.budget, request.provider
        for limit in self._limits(request):
            pricing.enforce(self.cost(device, uses, limit.currency, way), limit, device)
        return self.cost(device, uses, budget.currency if budget else self.config.currency, way)

    def _limits(self, request: JobRequest) -> list[Budget]:
        limits = [] if request.budget is None else [request.budget]
        if self.config.budget:
            limits.append(Budget(self.config.budget, self.config.currency))
        return limits

    def rates(self) -> pricing.Rates:
        """Return what a euro is worth."""
        return pricing.Rates(self.config.usd_per_eur, self.config.rate_as_of)

    def cost(
        self, device: Device, uses: list[pricing.Use], currency: str, provider: str = "twin"
    ) -> Cost:
        """Return what some executions cost together on the machine, by a provider or by any."""
        way = self._way(provider)
        parts = [pricing.cost(device, each, currency, self.rates(), way) for each in uses]
        if any(each.hardware is None for each in parts):
            return pricing.unpriced(parts)
        return msgspec.structs.replace(
            parts[0],
            hardware=sum(each.hardware or 0 for each in parts),
            lines=tuple(line for each in parts for line in each.lines),
            items=tuple(item for each in parts for item in each.items),
        )

    def _way(self, provider: str) -> pricing.Way:
        if provider == "twin":
            return pricing.ANY
        agreed = self.config.prices.get(provider)
        channel = self.hardware.provider(provider).channel
        if agreed is None:
            return pricing.Way(provider, channel)
        price = Price(
            provider,
            agreed.currency,
            "",
            per_task=agreed.per_task,
            per_shot=agreed.per_shot,
            per_second=agreed.per_second,
        )
        return pricing.Way(provider, channel, price, agreed.as_of)

    def use(self, request: JobRequest, plan: Plan, program: int = 0) -> pricing.Use:
        """Return what prices are asked for, with the time on the machine if that is counted."""
        found = use(request, plan, program)
        if request.provider == "twin":
            return found
        device, calibration, _ = self.device(request.device)
        each = timing.shot_seconds(device, calibration, plan.depth)
        provider = self.hardware.provider(request.provider)
        return found._replace(seconds=provider.seconds(found.shots, each))

    async def priced(self, request: JobRequest, shots: int, seconds: float | None) -> Cost:
        """Return what a request costs with so many shots, and so much time on the machine."""
        found = self.use(request, await self.plan(request))
        if seconds is None:
            seconds = found.seconds * shots / (found.shots or 1)
        currency = request.budget.currency if request.budget else self.config.currency
        uses = [found._replace(shots=shots, seconds=seconds)]
        return self.cost(load.find(request.device), uses, currency, request.provider)

    def seconds_max(self, request: JobRequest) -> int:
        """Return how many whole seconds on a machine a request's ceiling pays for, 0 for any."""
        agreed = self.config.prices.get(request.provider)
        if agreed is None or not pricing.amount(agreed.per_second):
            return 0
        found = []
        for limit in self._limits(request):
            ceiling = pricing.micro(pricing.amount(limit.amount))
            own = pricing.exchanged(limit.currency, ceiling, agreed.currency, self.rates())
            found.append(int(own / pricing.micro(pricing.amount(agreed.per_second))))
        return max(1, min(found)) if found else 0

    async def job(self, id: str) -> Job:  # noqa: A002 (the word of every vendor)
        """Return a job with its place in the queue; raise NOT_FOUND."""
        return self._placed(await self.stored(Store.job, id))

    async def jobs(
        self, states: tuple[JobState, ...] = (), limit: int = 100, before: str = ""
    ) -> list[Job]:
        """Return jobs, the newest first."""
        if not 1 <= limit <= 1000:
            raise INVALID("A page has 1 to 1000 jobs.")
        found = await self.stored(Store.jobs, states, limit, before)
        return [self._placed(each) for each in found]

    def _placed(self, job: Job) -> Job:
        if job.state is not JobState.QUEUED or job.request.provider != "twin":
            return job
        position = self.runner.position(job)
        queue = Queue(
            position,
            self.runner.waiting,
            self.context.clock.now(),
            self.runner.seconds_until(position),
        )
        return msgspec.structs.replace(job, queue=queue)

    async def waiting(self, device: str) -> int:
        """Return how many jobs wait for a device."""
        return await self.stored(Store.waiting, device)

    async def events(self, id: str) -> list[Event]:  # noqa: A002
        """Return the steps of a job."""
        return await self.stored(Store.events, id)

    async def results(self, id: str) -> list[Result]:  # noqa: A002
        """Return the results of a job so far."""
        await self.stored(Store.job, id)
        return await self.stored(Store.results, id)

    async def result(self, id: str, execution: int = 0) -> Result:  # noqa: A002
        """Return the result of one execution; raise NOT_FOUND if there is none yet."""
        return await self.stored(Store.result, id, execution)

    async def cancel(self, id: str) -> Job:  # noqa: A002
        """Cancel a job; one that is over stays as it is."""
        job = await self.job(id)
        if job.request.provider != "twin":
            return await self.hardware.cancel(job)
        return await self.runner.cancel(id)

    async def open_session(
        self,
        device: str,
        *,
        mode: Literal["dedicated", "batch"] = "batch",
        seconds_max: int = SESSION_SECONDS_MAX,
        owner: str = "",
        native: dict[str, Any] | None = None,
        id: str = "",  # noqa: A002
    ) -> Session:
        """Open a session on a device, durably; raise what forbids the device, or INVALID.

        `id` is that of the session where a vendor's client chooses it; CONFLICT if it is taken.
        """
        found = load.find(device)
        checks.place(found, self.config.countries, "This resource")
        if not 1 <= seconds_max <= SESSION_SECONDS_MAX:
            raise INVALID(f"A session lasts 1 to {SESSION_SECONDS_MAX} seconds.")
        made = Session(
            id=id or self.new_id(),
            device=found.id,
            created=self.context.clock.now(),
            mode=mode,
            seconds_max=seconds_max,
            owner=owner,
            native=native or {},
        )
        return await self.stored(sessions.add, made)

    async def session(self, id: str) -> Session:  # noqa: A002
        """Return a session as it stands; raise NOT_FOUND."""
        found = await self.stored(sessions.get, id)
        is_open = sessions.is_open(found, self.context.clock.now())
        return msgspec.structs.replace(found, accepting=is_open)

    async def sessions(self, wire: str, limit: int) -> list[Session]:
        """Return the newest sessions of a wire as they stand."""
        now = self.context.clock.now()
        return [
            msgspec.structs.replace(each, accepting=sessions.is_open(each, now))
            for each in await self.stored(sessions.recent, wire, limit)
        ]

    async def close_session(self, id: str, *, cancel: bool = False) -> Session:  # noqa: A002
        """Let a session take no more jobs; `cancel` those of it that are not over."""
        found = await self.stored(sessions.close, id, self.context.clock.now())
        if cancel:
            for job in await self.stored(Store.open):
                if job.request.session == id:
                    await self.cancel(job.id)
        return found

    async def primitives(self, program: str, params: Any, **limits: Any) -> dict[str, Any]:
        """Return the circuits that a call of Qiskit's primitives means (`worker.primitives`)."""
        asked = {"program": program, "params": params, **limits}
        found: dict[str, Any] = await self._checkers.of("gates").ask(
            "primitives", asked, PLAN_SECONDS
        )
        return found

    async def mitigated(self, items: list[Any], tasks: list[Any]) -> list[dict[str, Any]]:
        """Return what an estimator's PUBs come to with errors mitigated (`worker.mitigation`)."""
        asked = {"items": items, "tasks": tasks}
        found: list[dict[str, Any]] = await self._checkers.of("gates").ask(
            "mitigated", asked, PLAN_SECONDS
        )
        return found

    async def wait(self, id: str, seconds: float) -> Job:  # noqa: A002
        """Return a job once it is over, or as it stands when the time is up."""
        return self._placed(await self.runner.wait(id, seconds))

    async def restore(self, source: Path) -> None:
        """Replace all jobs by an export; what runs is stopped first."""
        await self.hybrid.stop()
        await self.hardware.stop()
        await self.runner.stop()
        try:
            await self.stored(transfer.restore, source)
            self._learned = await self.stored(Store.calibrations)
        finally:
            await self.runner.start()
            await self.hardware.start()
            await self.hybrid.start()


def use(request: JobRequest, plan: Plan, program: int = 0) -> pricing.Use:
    """Return what prices are asked for of one program of a request, with all its bindings."""
    count = len(request.programs[program].bindings)
    return pricing.Use(
        tasks=count if not request.one_task else int(program == 0),
        shots=count * request.shots_of(request.programs[program]),
        one_qubit_gates=plan.one_qubit_gates,
        two_qubit_gates=plan.two_qubit_gates,
        measurements=plan.measurements,
    )


def _settle(store: Store, resource: str) -> None:
    """Bring jobs into order that a crash or a copy left behind.

    A job runs once: in a copy of the state (a branch), what was not over is cancelled there.
    """
    owner = store.meta("resource")
    records.settle(store, is_copy=bool(owner) and owner != resource)
    for job in store.open():
        if owner and owner != resource:
            note = "This is a copy; the job goes on where it was made."
            if job.state is JobState.RUNNING:
                store.change(job.id, JobState.CANCELLING, note)
            store.change(job.id, JobState.CANCELLED, note, ended=job.updated)
        elif job.state is JobState.CANCELLING and job.request.provider == "twin":
            store.change(job.id, JobState.CANCELLED, "after a restart", ended=job.updated)
        elif job.state is JobState.RUNNING and job.request.provider == "twin":
            store.change(job.id, JobState.QUEUED, "after a restart")
    if owner != resource:
        reservations.clear(store)
        store.set_meta("resource", resource)
