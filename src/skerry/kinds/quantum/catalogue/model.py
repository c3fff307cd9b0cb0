"""The catalogue's words: devices, dated figures with their sources, prices, and calibrations.

Nothing here is true for ever, so every figure names a source and every source a date. Where sources
disagree, both figures stay, and `Device.conflicts` tells.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec


class Modality(enum.StrEnum):
    """What the qubits of a device are made of."""

    SUPERCONDUCTING = "superconducting"
    TRAPPED_ION = "trapped ion"
    NEUTRAL_ATOM = "neutral atom"
    PHOTONIC = "photonic"
    SILICON_SPIN = "silicon spin"
    TOPOLOGICAL = "topological"
    SIMULATOR = "simulator"


class Paradigm(enum.StrEnum):
    """What a program for the device is."""

    GATE = "gate"
    ANALOG = "analog"
    PHOTONIC = "photonic"
    NONE = "none"


class Status(enum.StrEnum):
    """Whether anybody can use the machine, as of the device's date."""

    OFFERED = "offered"
    PREVIEW = "preview"
    UNSOLD = "unsold"
    RETIRED = "retired"
    ANNOUNCED = "announced"
    LOCAL = "local"


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a figure comes from.

    `as_of` is a date. `recalled` marks what was written down without the text at hand: it is shown
    as unverified.
    """

    title: str
    as_of: str
    licence: str = ""
    recalled: bool = False


class Figure(msgspec.Struct, frozen=True, array_like=True):
    """One published number: `name`, value, unit and the key of its source."""

    name: str
    value: float
    unit: str
    source: str


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a channel asks, in its own currency; amounts are decimal texts.

    `per_gate` prices are for every gate of every shot. `hqc` marks Quantinuum's credits, which have
    a formula of their own and no price in money for a job.
    """

    channel: str
    currency: str
    source: str
    per_task: str = "0"
    per_shot: str = "0"
    per_hour: str = "0"
    per_second: str = "0"
    per_one_qubit_gate: str = "0"
    per_two_qubit_gate: str = "0"
    minimum: str = "0"
    hqc: bool = False
    note: str = ""


class Topology(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which qubits can interact: `all`, `edges` (of the device's calibration), or `none`."""

    kind: str
    shape: str = ""
    edges: int = 0


class Feedforward(msgspec.Struct, frozen=True):
    """What of a program may depend on a bit that was measured while it runs, and who says so.

    `any` operation, `loops` besides, or `pulses`: gates on one qubit, by one bit.
    """

    what: Literal["any", "loops", "pulses"]
    source: str


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """A machine, or a simulator of this node.

    `country` is that of the machine itself, never of a region code. `native_gates` use the names of
    `worker.ir`; `gate_names` says what the vendor calls them. `calibration` names the file with
    figures for every qubit; without one a twin is made of the medians in `figures`. Where nothing
    that was read says that the machine decides while a program runs, `feedforward` is None.
    """

    id: str
    name: str
    vendor: str
    modality: Modality
    paradigm: Paradigm
    status: Status
    qubits: int
    country: str
    place: str
    as_of: str
    sources: dict[str, Source]
    revision: int = 1
    native_gates: tuple[str, ...] = ()
    gate_names: dict[str, str] = {}
    topology: Topology = Topology("none")
    feedforward: Feedforward | None = None
    shots: tuple[int, int] = (1, 100_000)
    figures: tuple[Figure, ...] = ()
    prices: tuple[Price, ...] = ()
    calibration: str = ""
    twin: bool = False
    aliases: tuple[str, ...] = ()
    note: str = ""

    def figure(self, name: str) -> Figure | None:
        """Return the first figure of a name: the one that the twin uses."""
        return next((each for each in self.figures if each.name == name), None)

    def value(self, name: str) -> float | None:
        """Return the value of a figure, if there is one."""
        found = self.figure(name)
        return found.value if found else None

    def conflicts(self) -> Iterator[tuple[Figure, Figure]]:
        """Yield pairs of figures of one name on which the sources disagree."""
        for position, first in enumerate(self.figures):
            for second in self.figures[position + 1 :]:
                if first.name == second.name and first.value != second.value:
                    yield first, second


class QubitFigures(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was measured of one qubit: times in seconds, errors as average gate infidelity.

    `read_0_as_1` and `read_1_as_0` are probabilities.
    """

    t1: float | None = None
    t2: float | None = None
    gate_error: float | None = None
    read_0_as_1: float | None = None
    read_1_as_0: float | None = None


class Calibration(msgspec.Struct, frozen=True, omit_defaults=True):
    """The figures of every qubit and every pair of a device at one moment.

    Labels are the vendor's. A pair is written `a-b`; a value of None means that the gate exists and
    its figure is missing or a placeholder, so that it is left out of twins. `at` places qubits in a
    drawing.
    """

    device: str
    taken_at: str
    source: str
    qubits: dict[str, QubitFigures]
    pairs: dict[str, float | None]
    one_qubit_seconds: float | None = None
    two_qubit_seconds: float | None = None
    readout_seconds: float | None = None
    at: dict[str, tuple[float, float]] = {}
    licence: str = ""
    notes: tuple[str, ...] = ()

    def edges(self) -> Iterator[tuple[str, str, float | None]]:
        """Yield the pairs and their errors."""
        for pair, error in self.pairs.items():
            first, _, second = pair.partition("-")
            yield first, second, error


class Here(NamedTuple):
    """What can stand for a device on this node."""

    twin: bool
    simulator: bool
    provider: bool
    estimate: bool

    def __str__(self) -> str:
        words = (
            ("twin", self.twin),
            ("simulator", self.simulator),
            ("provider", self.provider),
            ("estimate only", self.estimate),
        )
        return ", ".join(word for word, is_so in words if is_so) or "listed only"
