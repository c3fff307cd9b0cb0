"""Parameters and results of the kind's words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from skerry.kinds.quantum.contract import Cost, Event, Job, JobRequest, JobState, Result

Plain = Annotated[dict[str, Any], msgspec.Meta(description="a job, as JSON (see contract.py)")]


class Request(msgspec.Struct, frozen=True):
    """A job to submit."""

    request: JobRequest


class Named(msgspec.Struct, frozen=True):
    """A job by its id."""

    job: str


class Page(msgspec.Struct, frozen=True):
    """Which jobs to list: how many, and after which one."""

    limit: int = 100
    before: str = ""


class Awaited(msgspec.Struct, frozen=True):
    """A job by its id, and how long to wait for its end."""

    job: str
    seconds: float = 3600.0


class Listed(msgspec.Struct, frozen=True):
    """Which jobs to list: their states (all without any), how many, and after which one."""

    states: tuple[JobState, ...] = ()
    limit: int = 100
    before: str = ""


class Quoted(msgspec.Struct, frozen=True):
    """A job that is not sent, and the devices to compare (all without any)."""

    request: JobRequest
    devices: tuple[str, ...] = ()
    currency: str = "EUR"


class Reserve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device to reserve, from `starts` (nanoseconds since 1970, 0 for now) on."""

    device: str
    starts: int = 0
    seconds: int = 3600
    owner: str = ""


class Reserved(msgspec.Struct, frozen=True):
    """A reservation by its id; without one, none is meant."""

    reservation: str = ""


class Learned(msgspec.Struct, frozen=True):
    """A vendor's capability or calibration file for a device."""

    device: str
    data: bytes


class Revised(msgspec.Struct, frozen=True):
    """The revision that a file became."""

    device: str
    revision: int
    taken_at: str
    source: str
    qubits: int
    pairs: int


class Outcome(msgspec.Struct, frozen=True):
    """A job with all that is known of it, and the key that its results are signed with."""

    job: Job
    results: tuple[Result, ...]
    events: tuple[Event, ...]
    key: str = ""


class Needed(msgspec.Struct, frozen=True):
    """A program, or the name of a workload, whose needs are to be estimated.

    An `error_budget` of 0 is the usual one: 0.001, or what a workload was published with.
    """

    source: str = ""
    format: Literal["openqasm", "qsharp", "qir"] = "openqasm"
    workload: str = ""
    error_budget: float = 0.0


class Need(msgspec.Struct, frozen=True):
    """What a program needs on one target with error correction.

    `frontier` trades physical qubits for seconds. `hypothetical` targets assume qubits that nobody
    has shown.
    """

    target: str
    code: str
    hypothetical: bool
    qubits: int
    seconds: float
    logical_qubits: int
    code_distance: int
    factories: int
    frontier: tuple[tuple[int, float], ...]
    logical_depth: int | None = None
    t_states: int | None = None


class Molecule(msgspec.Struct, frozen=True):
    """A molecule (`H 0 0 0; H 0 0 0.735`, in angstrom), its basis, and an active space.

    `active` numbers orbitals from 1 on; without it, they are those about the highest filled one,
    and `freeze` leaves cores out. `repeats` makes the circuit longer. `larger` estimates what the
    basis leaves out; `circuits` asks for what measures the energy, `search` for the same with the
    parameters as inputs. `at` are parameters that are taken instead of the best.
    """

    molecule: str
    basis: str = "sto-3g"
    electrons: int = 0
    orbitals: int = 0
    active: tuple[int, ...] = ()
    freeze: bool = True
    repeats: int = 1
    lengths: tuple[float, ...] = ()
    larger: bool = False
    circuits: bool = False
    search: bool = False
    at: tuple[float, ...] = ()


class Measurement(msgspec.Struct, frozen=True):
    """A circuit in OpenQASM 3; its terms are weights, and the bits whose parity gives the sign."""

    source: str
    terms: tuple[tuple[float, tuple[int, ...]], ...]


class OnTwin(msgspec.Struct, frozen=True):
    """An energy that a job measured; `deviation` is its standard error, of the shots alone."""

    device: str
    job: str
    circuits: int
    shots: int
    energy: float
    deviation: float


class Searched(msgspec.Struct, frozen=True):
    """What a search on a twin came to.

    `energy` is what a job measured at its last parameters, `deviation` its standard error, and
    `noiseless` what the circuit has there without noise; `settled` tells whether it was at its end
    before its shots were.
    """

    device: str
    job: str
    sweeps: int
    jobs: int
    shots: int
    settled: bool
    parameters: tuple[float, ...]
    energy: float
    deviation: float
    noiseless: float


class Energy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Energies in hartree.

    `exact` is of the active space, `mapped` the lowest of its operator in qubits, `full` of all
    orbitals; `larger_basis` is by how much a larger basis changes the energy in CCSD. `slope` is
    the steepest that the optimiser left.
    """

    mean_field: float
    exact: float
    mapped: float
    variational: float
    qubits: int
    parameters: int
    evaluations: int
    slope: float = 0.0
    length: float | None = None
    full: float | None = None
    larger_basis: float | None = None
    offset: float = 0.0
    measurements: tuple[Measurement, ...] = ()
    searched_by: tuple[Measurement, ...] = ()
    twin: OnTwin | None = None
    searched: Searched | None = None


class Quote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a program is on one device; without a twin, only what the price list says.

    `fidelity` is the chance that nothing goes wrong in one shot; `seconds` is the time on the
    machine, as far as its figures tell; `why` says why it does not fit.
    """

    device: str
    fits: bool
    country: str
    status: str = ""
    why: str = ""
    qubits: int = 0
    two_qubit_gates: int = 0
    fidelity: float | None = None
    cost: Cost | None = None
    waiting: int = 0
    seconds: float | None = None
    as_of: str = ""
    nature: str = ""
