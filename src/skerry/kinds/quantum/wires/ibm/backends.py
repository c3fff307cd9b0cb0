"""Devices as IBM's API describes them: configuration, properties, status.

The unit of time, `dt`, is this node's own: one nanosecond (`worker.qpy.TICK_SECONDS`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from skerry.kernel.errors import NOT_FOUND
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Calibration, Device, QubitFigures
from skerry.kinds.quantum.twins import is_runnable
from skerry.kinds.quantum.worker.qpy import TICK_SECONDS

SIMULATOR = "sim-ideal"
SIMULATOR_GATES = (
    "cx", "cz", "h", "id", "p", "rx", "ry", "rz", "rzz", "s", "sdg", "swap", "sx", "t", "tdg",
    "u", "x", "y", "z", "ccx", "cp", "rxx", "ryy",
)  # fmt: skip
_PARAMETERS = {
    "p": 1, "rx": 1, "ry": 1, "rz": 1, "rzz": 1, "rxx": 1, "ryy": 1, "cp": 1, "u": 3,
}  # fmt: skip
_TWO = frozenset({"cx", "cz", "ecr", "rzz", "rxx", "ryy", "swap", "cp"})


def backends() -> Iterator[Device]:
    """Yield the devices that IBM's clients see: IBM's own with a twin here, and a simulator."""
    for device in load.devices().values():
        if (device.vendor == "IBM" and is_runnable(device)) or device.id == SIMULATOR:
            yield device


def name_of(device: Device) -> str:
    """Return what IBM's clients call a device."""
    return device.id.replace("-", "_")


def find(name: str) -> Device:
    """Return a device by IBM's name; raise NOT_FOUND."""
    found = next((each for each in backends() if name_of(each) == name), None)
    if found is None:
        raise NOT_FOUND(f"There is no backend {name[:60]}.", hint="skerry quantum devices")
    return found


def labels(device: Device, calibration: Calibration | None) -> list[str] | None:
    """Return the qubits' labels in the order of their numbers; None for the simulator."""
    return None if calibration is None else list(calibration.qubits)


def edges(device: Device, calibration: Calibration) -> list[tuple[int, int, float]]:
    """Return the pairs that interact, in the directions that they can, with their errors."""
    places = {label: number for number, label in enumerate(calibration.qubits)}
    found = []
    for first, second, error in calibration.edges():
        if error is None:
            continue
        a, b = places[first], places[second]
        found += [(a, b, error), (b, a, error)]
    return sorted(found)


def configuration(device: Device, calibration: Calibration | None) -> dict[str, Any]:
    """Return a backend's configuration."""
    simulator = calibration is None
    names = SIMULATOR_GATES if simulator else device.native_gates
    coupling = None if calibration is None else [[a, b] for a, b, _ in edges(device, calibration)]
    number = device.qubits if not simulator else min(device.qubits or 32, 32)
    return {
        "backend_name": name_of(device),
        "backend_version": f"{device.revision}.0.0",
        "n_qubits": number,
        "basis_gates": list(names),
        "gates": [_gate(each, coupling, number) for each in names],
        "supported_instructions": [*names, "measure", "reset", "delay", *_choices(device)],
        "supported_features": ["qasm3"],
        "local": False,
        "simulator": simulator,
        "conditional": False,
        "open_pulse": False,
        "memory": True,
        "max_shots": device.shots[1],
        "max_experiments": 300,
        "coupling_map": coupling,
        "dynamic_reprate_enabled": False,
        "dt": TICK_SECONDS * 1e9,
        "dtm": TICK_SECONDS * 1e9,
        "processor_type": {"family": "Twin of published figures", "revision": device.revision},
        "description": f"{device.name}: a twin on this node, of figures of {device.as_of}."
        if not simulator
        else "A simulator without noise on this node.",
        "online_date": f"{device.as_of}T00:00:00Z",
        "credits_required": False,
        "default_rep_delay": 0.0,
        "rep_delay_range": [0.0, 0.0],
        "timing_constraints": {},
    }


def _choices(device: Device) -> list[str]:
    if device.id == SIMULATOR:
        return ["if_else", "while_loop"]
    return ["if_else"] if device.feedforward else []


def _gate(name: str, coupling: list[list[int]] | None, number: int) -> dict[str, Any]:
    parameters = [f"p{index}" for index in range(_PARAMETERS.get(name, 0))]
    found: dict[str, Any] = {"name": name, "parameters": parameters, "qasm_def": f"gate {name}"}
    if coupling is not None:
        pairs = coupling if name in _TWO else [[each] for each in range(number)]
        found["coupling_map"] = pairs
    return found


def properties(device: Device, calibration: Calibration) -> dict[str, Any]:
    """Return a backend's properties: the figures of its calibration."""
    at = _moment(calibration.taken_at)
    return {
        "backend_name": name_of(device),
        "backend_version": f"{device.revision}.0.0",
        "last_update_date": at,
        "qubits": [
            list(_qubit(each, calibration.readout_seconds, at))
            for each in calibration.qubits.values()
        ],
        "gates": [
            each for name in device.native_gates for each in _gates(device, calibration, name, at)
        ],
        "general": [],
    }


def _figure(at: str, name: str, value: float, unit: str) -> dict[str, Any]:
    return {"date": at, "name": name, "unit": unit, "value": value}


def _qubit(found: QubitFigures, seconds: float | None, at: str) -> Iterator[dict[str, Any]]:
    for name, value in (("T1", found.t1), ("T2", found.t2)):
        if value is not None:
            yield _figure(at, name, value * 1e6, "us")
    low, high = found.read_0_as_1, found.read_1_as_0
    if low is not None and high is not None:
        yield _figure(at, "prob_meas1_prep0", low, "")
        yield _figure(at, "prob_meas0_prep1", high, "")
        yield _figure(at, "readout_error", (low + high) / 2, "")
    if seconds is not None:
        yield _figure(at, "readout_length", seconds * 1e9, "ns")


def _gates(
    device: Device, calibration: Calibration, name: str, at: str
) -> Iterator[dict[str, Any]]:
    """Yield a gate's figures on every qubit or pair; a rotation about z is done by relabelling."""
    if name in _TWO:
        for a, b, error in edges(device, calibration):
            yield _measured(name, [a, b], error, calibration.two_qubit_seconds, at)
        return
    for number, each in enumerate(calibration.qubits.values()):
        error = 0.0 if name == "rz" else (each.gate_error or 0.0)
        seconds = 0.0 if name == "rz" else calibration.one_qubit_seconds
        yield _measured(name, [number], error, seconds, at)


def _measured(
    name: str, qubits: list[int], error: float, seconds: float | None, at: str
) -> dict[str, Any]:
    parameters = [_figure(at, "gate_error", error, "")]
    if seconds is not None:
        parameters.append(_figure(at, "gate_length", seconds * 1e9, "ns"))
    label = f"{name}{'_'.join(map(str, qubits))}"
    return {"qubits": qubits, "gate": name, "parameters": parameters, "name": label}


def _moment(taken_at: str) -> str:
    """Return a date or a moment as the moment that clients read."""
    return taken_at if "T" in taken_at else f"{taken_at}T00:00:00Z"


def status(device: Device, waiting: int) -> dict[str, Any]:
    """Return whether a backend takes jobs; `message` says what it is."""
    return {
        "state": True,
        "status": "active",
        "message": "twin" if device.id != SIMULATOR else "simulator",
        "length_queue": waiting,
        "backend_version": f"{device.revision}.0.0",
    }
