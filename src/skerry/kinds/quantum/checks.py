"""What is refused at once: requests that no device could run, before anything is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from skerry.kernel.errors import DENIED, INVALID, TOO_LARGE, UNSUPPORTED
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import JobRequest, Program
from skerry.kinds.quantum.twins import EXACT, is_runnable

SOURCE_BYTES_MAX = 4 << 20
EXECUTIONS_MAX = 4096
TEXT_MAX = 256
TAGS_MAX = 50
MEMORY_SHOTS_MAX = 1_000_000
CIRCUITS = frozenset({"openqasm3", "openqasm2", "circuit", "qir", "qsharp"})
"""Formats of programs that are circuits of gates."""

FORMATS = {
    "analog": frozenset({"ahs", "pulser"}),
    "photonic": frozenset({"photonic", "perceval"}),
}
"""Formats that devices of other paradigms take."""


def check(request: JobRequest, device: Device, allowed: tuple[str, ...]) -> None:
    """Raise INVALID, TOO_LARGE, UNSUPPORTED or DENIED for a request that cannot run."""
    place(device, (*request.where,), "This job")
    place(device, allowed, "This resource")
    if not request.programs:
        raise INVALID("The job has no program.")
    _shots(request, device)
    count = sum(len(program.bindings) for program in request.programs)
    if not 0 < count <= EXECUTIONS_MAX:
        raise TOO_LARGE(f"A job has 1 to {EXECUTIONS_MAX} executions, not {count}.")
    for program in request.programs:
        _program(program, device)
    if request.options.memory and request.all_shots > MEMORY_SHOTS_MAX:
        raise TOO_LARGE(f"Every shot in order is kept for {MEMORY_SHOTS_MAX} shots at most.")
    if request.reservation and request.provider != "twin":
        raise UNSUPPORTED(
            "Reservations here are of twins; that of a machine is made with its vendor.",
            hint="--booking <the vendor's name of it>",
        )
    if request.booking and request.provider == "twin":
        raise INVALID("A booking is the vendor's: a twin takes a reservation of this node.")
    texts: tuple[str, ...] = (request.name, request.token, request.owner, request.session)
    texts += (request.reservation, request.booking)
    for text in texts:
        if len(text) > TEXT_MAX:
            raise INVALID(f"Names and tokens have at most {TEXT_MAX} characters.")
    if len(request.tags) > TAGS_MAX:
        raise INVALID(f"A job has at most {TAGS_MAX} tags.")


def _shots(request: JobRequest, device: Device) -> None:
    least, most = device.shots
    engine = request.options.engine
    is_exact = engine in EXACT.values()
    if is_exact and EXACT.get(device.id) != engine:
        raise UNSUPPORTED(f"{device.name} does not run on {engine}.")
    if is_exact:
        least = 0
    for shots in {request.shots_of(program) for program in request.programs}:
        if not least <= shots <= most:
            raise INVALID(f"{device.name} takes {least} to {most} shots, not {shots}.")


def _program(program: Program, device: Device) -> None:
    size = len(program.source.encode("utf-8", "surrogatepass"))
    if size > SOURCE_BYTES_MAX:
        raise TOO_LARGE(f"A program has at most {SOURCE_BYTES_MAX >> 20} MiB, not {size} bytes.")
    known = FORMATS.get(device.paradigm.value, CIRCUITS)
    if program.format not in known:
        raise UNSUPPORTED(
            f"Programs in {program.format} cannot run on {device.name}.",
            why=f"It takes {', '.join(sorted(known))}.",
        )


def binding(program: Program, number: int) -> None:
    """Raise INVALID unless a circuit's binding has numbers for the names that its first one has.

    That is all that can be wrong with it: nothing else of a circuit in JSON depends on values.
    """
    first, found = program.bindings[0], program.bindings[number]
    if not first.keys() <= found.keys() or not all(map(math.isfinite, found.values())):
        raise INVALID(
            f"Binding {number} is not of numbers for the names of the first.",
            why=f"These are {', '.join(sorted(first)) or 'none'}."[:300],
        )


def place(device: Device, allowed: tuple[str, ...], who: str) -> None:
    """Raise DENIED if a machine stands outside of the allowed countries, naming others."""
    if load.is_in(device.country, allowed):
        return
    others = ", ".join(_allowed(allowed)) or "none in the catalogue"
    raise DENIED(
        f"{device.name} stands in {device.country} ({device.place}).",
        why=f"{who} may reach machines in {', '.join(allowed)} only: {others}.",
        hint=f"skerry quantum devices --in {allowed[0]}",
    )


def _allowed(places: tuple[str, ...]) -> Iterator[str]:
    for device in load.devices().values():
        if is_runnable(device) and load.is_in(device.country, places):
            yield device.id


def memory_bytes(most: int) -> int:
    """Return what a simulation may use: the setting, or what the machine has free if less."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return most
    for line in info.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return min(most, int(value.split()[0]) * 1024 * 9 // 10)
    return most
