"""What `skerry quantum …` answers, and how it draws itself for people."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import msgspec

from skerry.kernel.money import MICRO, show
from skerry.kinds.quantum import drawing, energies, hybrid_reports
from skerry.kinds.quantum.contract import Cost, Event, Job, Queue, Reservation, Result
from skerry.kinds.quantum.drawing import columns_of, span
from skerry.kinds.quantum.hybrid.contract import HybridJob, Told
from skerry.kinds.quantum.messages import Energy, Need, Quote
from skerry.kinds.quantum.pricing import HQC
from skerry.kinds.quantum.published import SOURCE as PUBLISHED_BY

_WHOLE = 1 - 1e-9
_CENT = MICRO // 100
_OUTCOMES = 8
"""How many of the likeliest outcomes are shown."""


class QuoteTable(msgspec.Struct, frozen=True):
    """What a program would be on each device, the best first.

    `allowed` are the ways by which policy lets the app's jobs go to each machine itself.
    """

    shots: int
    currency: str
    quotes: tuple[Quote, ...]
    allowed: dict[str, tuple[str, ...]] = {}

    def draw(self, columns: int) -> str:
        """Return what fits as a table, and what does not with the reason."""
        rows = [
            (
                f"{each.device}{f' ({each.status})' if each.status in _GONE else ''}",
                each.country,
                f"{each.fidelity:.3f}" if each.fidelity is not None else "-",
                str(each.two_qubit_gates),
                money(each.cost),
                str(each.waiting),
                "-" if each.seconds is None else span(each.seconds),
                each.as_of,
            )
            for each in self.quotes
            if each.fits
        ]
        head = ("device", "at", "fidelity", "2q gates", "cost", "queue", "time", "figures of")
        blocks = [columns_of(rows, head) if rows else "It fits on no device that is allowed."]
        others = [(each.device, each.why) for each in self.quotes if not each.fits]
        if others:
            blocks.append(columns_of(others, ("left out", "why"), columns))
        told = (_QUOTED, self._machines(), _HERE)
        blocks += [drawing.wrapped(each, columns) for each in told]
        return "\n\n".join(blocks)

    def _machines(self) -> str:
        """Return to which of the machines that fit the app's jobs may go."""
        found = [each.device for each in self.quotes if each.fits and self.allowed.get(each.device)]
        if found:
            return (
                f"Policy lets this app's jobs go to these machines themselves: {', '.join(found)}."
            )
        return "Policy lets this app's jobs go to none of these machines themselves, only to twins."


_GONE = ("retired", "unsold", "preview")
_QUOTED = (
    "fidelity: the chance that nothing goes wrong in one shot, by published errors. cost: on the "
    "machine, at the dated price list. queue: jobs that wait here; how many wait for the machine "
    "itself is not known. time: of the shots alone, by published times."
)
_HERE = "Runs here are on twins, for nothing: skerry quantum run <program> --device <device>"


def money(cost: Cost | None) -> str:
    """Return what a job costs on the machine, in whole cents where it is that much, or in HQC.

    It is rounded up, so that no cost is above what is told.
    """
    if cost is None:
        return "not known"
    if cost.hardware is None:
        credits_used = [each.amount for each in cost.items if each.dimension == HQC]
        return f"{Decimal(credits_used[0]).normalize():f} HQC" if credits_used else "not known"
    cents = -(-cost.hardware // _CENT)
    return show(cost.hardware if cost.hardware < _CENT else cents * _CENT, cost.currency)


class JobReport(msgspec.Struct, frozen=True):
    """A job with its results and steps."""

    job: Job
    results: tuple[Result, ...] = ()
    events: tuple[Event, ...] = ()
    png: bytes = b""

    def contents(self) -> dict[str, bytes]:
        """Return the picture for the file that was asked for."""
        return {"png": self.png} if self.png else {}

    @property
    def exit_code(self) -> int:
        """0 if it is done, 1 if it failed, 8 while it is not over."""
        if not self.job.over:
            return 8
        return 0 if self.job.state == "COMPLETED" else 1

    def draw(self, columns: int) -> str:
        """Return the job, its histograms, and where they come from."""
        job = self.job
        lines = [f"job {job.id}  {job.state}", drawing.wrapped(job.nature, columns)]
        if job.queue is not None and job.queue.position:
            lines.append(queue_text(job.queue))
        if job.trouble and not job.over:
            lines.append(drawing.wrapped(trouble_text(job), columns))
        if job.error is not None:
            text = f"{job.error['what']} {job.error['why']}".strip()
            lines.append(drawing.wrapped(text, columns))
        blocks = ["\n".join(lines)]
        blocks += [_outcome(each, columns, many=len(self.results) > 1) for each in self.results]
        blocks.append(_cost_line(job))
        return "\n\n".join(block for block in blocks if block)


def trouble_text(job: Job) -> str:
    """Return what keeps a job from its vendor, and when that is tried again."""
    tries = f"{job.failures} time{'s' if job.failures > 1 else ''}"
    return (
        f"{job.request.provider} did not answer, {tries} in a row: "
        f"{job.trouble.rstrip('.')}. It is asked again at {second_text(job.look_at)} UTC."
    )


def queue_text(queue: Queue) -> str:
    """Return a place in the queue, when that was so, and when its turn may come."""
    seen = datetime.datetime.fromtimestamp(queue.as_of // 10**9, datetime.UTC)
    turn = queue.eta_seconds
    text = f"{queue} in the queue at {seen:%H:%M:%S} UTC"
    return text if turn is None else f"{text}; its turn comes in about {span(max(turn, 1.0))}"


def _outcome(result: Result, columns: int, *, many: bool) -> str:
    source = result.provenance
    head = f"execution {result.execution}\n" if many else ""
    calibration = source.calibration
    dated = f"; figures of {calibration.taken_at}" if calibration else ""
    told = [_value(each, columns) for each in result.extra.get("values", ())]
    told += _photons(result.extra.get("photons", {}))
    bars = drawing.histogram(result.counts, columns) if result.shots or not told else ""
    shown = "\n".join(part for part in (*told, bars) if part)
    how = (
        f"{result.shots} shots, {result.endianness}{dated}",
        f"engine {source.engine}: {source.engine_reason} Seed {source.seed}, "
        f"{source.seconds:.3f} s.",
    )
    told_of = "\n".join(drawing.wrapped(each, columns, "  ") for each in how)
    return f"{head}{shown}\n\n{told_of}"


def _photons(found: dict[str, Any]) -> list[str]:
    """Return how many cases count, where not all do, and the likeliest outcomes where asked for."""
    lines = []
    if found and found["global_perf"] < _WHOLE:
        lines.append(
            f"{found['global_perf']:.4%} of all cases count: {found['physical_perf']:.4%} have "
            f"enough photons, {found['logical_perf']:.4%} of these meet heralds and condition."
        )
    likeliest = sorted(found.get("probs", {}).items(), key=lambda item: -item[1])[:_OUTCOMES]
    return lines + [f"{outcome}  {chance:.6f}" for outcome, chance in likeliest]


def _value(found: dict[str, Any], columns: int) -> str:
    """Return a result type that the engine told, in one line."""
    kind = found["type"]
    asked = " ".join(str(kind[name]) for name in ("type", "observable", "targets") if name in kind)
    text = f"{asked}: {found['value']}"
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def where_text(job: Job) -> str:
    """Return a job's device; a machine itself is named with the way to it."""
    way = job.request.provider
    return job.request.device if way == "twin" else f"{job.request.device} by {way}"


def _cost_line(job: Job) -> str:
    if job.cost is None or job.cost.hardware == 0:
        return ""
    if job.cost.hardware is None and not job.cost.items:
        return "what it would cost on the machine is not known"
    if job.request.provider != "twin":
        return f"by the price list it costs {money(job.cost)} ({job.cost.as_of})"
    return f"on the machine it would cost {money(job.cost)} ({job.cost.channel}, {job.cost.as_of})"


class ShownJob(msgspec.Struct, frozen=True):
    """A job as `JobReport` shows it, or else a hybrid one with what it said and measured."""

    job: Job | None = None
    results: tuple[Result, ...] = ()
    events: tuple[Event, ...] = ()
    png: bytes = b""
    hybrid: Told | None = None

    def contents(self) -> dict[str, bytes]:
        """Return the picture for the file that was asked for."""
        return {"png": self.png} if self.png else {}

    @property
    def exit_code(self) -> int:
        """0 if it is done, 1 if it failed, 8 while it is not over."""
        if self.hybrid is None:
            return self._plain().exit_code
        if not self.hybrid.job.over:
            return 8
        return 0 if self.hybrid.job.state == "COMPLETED" else 1

    def _plain(self) -> JobReport:
        assert self.job is not None, "it is one or the other"
        return JobReport(self.job, self.results, self.events, self.png)

    def draw(self, columns: int) -> str:
        """Return the job, and its histograms or its metrics and its last lines."""
        if self.hybrid is None:
            return self._plain().draw(columns)
        return hybrid_reports.draw(self.hybrid, columns)


class JobTable(msgspec.Struct, frozen=True):
    """Jobs, the newest first, and hybrid jobs."""

    jobs: tuple[Job, ...]
    hybrid: tuple[HybridJob, ...] = ()

    def draw(self, columns: int) -> str:
        """Return a table."""
        rows = [
            (
                each.id,
                each.state.value,
                where_text(each),
                f"{each.done}/{each.executions}",
                str(each.request.shots),
                moment_text(each.created),
                each.request.name,
            )
            for each in self.jobs
        ]
        rows += [
            (
                each.id,
                each.state.value,
                each.request.device or "-",
                "hybrid",
                "-",
                moment_text(each.created),
                each.request.name,
            )
            for each in self.hybrid
        ]
        head = ("job", "state", "device", "done", "shots", "created", "name")
        return columns_of(rows, head) if rows else "No jobs yet: skerry quantum run"


def moment_text(nanoseconds: int) -> str:
    """Return a moment (UTC) to the minute."""
    moment = datetime.datetime.fromtimestamp(nanoseconds // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M")


def second_text(nanoseconds: int) -> str:
    """Return a moment (UTC) to the second."""
    moment = datetime.datetime.fromtimestamp(nanoseconds // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


class ReservationRow(msgspec.Struct, frozen=True):
    """A device for the jobs that name the reservation, in its time."""

    reservation: str
    device: str
    begins: str
    ends: str
    owner: str


def reservation_row(made: Reservation) -> ReservationRow:
    """Return a reservation for people."""
    times = moment_text(made.starts), moment_text(made.ends)
    return ReservationRow(made.id, made.device, *times, made.owner)


class JobCost(msgspec.Struct, frozen=True):
    """What a job cost here, what it costs on the machine, and by which price list."""

    job: str
    device: str
    here: str
    hardware: str
    channel: str
    prices: str
    as_of: str
    lines: tuple[str, ...]
    usage: dict[str, int]

    def draw(self, columns: int) -> str:
        """Return what was paid here, what the machine asks, and how that is counted."""
        dated = ", ".join(part for part in (self.channel, self.as_of) if part)
        rows = [
            ("job", self.job),
            ("device", self.device),
            ("here", self.here),
            ("used here", _used(self.usage)),
            ("on the machine", f"{self.hardware} ({dated})" if dated else self.hardware),
            *(("", line) for line in self.lines if line),
        ]
        if self.prices:
            rows.append(("price list", f"{self.prices} ({self.as_of})"))
        wide = max(len(name) for name, _ in rows) + 2
        lines = [
            drawing.wrapped(f"{name:<{wide}}{text}", columns, " " * wide) for name, text in rows
        ]
        return "\n".join(lines)


_UNITS = {
    "shots": "shots",
    "hardware_shots": "shots on hardware",
    "engine_ms": "ms of an engine",
    "hardware_ms": "ms of hardware",
    "hqc_thousandths": "thousandths of an HQC",
}


def _used(usage: dict[str, int]) -> str:
    """Return what a job used, in words."""
    found = [f"{amount} {_UNITS.get(unit, unit)}" for unit, amount in usage.items()]
    return ", ".join(found) or "nothing"


class Signatures(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a job's results are as they were when the resource's key signed them.

    `entry` is that of the node's audit log which says so, with the digest of every result.
    """

    job: str
    key: str
    signed: int
    forged: tuple[int, ...] = ()
    digests: tuple[str, ...] = ()
    entry: int | None = None

    @property
    def exit_code(self) -> int:
        """0 if every result is as it was signed."""
        return 1 if self.forged else 0

    def draw(self, columns: int) -> str:
        """Return what was found, and how others can check it."""
        total = self.signed + len(self.forged)
        lines = [f"{self.signed} of {total} results are as they were signed by key {self.key}"]
        lines += [f"execution {each} is NOT what was signed" for each in self.forged]
        if self.entry is None:
            lines.append("The key is the resource's own. Have the node vouch for it: --record")
        else:
            lines.append(
                f"Entry {self.entry} of the node's audit log says so. A proof to check without "
                f"this node: skerry audit prove {self.entry}"
            )
        return "\n".join(lines)


HYPOTHETICAL = (
    "* hypothetical: no such qubit was shown, and the evidence for topological qubits is disputed "
    "in print (H. Legg, Nature, 2026-06-24)"
)


class NeedTable(msgspec.Struct, frozen=True):
    """What a program needs with error correction on every target."""

    needs: tuple[Need, ...]
    svg: str = ""
    svg_only: bool = False
    published: dict[str, str] = {}

    def draw(self, columns: int) -> str:
        """Return a table, and qubits against time as points."""
        if self.svg_only:
            return self.svg
        told = self.published
        head = ("target", "qubits", "time", "logical", "distance", "factories", "code")
        rows = [
            (
                f"{each.target}{'*' if each.hypothetical else ''}",
                f"{each.qubits:,}".replace(",", " "),
                span(each.seconds),
                told.get(each.target, "-") if told else str(each.logical_qubits),
                str(each.code_distance),
                str(each.factories),
                each.code.replace("_", " "),
            )
            for each in self.needs
        ]
        if told:
            head = (*head[:3], "published", *head[4:])
        points = {
            each.target: [(qubits, seconds) for qubits, seconds in each.frontier]
            for each in self.needs
        }
        notes = [PUBLISHED_BY, HYPOTHETICAL] if told else [HYPOTHETICAL]
        table, front = columns_of(rows, head, columns), drawing.scatter(points, columns)
        return "\n\n".join([table, front, *(drawing.wrapped(each, columns) for each in notes)])


class EnergyTable(msgspec.Struct, frozen=True):
    """A molecule's energies in hartree: mean field, the circuit's, and exact beside it."""

    molecule: str
    basis: str
    energies: tuple[Energy, ...]

    def draw(self, columns: int) -> str:
        """Return a table, an error budget for one length, the curve over several."""
        rows = [
            (
                "-" if each.length is None else f"{each.length:.3f}",
                f"{each.mean_field:.6f}",
                f"{each.variational:.6f}",
                f"{each.exact:.6f}",
                f"{(each.variational - each.exact) * 1000:.3f}",
                "-" if each.full is None else f"{each.full:.6f}",
                "-" if each.twin is None else f"{each.twin.energy:.4f}±{each.twin.deviation:.4f}",
                str(each.qubits),
            )
            for each in self.energies
        ]
        head = ("length", "mean field", "circuit", "exact", "error mHa", "all orbitals", "twin")
        blocks = [columns_of(rows, (*head, "qubits"))]
        if len(self.energies) == 1:
            found = energies.budget(self.energies[0])
            lines = [(each.part, energies.milli(each), each.how) for each in found]
            blocks.append(columns_of(lines, ("error budget", "mHa", "how it is known")))
        blocks += [_curve(self.energies, columns)] if len(self.energies) > 1 else []
        told = (
            "circuit: UCCSD, optimised on a perfect simulator; exact: of the same active space; "
            f"twin: that circuit, measured. Energies in hartree, basis {self.basis}."
        )
        blocks.append(drawing.wrapped(told, columns))
        blocks += [text for each in self.energies if (text := energies.searched_text(each))]
        blocks += energies.remarks(self.energies)
        return "\n\n".join(blocks)


def _curve(found: tuple[Energy, ...], columns: int) -> str:
    """Return energies over the length of a bond."""
    told = [(each.length, each) for each in found if each.length is not None]
    series = {
        "○": [(length, each.mean_field) for length, each in told],
        "▲": [(length, each.twin.energy) for length, each in told if each.twin is not None],
        "●": [(length, each.exact) for length, each in told],
    }
    key = "energy in hartree over the length in angstrom: ○ mean field   ● exact"
    key += "   ▲ on the twin" if series["▲"] else ""
    return f"{drawing.curve(series, columns)}\n{key}"


class Text(msgspec.Struct, frozen=True):
    """A text that is written as it is."""

    text: str

    def draw(self, columns: int) -> str:
        """Return the text."""
        return self.text


class StackRow(msgspec.Struct, frozen=True):
    """A stack and whether it can be used."""

    stack: str
    state: str
    summary: str
