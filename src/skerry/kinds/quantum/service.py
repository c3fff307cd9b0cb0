"""What the words `skerry quantum …` are that name no resource: devices, estimates, runs, stacks."""

from __future__ import annotations

from typing import Annotated, Literal

from skerry.kernel.commands import AppName, BranchName, Command, Done, Nothing, Params, about
from skerry.kernel.names import MAIN
from skerry.kernel.service import Page, Service
from skerry.kinds.quantum.contract import Format
from skerry.kinds.quantum.device_reports import DeviceReport, DeviceTable, ProviderTable
from skerry.kinds.quantum.messages import Revised
from skerry.kinds.quantum.reports import (
    EnergyTable,
    JobCost,
    JobReport,
    JobTable,
    NeedTable,
    QuoteTable,
    ReservationRow,
    ShownJob,
    Signatures,
    StackRow,
    Text,
)

Resource = Annotated[str, about("the resource; by default the only one of kind quantum")]
Job = Annotated[str, about("the job's id", positional=True)]
Source = Annotated[
    str,
    about("a program in any of the languages, or - for standard input", positional=True, file=True),
]
Where = Annotated[
    tuple[str, ...], about("only machines in these countries (ISO 3166), or in the EU")
]
Money = Annotated[str, about("the most that it may cost on the machine")]
Picture = Annotated[str, about("a file to draw the histograms into, as PNG", path=True)]
Currency = Annotated[Literal["EUR", "USD"], about("of the budget and of costs")]


class Listing(Params, frozen=True, rename={"where": "in"}):
    """Which devices to list."""

    where: Where = ()
    modality: Annotated[str, about("only those of this modality, such as 'trapped ion'")] = ""
    status: Annotated[str, about("only those of this status, such as offered")] = ""
    app: Annotated[str, about("an app, to tell which credentials it misses")] = ""


class Named(Params, frozen=True):
    """A device."""

    device: Annotated[str, about("a device, such as iqm-garnet", positional=True)]
    svg: Annotated[bool, about("draw its topology as SVG, and nothing else")] = False
    app: Annotated[str, about("an app, to tell which credentials it misses")] = ""


class OfApp(Params, frozen=True):
    """An app, if any."""

    app: Annotated[str, about("an app, to tell which credentials it misses")] = ""


class Here(Params, frozen=True, kw_only=True):
    """Where jobs are kept."""

    app: AppName
    branch: BranchName = MAIN
    resource: Resource = ""


class Estimate(Here, frozen=True, kw_only=True, rename={"where": "in"}):
    """A program to compare devices for."""

    program: Source
    shots: Annotated[int, about("how often it is run")] = 1000
    device: Annotated[tuple[str, ...], about("only this device; may be repeated")] = ()
    budget: Money = ""
    currency: Currency = "EUR"
    where: Where = ()


class Run(Here, frozen=True, kw_only=True, rename={"where": "in"}):
    """A program to run."""

    program: Source
    device: Annotated[str, about("on whose twin it runs; by default a simulator")] = ""
    shots: Annotated[int, about("how often it is run")] = 1000
    seed: Annotated[int | None, about("makes the outcome repeatable")] = None
    pessimism: Annotated[float, about("multiplies every error rate of the twin")] = 1.0
    effort: Annotated[
        int, about("how hard the program is compiled, 0 to 3; published scores of twins are of 2")
    ] = 1
    fidelity: Annotated[Literal["twin", "ideal"], about("with the twin's noise, or without")] = (
        "twin"
    )
    language: Annotated[
        Literal["", Format],
        about("what the program is written in; by default what its text says"),
    ] = ""
    level: Annotated[
        Literal["logical", "native", "verbatim"], about("how far the program is compiled already")
    ] = "logical"
    provider: Annotated[
        Literal[
            "twin",
            "aqt",
            "azure",
            "braket",
            "ibm",
            "ionq",
            "iqm",
            "pasqal",
            "quandela",
            "scaleway",
        ],
        about("on the twin, or on the machine itself by a vendor"),
    ] = "twin"
    engine: Annotated[str, about("an engine, instead of the one that is chosen")] = ""
    budget: Money = ""
    currency: Currency = "EUR"
    where: Where = ()
    name: Annotated[str, about("a name to find the job by")] = ""
    token: Annotated[str, about("the same token again finds the same job")] = ""
    wait: Annotated[bool, about("wait for the end")] = True
    png: Picture = ""
    reservation: Annotated[str, about("a reservation whose time it runs in")] = ""
    booking: Annotated[
        str, about("with a provider: its own name of a session or reservation to run in")
    ] = ""


class OfJob(Here, frozen=True, kw_only=True):
    """A job."""

    job: Job


class Verified(OfJob, frozen=True, kw_only=True):
    """A job whose results' signatures are to be checked."""

    record: Annotated[bool, about("have the node's signed audit log vouch for what was found")] = (
        False
    )


class Shown(OfJob, frozen=True, kw_only=True):
    """A job to show."""

    png: Picture = ""


class Reserve(Here, frozen=True, kw_only=True):
    """A device to reserve."""

    device: Annotated[str, about("a device, such as iqm-garnet", positional=True)]
    at: Annotated[str, about("when it begins, as 2026-11-23T14:05:00Z; by default now")] = ""
    minutes: Annotated[int, about("how long it lasts")] = 60
    owner: Annotated[str, about("whose it is, for people to read")] = ""


class OfReservation(Here, frozen=True, kw_only=True):
    """A reservation."""

    reservation: Annotated[str, about("the reservation's id", positional=True)]


class Chart(OfJob, frozen=True, kw_only=True):
    """A job's histogram."""

    form: Annotated[Literal["text", "svg", "html"], about("what to write")] = "text"


class Jobs(Here, frozen=True, kw_only=True):
    """Which jobs to list."""

    limit: Annotated[int, about("how many of the newest")] = 20


class Import(Here, frozen=True, kw_only=True):
    """A vendor's file to take in."""

    file: Annotated[
        bytes, about("a capability or calibration file in JSON", positional=True, file=True)
    ]
    device: Annotated[str, about("the device that it is of")]


class Resources(Here, frozen=True, kw_only=True):
    """A program, or a workload, whose needs are to be estimated."""

    program: Annotated[
        str, about("a program, or - for standard input", positional=True, file=True)
    ] = ""
    language: Annotated[
        Literal["", "openqasm", "qsharp", "qir"],
        about("what it is written in; by default what its text says"),
    ] = ""
    workload: Annotated[str, about("instead of a program: rsa-2048 or chemistry")] = ""
    error_budget: Annotated[
        float,
        about("the chance of failure that is acceptable; by default 0.001, or as published"),
    ] = 0.0
    svg: Annotated[bool, about("draw qubits against time as SVG, and nothing else")] = False


class Chemistry(Here, frozen=True, kw_only=True):
    """A molecule whose energies are wanted."""

    molecule: Annotated[str, about("such as 'H 0 0 0; H 0 0 0.735', in angstrom", positional=True)]
    basis: Annotated[str, about("a basis set")] = "sto-3g"
    electrons: Annotated[int, about("of the active space; by default all but those of cores")] = 0
    orbitals: Annotated[int, about("of the active space")] = 0
    active: Annotated[
        tuple[int, ...], about("an orbital of the active space, from 1 on; may be repeated")
    ] = ()
    freeze: Annotated[bool, about("leave the electrons of cores out")] = True
    repeats: Annotated[int, about("how often the circuit's gates are repeated, 1 to 4")] = 1
    device: Annotated[
        str, about("on whose twin the energy is measured, or none for no measurement")
    ] = "iqm-garnet"
    shots: Annotated[int, about("of every circuit on the twin")] = 10_000
    seed: Annotated[int | None, about("makes what the twin measures repeatable")] = None
    pessimism: Annotated[float, about("multiplies every error rate of the twin")] = 1.0
    search: Annotated[
        int, about("shots for a search of the parameters on the twin itself; 0 for none")
    ] = 0
    lengths: Annotated[
        tuple[float, ...], about("a length of the bond to compute too; may be repeated")
    ] = ()


class StackNamed(Params, frozen=True):
    """A stack."""

    stack: Annotated[str, about("a stack, such as gates", positional=True)]


SERVICE = Service(
    name="quantum",
    summary="Quantum computers of all vendors: compare, estimate, run on twins",
    commands=(
        Command("quantum.devices", "List every device with dated figures", Listing, DeviceTable),
        Command("quantum.device", "Draw a device with its errors", Named, DeviceReport),
        Command("quantum.providers", "List ways to machines", OfApp, ProviderTable),
        Command("quantum.estimate", "Compare devices for a program", Estimate, QuoteTable),
        Command("quantum.run", "Run a program", Run, JobReport, mutates=True),
        Command(
            "quantum.jobs", "List jobs", Jobs, JobTable, empty="No jobs yet: skerry quantum run"
        ),
        Command("quantum.job", "Show a job, its result and provenance", Shown, ShownJob),
        Command("quantum.histogram", "Write a job's histogram", Chart, Text),
        Command("quantum.cost", "Tell what a job cost, however old", OfJob, JobCost),
        Command(
            "quantum.verify",
            "Check who signed a job's results",
            Verified,
            Signatures,
            mutates=True,
        ),
        Command("quantum.cancel", "Cancel a job", OfJob, Done, mutates=True),
        Command("quantum.reserve", "Reserve a device", Reserve, ReservationRow, mutates=True),
        Command(
            "quantum.reservations",
            "List reservations",
            Here,
            list[ReservationRow],
            empty="Nothing is reserved: skerry quantum reserve",
        ),
        Command("quantum.release", "Give a reservation up", OfReservation, Done, mutates=True),
        Command(
            "quantum.catalogue.import", "Take a vendor's figures in", Import, Revised, mutates=True
        ),
        Command("quantum.resources", "Estimate needs with error correction", Resources, NeedTable),
        Command("quantum.chemistry", "Compute a molecule's energies", Chemistry, EnergyTable),
        Command("quantum.stacks", "List stacks of quantum libraries", Nothing, list[StackRow]),
        Command("quantum.install", "Install a stack", StackNamed, Done, mutates=True),
    ),
    pages=(
        Page("/quantum", "Quantum computers", "pages:devices", "devices.html", menu="Quantum"),
        Page("/quantum/devices", "Quantum computers", "pages:devices", "devices.html"),
        Page("/quantum/devices/{device}", "Device", "pages:device", "device.html"),
        Page("/quantum/jobs", "Quantum jobs", "pages:jobs", "jobs.html", live="_jobs.html"),
        Page(
            "/quantum/jobs/{app}/{branch}/{resource}/{job}",
            "Job",
            "pages:job",
            "job.html",
            live="_job.html",
        ),
        Page("/quantum/reservations", "Reservations", "pages:reservations", "reservations.html"),
        Page("/quantum/compare", "Compare devices", "pages:compare", "compare.html"),
    ),
    handler="handler:Handler",
)
