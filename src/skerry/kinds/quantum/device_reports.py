"""What `skerry quantum devices` and `skerry quantum device` answer, and how they draw it."""

from __future__ import annotations

import msgspec

from skerry.kinds.quantum import drawing
from skerry.kinds.quantum.catalogue.benchmarks import Comparison
from skerry.kinds.quantum.catalogue.model import Calibration, Device, Figure
from skerry.kinds.quantum.drawing import columns_of

NEVER_MORE = (
    "A twin is a model of published figures. It has no crosstalk, leakage, coherent errors or "
    "drift, so that a machine may be worse than its twin; its figures are of another day than a "
    "benchmark."
)
NOT_TRIED = "not tried against the vendor"
NO_BENCHMARK = "No benchmark of this machine is published in what was read."


class DeviceRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device in a list; fidelities are medians, or the vendor's averages."""

    id: str
    name: str
    vendor: str
    modality: str
    status: str
    qubits: int
    country: str
    place: str
    topology: str
    native_gates: tuple[str, ...]
    here: str
    as_of: str
    one_qubit_fidelity: float | None = None
    two_qubit_fidelity: float | None = None
    readout_fidelity: float | None = None
    two_qubit_seconds: float | None = None
    prices: tuple[str, ...] = ()
    conflicts: int = 0
    note: str = ""


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.2f}"


class DeviceTable(msgspec.Struct, frozen=True):
    """Devices; figures are as of each one's date."""

    devices: tuple[DeviceRow, ...]
    ways: tuple[str, ...] = ()

    def draw(self, columns: int) -> str:
        """Return a table, with as many columns as there is room for."""
        head = ("device", "qubits", "2q %", "read %", "at", "status", "here", "as of", "price")
        rows = [
            (
                each.id,
                str(each.qubits or "-"),
                _share(each.two_qubit_fidelity),
                _share(each.readout_fidelity),
                each.country,
                each.status,
                each.here,
                each.as_of,
                each.prices[0] if each.prices else "-",
            )
            for each in self.devices
        ]
        if not rows:
            return "No device is like that."
        keep = len(head)
        text = columns_of(rows, head)
        while keep > 6 and max(map(len, text.splitlines())) > columns:
            keep -= 1
            text = columns_of([row[:keep] for row in rows], head[:keep])
        note = "2q, read: median fidelities. One device: skerry quantum device <id>"
        ways = "\n".join((*self.ways, "No provider was tried against its vendor here."))
        return f"{text}\n\n{note}" + (f"\n\n{ways}" if self.ways else "")


class ScoreRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A published benchmark of a machine, and what its twin scores with the same circuits."""

    benchmark: str
    score: str
    ideal: float
    machine: float
    machine_deviation: float
    measured: str
    source: str
    verdict: str
    twin: float | None = None
    twin_deviation: float = 0.0
    figures: str = ""
    note: str = ""


def score_row(found: Comparison) -> ScoreRow:
    """Return a comparison for people."""
    twin, source = found.twin, found.source
    missing = twin.why if twin else "not run on the twin"
    return ScoreRow(
        benchmark=found.benchmark.title,
        score=found.benchmark.score,
        ideal=found.benchmark.ideal,
        machine=found.published.value,
        machine_deviation=found.published.deviation,
        measured=found.published.measured,
        source=f"{source.title} ({source.as_of})",
        verdict=found.verdict,
        twin=twin.value if twin else None,
        twin_deviation=twin.deviation if twin else 0.0,
        figures=twin.figures if twin else "",
        note="; ".join(note for note in (found.published.note, missing) if note),
    )


def score_text(value: float | None, deviation: float) -> str:
    """Return a score with its standard deviation, or a dash."""
    if value is None:
        return "-"
    return f"{value:.3g} ± {deviation:.1g}" if deviation else f"{value:.3g}"


class DeviceReport(msgspec.Struct, frozen=True):
    """A device with every figure, its sources, and its calibration."""

    device: Device
    here: str
    revision: int
    calibration: Calibration | None
    figures: tuple[Figure, ...]
    scores: tuple[ScoreRow, ...] = ()
    svg: str = ""
    svg_only: bool = False
    ways: tuple[str, ...] = ()

    def draw(self, columns: int) -> str:
        """Return the device as text, its topology drawn."""
        if self.svg_only:
            return self.svg
        device = self.device
        blocks = [_about(device, self.here, self.revision), "\n".join(self.ways)]
        if self.figures:
            rows = [
                (each.name.replace("_", " "), figure_text(each), source_text(device, each.source))
                for each in self.figures
            ]
            blocks.append(columns_of(rows, ("figure", "value", "source")))
        for one, other in device.conflicts():
            blocks.append(
                f"conflict: {one.name.replace('_', ' ')} is {one.value:g} in "
                f"{source_text(device, one.source)}, and {other.value:g} in "
                f"{source_text(device, other.source)}"
            )
        blocks.append(_scores(self.scores))
        blocks += [
            f"price on {price.channel}: {price_line(device, price.channel)}"
            for price in device.prices
        ]
        if self.calibration is not None:
            blocks.append(drawing.topology(self.calibration, columns))
            blocks += list(self.calibration.notes)
        elif device.topology.kind == "all":
            blocks.append("Every pair of qubits can interact.")
        return "\n\n".join(block for block in blocks if block)


def _scores(scores: tuple[ScoreRow, ...]) -> str:
    """Return published benchmarks of the machine beside its twin's scores."""
    if not scores:
        return NO_BENCHMARK
    rows = [
        (
            each.benchmark,
            score_text(each.machine, each.machine_deviation),
            each.measured,
            score_text(each.twin, each.twin_deviation),
            each.figures or "-",
            f"{each.verdict}{'; ' if each.note else ''}{each.note}",
        )
        for each in scores
    ]
    head = ("benchmark", "machine", "measured", "twin", "figures of", "the twin")
    sources = "; ".join(sorted({each.source for each in scores}))
    return f"{columns_of(rows, head)}\nmachine: {sources}. {NEVER_MORE}"


def _about(device: Device, here: str, revision: int) -> str:
    lines = [
        f"{device.name}  ({device.id}), {device.vendor}",
        f"{device.modality}, {device.qubits or 'no'} qubits, {device.status}; "
        f"the machine stands in {device.place} ({device.country})",
        f"gates: {', '.join(device.native_gates) or '-'}; topology: "
        f"{device.topology.shape or device.topology.kind}",
        f"decides while it runs: {feedforward_text(device)}",
        f"here: {here}; as of {device.as_of}, revision {revision}",
    ]
    return "\n".join([*lines, *([device.note] if device.note else [])])


_FEEDFORWARD = {
    "any": "by measured bits",
    "loops": "by measured bits, also how often it repeats something",
    "pulses": "gates on one qubit, by one measured bit",
}


def feedforward_text(device: Device) -> str:
    """Return what may depend on a measured bit on a device, and who says so."""
    if device.status == "local" and device.paradigm == "gate":
        return _FEEDFORWARD["loops"]
    found = device.feedforward
    return f"{_FEEDFORWARD[found.what]} [{found.source}]" if found else "not known to"


def figure_text(figure: Figure) -> str:
    """Return a figure's value in the unit that fits."""
    if figure.unit == "s":
        for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
            if abs(figure.value) >= size:
                return f"{figure.value / size:.4g} {unit}"
    if figure.name.endswith("fidelity"):
        return f"{figure.value * 100:.4g} %"
    return f"{figure.value:g} {figure.unit}".strip()


def source_text(device: Device, key: str) -> str:
    """Return a source with its date, and whether it was recalled rather than read."""
    found = device.sources.get(key)
    if found is None:
        return key
    return f"{found.title} ({found.as_of}{', recalled' if found.recalled else ''})"


def price_line(device: Device, channel: str) -> str:
    """Return a channel's price in words."""
    price = next(each for each in device.prices if each.channel == channel)
    amounts = (
        ("task", price.per_task),
        ("shot", price.per_shot),
        ("second", price.per_second),
        ("hour", price.per_hour),
        ("one-qubit gate and shot", price.per_one_qubit_gate),
        ("two-qubit gate and shot", price.per_two_qubit_gate),
    )
    said = [f"{amount} {price.currency} a {what}" for what, amount in amounts if amount != "0"]
    said += [f"at least {price.minimum} {price.currency}"] if price.minimum != "0" else []
    said += ["in HQC"] if price.hqc else []
    source = device.sources[price.source]
    return f"{', '.join(said)} ({source.as_of}){'; ' + price.note if price.note else ''}"


class ProviderRow(msgspec.Struct, frozen=True):
    """A way to machines: what it needs, whether an app has that, and what it leads to."""

    provider: str
    state: str
    secrets: tuple[str, ...]
    devices: tuple[str, ...]
    booking: str
    tried: str = NOT_TRIED
