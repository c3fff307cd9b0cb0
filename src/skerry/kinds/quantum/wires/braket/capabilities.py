"""Devices' capabilities in Braket's schemas, made of the catalogue's figures.

What no published figure is known of is left out. The names of gates are Braket's; figures are those
from which the twin is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from statistics import mean
from typing import Any

from skerry.kinds.quantum.catalogue.model import Calibration, Device, Paradigm, QubitFigures
from skerry.kinds.quantum.checks import EXECUTIONS_MAX
from skerry.kinds.quantum.contract import JobRequest
from skerry.kinds.quantum.results import nature
from skerry.kinds.quantum.twins import DENSITY, IDEAL, typical
from skerry.kinds.quantum.wires.braket.aquila import paradigm as ahs_paradigm
from skerry.kinds.quantum.wires.braket.prices import CHANNEL
from skerry.kinds.quantum.wires.braket.programs import AHS, PROGRAM, PROGRAM_SET, measures_all
from skerry.kinds.quantum.wires.braket.results import header

POLL_MILLISECONDS = 100
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])")
TOTAL_SHOTS_MAX = 2_000_000
_OPERATIONS = (
    *("ccnot", "cnot", "cphaseshift", "cswap", "swap", "iswap", "ecr", "cv", "cy", "cz", "xy"),
    *("xx", "yy", "zz", "h", "i", "phaseshift", "rx", "ry", "rz", "s", "si", "t", "ti", "v", "vi"),
    *("x", "y", "z", "prx", "gpi", "gpi2", "ms", "U", "gphase"),
)
_NATIVE = {"r": "prx", "phasedx": "prx", "rxx": "xx", "zzphase": "zz"}
_FORBIDDEN = ("unitary_matrix", "result_type_state_vector", "result_type_density_matrix")
_RESULTS = ("Sample", "Expectation", "Variance", "Probability")
_EXACT = {
    IDEAL: ("StateVector", "DensityMatrix", "Amplitude", "AdjointGradient"),
    DENSITY: ("DensityMatrix",),
}
"""What only simulators tell, without shots."""

_NOISE = (
    *("amplitude_damping", "bit_flip", "depolarizing", "generalized_amplitude_damping", "kraus"),
    *("pauli_channel", "phase_damping", "phase_flip"),
    *("two_qubit_dephasing", "two_qubit_depolarizing", "two_qubit_pauli_channel"),
)


def capabilities(device: Device, calibration: Calibration | None) -> dict[str, Any]:
    """Return a device's capabilities."""
    found: dict[str, Any] = {
        "service": _service(device, calibration),
        "action": _actions(device),
        "deviceParameters": {},
    }
    if device.status == "local":
        name = "device_schema.simulators.gate_model_simulator_paradigm_properties"
        found["paradigm"] = {"braketSchemaHeader": header(name), "qubitCount": device.qubits}
        schema, version = "simulators.gate_model_simulator", "1"
    elif device.paradigm is Paradigm.ANALOG:
        found["paradigm"] = ahs_paradigm(device)
        schema, version = "quera.quera", "1"
    else:
        schema, version, vendor = _VENDORS[device.vendor]
        found["paradigm"] = _paradigm(device, calibration)
        found |= vendor(device, calibration)
    found["braketSchemaHeader"] = header(f"device_schema.{schema}_device_capabilities", version)
    return found


def _service(device: Device, calibration: Calibration | None) -> dict[str, Any]:
    price = next((each for each in device.prices if each.channel == CHANNEL), None)
    dated = calibration.taken_at if calibration else device.as_of
    said = nature(device, JobRequest(device.id, ()))
    found: dict[str, Any] = {
        "braketSchemaHeader": header("device_schema.device_service_properties"),
        "executionWindows": [
            {
                "executionDay": "Everyday",
                "windowStartHour": "00:00:00",
                "windowEndHour": "23:59:59.999999",
            }
        ],
        "shotsRange": [0 if device.id in _EXACT else device.shots[0], device.shots[1]],
        "deviceDocumentation": {"summary": f"{said}. {device.note}".strip()},
        "deviceLocation": device.place,
        "updatedAt": f"{dated}T00:00:00+00:00",
        "getTaskPollIntervalMillis": POLL_MILLISECONDS,
    }
    if price is not None:
        found["deviceCost"] = {"price": float(price.per_shot), "unit": "shot"}
    return found


def _actions(device: Device) -> dict[str, Any]:
    if device.paradigm is Paradigm.ANALOG:
        return {AHS: {"actionType": AHS, "version": ["1"]}}
    exact = _EXACT.get(device.id, ())
    pragmas = [f"braket_result_type_{name.lower()}" for name in _RESULTS]
    pragmas += [f"braket_result_type_{_SNAKE.sub('_', name).lower()}" for name in exact]
    if exact:
        pragmas.append("braket_unitary_matrix")
    operations = list(_OPERATIONS)
    if device.feedforward is not None and device.feedforward.what == "pulses":
        operations += ("cc_prx", "measure_ff")
    if device.id == DENSITY:
        operations += _NOISE
        pragmas += [f"braket_noise_{name}" for name in _NOISE]
    found: dict[str, Any] = {
        PROGRAM: {
            "actionType": PROGRAM,
            "version": ["1"],
            "supportedOperations": operations,
            "supportedModifiers": [],
            "supportedPragmas": ["verbatim", *pragmas],
            "forbiddenPragmas": [
                f"braket_{name}" for name in _FORBIDDEN if f"braket_{name}" not in pragmas
            ],
            "supportPhysicalQubits": device.status != "local",
            "requiresAllQubitsMeasurement": measures_all(device),
            "requiresContiguousQubitIndices": False,
            "supportsPartialVerbatimBox": False,
            "supportsUnassignedMeasurements": True,
            "disabledQubitRewiringSupported": device.status != "local",
            "supportedResultTypes": _result_types(device, exact),
        },
    }
    if device.status != "local":
        # The simulator takes sets too, and does not say so: PennyLane's plug-in (1.36) packs every
        # circuit into a set where they are offered, and fails by itself on one without parameters.
        found[PROGRAM_SET] = {
            "actionType": PROGRAM_SET,
            "version": ["1"],
            "maximumExecutables": EXECUTIONS_MAX,
            "maximumTotalShots": TOTAL_SHOTS_MAX,
        }
    return found


def _result_types(device: Device, exact: tuple[str, ...]) -> list[dict[str, Any]]:
    least, most = device.shots
    observables = ["x", "y", "z", "h", "i", *(["hermitian"] if exact else [])]
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "minShots": 0 if exact and name != "Sample" else least,
            "maxShots": most,
        }
        | ({} if name == "Probability" else {"observables": observables})
        for name in _RESULTS
    ]
    for name in exact:
        gradient = {"observables": ["x", "y", "z", "h", "i"]} if name == "AdjointGradient" else {}
        found.append({"name": name, "minShots": 0, "maxShots": 0} | gradient)
    return found


def _paradigm(device: Device, calibration: Calibration | None) -> dict[str, Any]:
    graph: dict[str, list[str]] = {}
    everybody = device.topology.kind == "all"
    if calibration is not None and not everybody:
        graph = {label: [] for label in calibration.qubits}
        for first, second, error in calibration.edges():
            if error is not None:
                graph[first].append(second)
                graph[second].append(first)
    return {
        "braketSchemaHeader": header("device_schema.gate_model_qpu_paradigm_properties"),
        "connectivity": {"fullyConnected": everybody, "connectivityGraph": graph},
        "qubitCount": len(calibration.qubits) if calibration else device.qubits,
        "nativeGateSet": [_NATIVE.get(each, each) for each in device.native_gates],
    }


def _measured(device: Device, calibration: Calibration | None) -> dict[str, Any]:
    """Return figures of every qubit and pair, the medians where a qubit's own are missing."""
    if calibration is None:
        return {}
    usual = typical(calibration)
    gate = next(each for each in device.native_gates if each == "cz").upper()
    return {
        "standardized": {
            "braketSchemaHeader": header(
                "device_schema.standardized_gate_model_qpu_device_properties"
            ),
            "oneQubitProperties": {
                label: _qubit(each, usual) for label, each in calibration.qubits.items()
            },
            "twoQubitProperties": {
                f"{first}-{second}": {
                    "twoQubitGateFidelity": [
                        _fidelity("INTERLEAVED_RANDOMIZED_BENCHMARKING", error) | {"gateName": gate}
                    ]
                }
                for first, second, error in calibration.edges()
                if error is not None
            },
        }
    }


def _qubit(own: QubitFigures, usual: QubitFigures) -> dict[str, Any]:
    def pick(name: str) -> float:
        value = getattr(own, name)
        return float((getattr(usual, name) if value is None else value) or 0.0)

    low, high = pick("read_0_as_1"), pick("read_1_as_0")
    return {
        "T1": {"value": pick("t1"), "standardError": None, "unit": "S"},
        "T2": {"value": pick("t2"), "standardError": None, "unit": "S"},
        "oneQubitFidelity": [
            _fidelity("RANDOMIZED_BENCHMARKING", pick("gate_error")),
            _fidelity("READOUT_ERROR_0_TO_1", 1 - low),
            _fidelity("READOUT_ERROR_1_TO_0", 1 - high),
            _fidelity("READOUT", mean((low, high))),
        ],
    }


def _fidelity(name: str, error: float) -> dict[str, Any]:
    return {"fidelityType": {"name": name}, "fidelity": round(1 - error, 12)}


def _averages(device: Device, _: Calibration | None) -> dict[str, Any]:
    """Return IonQ's figures: one mean for all qubits."""
    names = {
        "T1": "t1",
        "T2": "t2",
        "1Q": "one_qubit_seconds",
        "2Q": "two_qubit_seconds",
        "readout": "readout_seconds",
        "reset": "reset_seconds",
    }
    timing = {key: device.value(name) for key, name in names.items()}
    fidelity = {
        "1Q": device.value("one_qubit_fidelity"),
        "2Q": device.value("two_qubit_fidelity"),
        "spam": device.value("readout_fidelity"),
    }
    return {
        "provider": {
            "braketSchemaHeader": header("device_schema.ionq.ionq_provider_properties"),
            "fidelity": {key: {"mean": value} for key, value in fidelity.items() if value},
            "timing": {key: value for key, value in timing.items() if value is not None},
        }
    }


def _unpublished(_device: Device, _calibration: Calibration | None) -> dict[str, Any]:
    """Return nothing: what AQT's own schema requires is not published in what was read.

    IQM's schema has the same parts and requires none of them.
    """
    return {}


_VENDORS: dict[str, tuple[str, str, Callable[[Device, Calibration | None], dict[str, Any]]]] = {
    "IQM": ("iqm.iqm", "1", _measured),
    "Rigetti": ("rigetti.rigetti", "2", _measured),
    "IonQ": ("ionq.ionq", "1", _averages),
    "Alpine Quantum Technologies": ("iqm.iqm", "1", _unpublished),
}
