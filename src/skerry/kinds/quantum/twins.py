"""Makes twins: what a worker is told of a device, from published figures and nothing else."""

from __future__ import annotations

import re
from statistics import median
from typing import Any

from skerry.kernel.errors import INVALID, UNSUPPORTED
from skerry.kinds.quantum.catalogue.model import (
    Calibration,
    Device,
    Figure,
    Paradigm,
    QubitFigures,
)
from skerry.kinds.quantum.contract import Calibrated, JobRequest, Program
from skerry.kinds.quantum.worker import exactly

PESSIMISM_MAX = 20.0
IDEAL, DENSITY, CHAIN = "sim-ideal", "sim-density", "sim-mps"
EXACT = {IDEAL: exactly.VECTOR, DENSITY: exactly.DENSITY}
"""The engine of each simulator that tells exact results, without shots."""

_OWN = re.compile(r"^\s*#?pragma\s+braket\s+(?:noise|unitary)\b", re.MULTILINE)


def is_runnable(device: Device) -> bool:
    """Tell whether programs for the device can run on this node.

    They run on a twin or a simulator; those for photonic machines are simulated within a machine's
    limits, with the noise that they name, because what errs in the machines is not published.
    """
    return device.twin or device.status == "local" or is_limited(device)


def is_limited(device: Device) -> bool:
    """Tell whether a device is a photonic machine of which the size is known, and no noise."""
    return device.paradigm is Paradigm.PHOTONIC and bool(device.value("modes"))


def check(device: Device, pessimism: float) -> None:
    """Raise UNSUPPORTED if a device has no twin, INVALID if the pessimism is out of bounds."""
    if not is_runnable(device):
        raise UNSUPPORTED(
            f"{device.name} has no twin here.",
            why=device.note or "What is published is not enough for one.",
            hint="skerry quantum devices",
        )
    if not 0.0 <= pessimism <= PESSIMISM_MAX:
        raise INVALID(f"The pessimism is a factor from 0 to {PESSIMISM_MAX:g}.")


def calibrated(device: Device, calibration: Calibration | None, revision: int) -> Calibrated | None:
    """Return which figures a twin is made of."""
    if device.status == "local" or is_limited(device):
        return None
    if calibration is not None:
        return Calibrated(device.id, revision, calibration.taken_at, calibration.source)
    titles = "; ".join(each.title for each in device.sources.values())
    return Calibrated(device.id, revision, device.as_of, f"Published averages: {titles}")


def for_worker(device: Device, calibration: Calibration | None) -> dict[str, Any] | None:
    """Return the device as `worker.devices` reads it; None for a simulator without noise."""
    if device.status == "local":
        return None
    if device.paradigm is Paradigm.ANALOG:
        return _analog(device)
    if device.paradigm is Paradigm.PHOTONIC:
        sizes = {name: int(device.value(name) or 0) for name in ("modes", "photons")}
        return {"id": device.id, **sizes}
    shape: dict[str, Any] = {"id": device.id, "native": list(device.native_gates)}
    if device.feedforward is not None:
        shape["feedforward"] = device.feedforward.what
    if calibration is None:
        return shape | _averages(device)
    shape["labels"] = list(calibration.qubits)
    if device.topology.kind == "all":
        pairs = [error for error in calibration.pairs.values() if error is not None]
        shape |= {"all": True, "pair_error": median(pairs) if pairs else 0.0}
    else:
        shape |= {"all": False, "pairs": calibration.pairs}
    missing = typical(calibration)
    shape["one"] = {label: _figures(each, missing) for label, each in calibration.qubits.items()}
    shape["seconds"] = {
        "one": calibration.one_qubit_seconds or device.value("one_qubit_seconds"),
        "two": calibration.two_qubit_seconds or device.value("two_qubit_seconds"),
        "readout": calibration.readout_seconds or device.value("readout_seconds"),
    }
    return shape


def _analog(device: Device) -> dict[str, Any]:
    """Return the limits and errors of a machine of atoms, as `worker.atoms` reads them."""
    names = {
        "rabi": "rabi_max",
        "detuning": "detuning_max",
        "duration": "duration_max",
        "width": "width",
        "height": "height",
        "radius": "radius_max",
        "spacing": "spacing_min",
        "c6": "c6",
        "t2": "t2",
        "filling_error": "filling_error",
        "ground_error": "ground_detection_error",
        "rydberg_error": "rydberg_detection_error",
        "rabi_error": "rabi_error_relative",
    }
    found: dict[str, Any] = {key: device.value(name) or 0.0 for key, name in names.items()}
    # Only Braket's machine asks for a drive that begins and ends at rest.
    rests = any(each.startswith("arn:aws:") for each in device.aliases)
    return found | {"id": device.id, "sites": device.qubits, "rests": rests}


def engine_of(request: JobRequest, program: Program, device: Device) -> str:
    """Return the engine that a program has to run on, or nothing where the router may choose.

    A simulator runs noise and matrices that a program names itself on its exact engine.
    """
    if request.options.engine:
        return request.options.engine
    if device.id == CHAIN:
        return "mps"
    is_own = program.format == "openqasm3" and _OWN.search(program.source)
    return EXACT.get(device.id, "") if is_own else ""


def stack_of(device: Device, engine: str = "") -> str:
    """Return the stack of libraries that runs a device's twin, or an engine."""
    is_braket = device.paradigm is Paradigm.ANALOG or engine in exactly.ENGINES
    return "atoms" if is_braket else "gates"


def _averages(device: Device) -> dict[str, Any]:
    read = _error(device, "readout_fidelity")
    return {
        "all": True,
        "labels": [str(number) for number in range(device.qubits)],
        "average": {
            "error": _error(device, "one_qubit_fidelity"),
            "r01": read,
            "r10": read,
            "t1": device.value("t1"),
            "t2": device.value("t2"),
        },
        "pair_error": _error(device, "two_qubit_fidelity"),
        "seconds": {
            "one": device.value("one_qubit_seconds"),
            "two": device.value("two_qubit_seconds"),
            "readout": device.value("readout_seconds"),
        },
    }


def _error(device: Device, name: str) -> float:
    fidelity = device.value(name)
    return 0.0 if fidelity is None else round(1.0 - fidelity, 12)


def _figures(found: QubitFigures, missing: QubitFigures) -> dict[str, float | None]:
    """Return a qubit's figures, the device's medians where its own are not published."""

    def pick(name: str) -> float | None:
        own: float | None = getattr(found, name)
        return getattr(missing, name) if own is None else own

    return {
        "error": pick("gate_error"),
        "r01": pick("read_0_as_1"),
        "r10": pick("read_1_as_0"),
        "t1": pick("t1"),
        "t2": pick("t2"),
    }


def typical(calibration: Calibration) -> QubitFigures:
    """Return the median of every figure over the qubits that have it."""

    def middle(name: str) -> float | None:
        values = [getattr(each, name) for each in calibration.qubits.values()]
        known = [value for value in values if value is not None]
        return median(known) if known else None

    return QubitFigures(*(middle(name) for name in QubitFigures.__struct_fields__))


def medians(calibration: Calibration) -> list[Figure]:
    """Return the medians of a calibration as figures, each with the unit it is in."""
    usual = typical(calibration)
    pairs = [error for error in calibration.pairs.values() if error is not None]
    reads = [
        (each.read_0_as_1 + each.read_1_as_0) / 2
        for each in calibration.qubits.values()
        if each.read_0_as_1 is not None and each.read_1_as_0 is not None
    ]
    found = [
        ("one_qubit_fidelity", None if usual.gate_error is None else 1 - usual.gate_error, ""),
        ("two_qubit_fidelity", 1 - median(pairs) if pairs else None, ""),
        ("readout_fidelity", 1 - median(reads) if reads else None, ""),
        ("t1", usual.t1, "s"),
        ("t2", usual.t2, "s"),
        ("one_qubit_seconds", calibration.one_qubit_seconds, "s"),
        ("two_qubit_seconds", calibration.two_qubit_seconds, "s"),
        ("readout_seconds", calibration.readout_seconds, "s"),
    ]
    source = f"{calibration.source}, median of the calibration ({calibration.taken_at})"
    return [
        Figure(name, float(f"{value:.6g}"), unit, source)
        for name, value, unit in found
        if value is not None
    ]
