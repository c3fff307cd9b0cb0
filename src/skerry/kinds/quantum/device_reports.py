"""What `skerry quantum devices` and `skerry quantum device` answer, and how they draw it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from skerry.kinds.quantum import drawing
from skerry.kinds.quantum.catalogue.benchmarks import Comparison, TwinScore
from skerry.kinds.quantum.catalogue.model import Calibration, Device, Figure, Modality
from skerry.kinds.quantum.contract import Options
from skerry.kinds.quantum.drawing import columns_of, wrapped

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
    sources: tuple[str, ...] = ()
    conflicts: int = 0
    note: str = ""


def share_text(value: float | None) -> str:
    """Return a share in per cent, with as many digits as tell it from all of it."""
    if value is None:
        return "-"
    digits = next((n for n in range(2, 9) if value == 1 or round(value * 100, n) != 100), 9)
    return f"{value * 100:.{digits}f}"


class DeviceTable(msgspec.Struct, frozen=True):
    """Devices; figures are as of each one's date."""

    devices: tuple[DeviceRow, ...]
    ways: tuple[str, ...] = ()

    def draw(self, columns: int) -> str:
        """Return a table by modality, with as many columns as there is room for."""
        if not self.devices:
            return "No device is like that."
        left_out: tuple[str, ...] = ()
        text = _table(self.devices, left_out)
        while len(left_out) < len(_LEAST) and max(map(len, text.splitlines())) > columns:
            left_out = _LEAST[: len(left_out) + 1]
            text = _table(self.devices, left_out)
        note = "1q, 2q, read: median fidelities. at: the country of the machine itself. "
        note += f"Left out for room: {', '.join(left_out)}. " if left_out else ""
        note += "Every figure with its source: skerry quantum device <device>"
        if self.ways:
            ways = "\n".join((*self.ways, "No provider was tried against its vendor here."))
        else:
            ways = (
                "provider: on the machine itself, with its vendor's credentials (not tried against "
                "any vendor): skerry quantum providers"
            )
            ways = wrapped(ways, columns)
        return f"{text}\n\n{wrapped(note, columns)}\n{ways}"


_LEAST = ("price", "gates", "topology", "1q %", "2q time", "read %")
"""Columns that are left out where there is no room, in this order."""


def _table(devices: tuple[DeviceRow, ...], left_out: tuple[str, ...]) -> str:
    """Return devices under heads, those of a modality together, without some columns."""
    found = [_cells(each) for each in devices]
    head = tuple(name for name in found[0] if name not in left_out)
    rows = [tuple(cells[name] for name in head) for cells in found]
    top, *lines = columns_of(rows, head).splitlines()
    blocks = [top]
    for modality in (each.value for each in Modality):
        of_it = [
            line for each, line in zip(devices, lines, strict=True) if each.modality == modality
        ]
        blocks += ["\n".join((modality, *of_it))] if of_it else []
    return "\n\n".join(blocks)


def _cells(device: DeviceRow) -> dict[str, str]:
    seconds = device.two_qubit_seconds
    return {
        "device": device.id,
        "qubits": str(device.qubits or "-"),
        "1q %": share_text(device.one_qubit_fidelity),
        "2q %": share_text(device.two_qubit_fidelity),
        "read %": share_text(device.readout_fidelity),
        "2q time": "-" if seconds is None else seconds_text(seconds),
        "topology": device.topology,
        "gates": " ".join(device.native_gates) or "-",
        "at": device.country,
        "status": device.status,
        "here": device.here.replace(", ", "+").replace("simulator+", "sim+"),
        "as of": device.as_of,
        "price": device.prices[0] if device.prices else "-",
    }


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
    effort = effort_text(twin) if twin else ""
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
        note="; ".join(note for note in (found.published.note, missing, effort) if note),
    )


def effort_text(twin: TwinScore) -> str:
    """Return how hard a twin's circuits were compiled, where jobs are not, and what that does."""
    usual = Options().optimisation
    if twin.value is None or twin.effort == usual:
        return ""
    known = "" if twin.usual is None else f": {twin.usual:.3g}"
    return f"compiled with --effort {twin.effort}, jobs with {usual}{known}"


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
        blocks = [
            _about(device, self.here, self.revision, columns),
            _lines(self.ways, columns),
            _figures(device, self.figures, columns),
            *(wrapped(f"conflict: {each}", columns) for each in conflict_lines(device)),
            _scores(self.scores, columns),
            _lines([f"price on {channel}: {line}" for channel, line in prices(device)], columns),
        ]
        if self.calibration is not None:
            blocks.append(drawing.topology(self.calibration, columns))
            blocks += [wrapped(each, columns) for each in self.calibration.notes]
        elif device.topology.kind == "all":
            blocks.append("Every pair of qubits can interact.")
        return "\n\n".join(block for block in blocks if block)


def _lines(texts: Iterable[str], columns: int) -> str:
    return "\n".join(wrapped(each, columns, "  ") for each in texts)


def _figures(device: Device, figures: tuple[Figure, ...], columns: int) -> str:
    """Return figures with numbers for their sources, which are listed below them."""
    if not figures:
        return ""
    sources = list(dict.fromkeys(source_text(device, each.source) for each in figures))
    rows = [
        (
            figure_name(each),
            figure_text(each),
            f"[{sources.index(source_text(device, each.source)) + 1}]",
        )
        for each in figures
    ]
    listed = [f"[{number}] {text}" for number, text in enumerate(sources, 1)]
    return f"{columns_of(rows, ('figure', 'value', 'source'))}\n{_lines(listed, columns)}"


def prices(device: Device) -> list[tuple[str, str]]:
    """Return every channel of a device with its price in words."""
    return [(each.channel, price_line(device, each.channel)) for each in device.prices]


def conflict_lines(device: Device) -> Iterator[str]:
    """Yield a sentence for every figure on which sources disagree."""
    for one, other in device.conflicts():
        yield (
            f"{figure_name(one)} is {figure_text(one)} in "
            f"{source_text(device, one.source)}, and {figure_text(other)} in "
            f"{source_text(device, other.source)}"
        )


def _scores(scores: tuple[ScoreRow, ...], columns: int) -> str:
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
    text = columns_of(rows, head)
    if max(map(len, text.splitlines())) > columns:
        text = "\n".join(_score_lines(row, columns) for row in rows)
    sources = "; ".join(sorted({each.source for each in scores}))
    return f"{text}\n{wrapped(f'machine: {sources}. {NEVER_MORE}', columns)}"


def _score_lines(row: tuple[str, ...], columns: int) -> str:
    """Return a benchmark in lines, where a table has no room."""
    benchmark, machine, measured, twin, figures, verdict = row
    text = f"machine {machine} ({measured}), twin {twin} (figures of {figures}): {verdict}"
    return f"{wrapped(f'benchmark: {benchmark}', columns, '  ')}\n  " + wrapped(
        text, columns - 2, "  "
    )


def _about(device: Device, here: str, revision: int, columns: int) -> str:
    count = f"{device.qubits} {_QUBITS.get(device.modality, 'qubits')}"
    lines = [
        f"{device.name}  ({device.id}), {device.vendor}",
        f"{device.modality}, {count if device.qubits else 'nothing to program'}, {device.status}; "
        f"the machine stands in {device.place} ({device.country})",
        f"gates: {', '.join(device.native_gates) or '-'}; topology: "
        f"{device.topology.shape or device.topology.kind}",
        f"decides while it runs: {feedforward_text(device)}",
        f"here: {here}; as of {device.as_of}, revision {revision}",
    ]
    return _lines([*lines, *([device.note] if device.note else [])], columns)


_QUBITS = {Modality.NEUTRAL_ATOM: "atoms", Modality.PHOTONIC: "photons"}
"""What machines count that are not programmed with qubits."""

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
    if found is None:
        return "not known to"
    return f"{_FEEDFORWARD[found.what]}, says {source_text(device, found.source)}"


_NAMES = {
    "t1": "T1",
    "t2": "T2",
    "one_qubit_fidelity": "one-qubit fidelity",
    "two_qubit_fidelity": "two-qubit fidelity",
    "readout_fidelity": "reading fidelity",
    "one_qubit_seconds": "one-qubit gate",
    "two_qubit_seconds": "two-qubit gate",
    "readout_seconds": "reading",
    "reset_seconds": "reset",
    "clops": "CLOPS",
    "repetition_hz": "shots",
    "eplg_10": "error per layered gate, 10 qubits",
    "eplg_20": "error per layered gate, 20 qubits",
}
"""What people call figures, where that is not their name in the catalogue."""


def figure_name(figure: Figure) -> str:
    """Return what people call a figure."""
    return _NAMES.get(figure.name, figure.name.replace("_", " "))


def figure_text(figure: Figure) -> str:
    """Return a figure's value in the unit that fits."""
    if figure.unit == "s":
        return seconds_text(figure.value)
    if figure.name.endswith("fidelity"):
        return f"{share_text(figure.value)} %"
    for unit, size in (("MHz", 1e6), ("kHz", 1e3)):
        if figure.unit in ("Hz", "1/s") and figure.value >= size * 10:
            return f"{figure.value / size:g} {unit}"
    if figure.unit == "m" and figure.value < 1e-3:
        return f"{figure.value * 1e6:g} µm"
    return f"{figure.value:g} {figure.unit}".strip()


def seconds_text(seconds: float) -> str:
    """Return a time in the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if abs(seconds) >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:g} s"


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
    said = [
        f"{amount} {price.currency} {'an' if what == 'hour' else 'a'} {what}"
        for what, amount in amounts
        if amount != "0"
    ]
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


class ProviderTable(msgspec.Struct, frozen=True):
    """Ways to machines."""

    providers: tuple[ProviderRow, ...]

    def draw(self, columns: int) -> str:
        """Return what each way needs, and which machines it leads to."""
        rows = []
        for each in self.providers:
            booked = "" if each.booking == "none" else f"; --booking names {each.booking}"
            rows.append((each.provider, each.state))
            rows.append(("", f"leads to {', '.join(each.devices)}{booked}"))
        table = columns_of(rows, ("provider", "state"), columns)
        return f"{table}\n\nNone of them was tried against its vendor."
