"""The neutral job: what every wire translates its own requests into, and its answers out of.

A job is *programs x bindings x shots* on one device of the catalogue. Every pair of a program and
one of its bindings is an **execution**; executions are numbered in that order, and each has a
result of its own. Parameter sweeps, program sets and lists of PUBs are all this one shape.

Bits are written with bit 0 first everywhere in this contract: the first character of a bit string
is classical bit 0 of the program. `Result.endianness` says so; a wire whose own format differs
reverses the text and nothing else.
"""

from __future__ import annotations

import enum
from typing import Any, Literal

import msgspec

BIT_ORDER = "bit 0 first"
"""The order of the characters in every bit string of this contract."""

Level = Literal["logical", "native", "verbatim"]
"""How far a program was compiled by its author.

`logical` is compiled for the device; `native` must already use the device's gates but may be laid
out anew; `verbatim` names physical qubits and is run exactly as it is, or refused.
"""

Format = Literal[
    "openqasm3",
    "openqasm2",
    "circuit",
    "qir",
    "qsharp",
    "ahs",
    "pulser",
    "photonic",
    "perceval",
]
"""What a program is written in.

`circuit` is the JSON form of `worker.ir`, `qir` LLVM's text, `pulser` Pulser's abstract JSON,
`photonic` the JSON form of `worker.photons`, `perceval` Quandela's serialised text.
"""

Fidelity = Literal["twin", "ideal"]


class JobState(enum.StrEnum):
    """Where a job is. CANCELLING is asked for and not yet done."""

    CREATED = "CREATED"
    VALIDATED = "VALIDATED"
    ESTIMATED = "ESTIMATED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({JobState.COMPLETED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED})
"""States that a job never leaves."""

STEPS: dict[JobState, frozenset[JobState]] = {
    JobState.CREATED: frozenset({JobState.VALIDATED, JobState.FAILED, JobState.CANCELLED}),
    JobState.VALIDATED: frozenset({JobState.ESTIMATED, JobState.FAILED, JobState.CANCELLED}),
    JobState.ESTIMATED: frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset(
        {JobState.RUNNING, JobState.CANCELLING, JobState.CANCELLED, JobState.FAILED}
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,
            JobState.COMPLETED,
            JobState.PARTIAL,
            JobState.FAILED,
            JobState.CANCELLING,
            JobState.CANCELLED,
        }
    ),
    JobState.CANCELLING: frozenset(
        {JobState.CANCELLED, JobState.COMPLETED, JobState.PARTIAL, JobState.FAILED}
    ),
}
"""Which state may follow which; RUNNING goes back to QUEUED when its process was killed."""


class Event(msgspec.Struct, frozen=True):
    """A step of a job: when, into which state, and why."""

    at: int
    state: JobState
    note: str


class Program(msgspec.Struct, frozen=True, omit_defaults=True):
    """A program as it came, byte for byte, and the values for its inputs, one set a binding.

    `shots` is its own number of them; 0 stands for that of the request.
    """

    source: str
    format: Format = "openqasm3"
    bindings: tuple[dict[str, float], ...] = ({},)
    dialect: str = ""
    shots: int = 0


class Budget(msgspec.Struct, frozen=True):
    """The most that a job may cost; `amount` is a decimal number."""

    amount: str
    currency: str = "EUR"


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to compile and run.

    `pessimism` multiplies every error rate of a twin (1 is as published). `engine` overrides the
    router. `layout` maps the program's qubits to physical ones, by label. `memory` keeps every
    shot in its order, not only how often each came.
    """

    seed: int | None = None
    pessimism: float = 1.0
    fidelity: Fidelity = "twin"
    engine: str = ""
    layout: tuple[str, ...] = ()
    optimisation: int = 1
    memory: bool = False


class JobRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked for.

    `token` makes a repeated request find the job that the first one made. `where` names countries
    (ISO 3166) or EU; the machine must stand in one of them. `owner` is whose turn it takes in the
    fair queue. `reservation` is the id of a `Reservation`: the job begins when that has begun.
    `booking` is the vendor's own name of a session or reservation that a job on hardware runs in.
    `tags` and `native` are the wire's own and come back unchanged. `one_task` says that price lists
    count all executions as one task.
    """

    device: str
    programs: tuple[Program, ...]
    shots: int = 1000
    level: Level = "logical"
    options: Options = Options()
    budget: Budget | None = None
    where: tuple[str, ...] = ()
    provider: str = "twin"
    name: str = ""
    token: str = ""
    owner: str = ""
    session: str = ""
    reservation: str = ""
    one_task: bool = False
    booking: str = ""
    tags: dict[str, str] = {}
    native: dict[str, Any] = {}

    def shots_of(self, program: Program) -> int:
        """Return how often one execution of a program is run."""
        return program.shots or self.shots

    @property
    def all_shots(self) -> int:
        """The shots of all executions together."""
        return sum(self.shots_of(each) * len(each.bindings) for each in self.programs)


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """Jobs that belong together, on one device; times are nanoseconds since 1970 (UTC).

    A `dedicated` session's jobs go before those of others while it is open; those of a `batch` take
    their turn. A session ends by itself `seconds_max` after it was opened. `native` is the wire's.
    """

    id: str
    device: str
    created: int
    mode: Literal["dedicated", "batch"] = "batch"
    seconds_max: int = 28_800
    accepting: bool = True
    closed: int = 0
    owner: str = ""
    native: dict[str, Any] = {}


class Reservation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device for the jobs that name it, from `starts` to `ends` (nanoseconds since 1970, UTC).

    In that time no other job begins on the device's twin; one that runs already goes on. Jobs that
    name it wait for its beginning and go first; those left at its end take their turn.
    """

    id: str
    device: str
    starts: int
    ends: int
    created: int
    owner: str = ""


class CostItem(msgspec.Struct, frozen=True):
    """A part of a cost: so much of a dimension, at so much each; both are decimal numbers."""

    dimension: str
    amount: str
    unit_price: str


class Cost(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job costs, in micro-units of a currency, and how that came about.

    `here` is what this run costs: nothing but the node's own compute for a twin. `hardware` is what
    the same job costs on the machine at the dated price list `prices`, of which `items` are the
    parts in the same currency. `posted` is what the ledger holds of it, in micro-euro.
    """

    currency: str
    hardware: int | None
    here: int = 0
    lines: tuple[str, ...] = ()
    channel: str = ""
    prices: str = ""
    as_of: str = ""
    posted: int = 0
    items: tuple[CostItem, ...] = ()


class Queue(msgspec.Struct, frozen=True):
    """Where a job stands: 1 is next, `of` 0 if nobody says of how many.

    `as_of` is in nanoseconds since 1970; `eta` in seconds.
    """

    position: int
    of: int
    as_of: int
    eta_seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.position} of {self.of}" if self.of else str(self.position)


class Calibrated(msgspec.Struct, frozen=True):
    """Which published figures a twin was made of."""

    device: str
    revision: int
    taken_at: str
    source: str


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a result came about, enough to make it again and to dispute it.

    `program_sha256` is of the bytes that came; `compiled` is what ran, in OpenQASM 3 with the
    device's gates and physical qubits. `signature` is one by Ed25519 of everything else
    of the execution, with the resource's own key (see `results`).
    """

    nature: str
    device: str
    engine: str
    engine_reason: str
    seed: int
    versions: dict[str, str]
    program_sha256: str
    compiled: str
    layout: tuple[str, ...]
    calibration: Calibrated | None
    pessimism: float
    node: str
    started: int
    seconds: float
    notes: tuple[str, ...] = ()
    signature: str = ""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of one execution.

    `counts` says how often each bit string came; `registers` names the parts of it as (name, first
    bit, bits). `memory` holds every shot in order if it was asked for. `measured` names the
    program's qubit behind every bit (-1 where a bit was never written). `extra` holds what an
    engine tells besides: `pragmas`, exact `values`, how many `photons` came to count.
    """

    execution: int
    shots: int
    counts: dict[str, int]
    registers: tuple[tuple[str, int, int], ...]
    measured: tuple[int, ...]
    provenance: Provenance
    memory: tuple[str, ...] = ()
    endianness: str = BIT_ORDER
    extra: dict[str, Any] = {}


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job as it stands; times are nanoseconds since 1970 (UTC).

    A job on hardware is looked at at `look_at` next; `failures` is how often in a row the vendor
    failed to answer, and `trouble` what went wrong the last time.
    """

    id: str
    state: JobState
    request: JobRequest
    created: int
    updated: int
    executions: int
    done: int = 0
    started: int = 0
    ended: int = 0
    cost: Cost | None = None
    expected_fidelity: float | None = None
    error: dict[str, Any] | None = None
    queue: Queue | None = None
    vendor_job: str = ""
    look_at: int = 0
    failures: int = 0
    trouble: str = ""
    usage: dict[str, int] = {}
    nature: str = ""

    @property
    def over(self) -> bool:
        """Tell whether the job is in its last state."""
        return self.state in TERMINAL
