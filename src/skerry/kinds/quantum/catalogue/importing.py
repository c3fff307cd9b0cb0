"""Reads vendors' own capability and calibration files into calibrations of the catalogue.

Three shapes are understood: Amazon Braket's device capabilities (which also hold IQM's, Rigetti's
and IonQ's figures, and may be JSON inside of a JSON text), IBM's backend properties, and our own
`Calibration`. Values are taken with their date; the file itself is not kept.
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.catalogue.model import Calibration, QubitFigures

BYTES_MAX = 16 << 20
_PLACEHOLDERS = (0.0, 0.5, 1.0)
"""Fidelities that vendors write where nothing was measured."""

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_ONE_QUBIT = ("SIMULTANEOUS_RANDOMIZED_BENCHMARKING", "RANDOMIZED_BENCHMARKING")


def read(data: bytes, device: str) -> Calibration:
    """Return the calibration in a vendor's file for a device; raise INVALID if there is none."""
    if len(data) > BYTES_MAX:
        raise INVALID(f"The file is larger than {BYTES_MAX >> 20} MiB.")
    try:
        found = msgspec.json.decode(data)
        if isinstance(found, str):
            found = msgspec.json.decode(found)
        if not isinstance(found, dict):
            raise INVALID("The file is not a JSON object.")
        if "paradigm" in found:
            return _braket(found, device)
        if "gates" in found and "qubits" in found and "last_update_date" in found:
            return _ibm(found, device)
        calibration = msgspec.convert(found, Calibration)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise INVALID(
            "The file is neither a Braket capability file, nor IBM backend properties, nor a "
            "calibration of this catalogue.",
            why=f"{type(error).__name__}: {error}",
        ) from error
    if calibration.device != device:
        raise INVALID(f"The calibration is of {calibration.device}, not of {device}.")
    return calibration


def _braket(found: dict[str, Any], device: str) -> Calibration:
    standard = found.get("standardized") or {}
    taken_at = str(found.get("service", {}).get("updatedAt", ""))[:10]
    if not taken_at:
        raise INVALID("The capability file has no date (service.updatedAt).")
    header = standard.get("braketSchemaHeader") or {}
    source = f"Amazon Braket device capabilities of {device}"
    if str(header.get("version")) == "3":
        return _braket_average(found, standard, device, taken_at, source)
    one = standard.get("oneQubitProperties") or {}
    two = standard.get("twoQubitProperties") or {}
    graph = found["paradigm"]["connectivity"]["connectivityGraph"]
    pairs: dict[str, float | None] = {
        _pair(a, b): None for a, others in graph.items() for b in others
    }
    for name, value in two.items():
        first, _, second = name.partition("-")
        pairs[_pair(first, second)] = _pair_error(value)
    labels = sorted({*one, *graph, *(b for each in graph.values() for b in each)}, key=_order)
    placeholders = sum(1 for each in pairs.values() if each is None)
    return Calibration(
        device=device,
        taken_at=taken_at,
        source=source,
        qubits={label: _braket_qubit(one.get(label, {})) for label in labels},
        pairs=dict(sorted(pairs.items(), key=lambda item: [*map(_order, item[0].split("-"))])),
        licence="Apache-2.0",
        notes=(f"{placeholders} pairs carry no figure or a placeholder.",) if placeholders else (),
    )


def _braket_average(
    found: dict[str, Any], standard: dict[str, Any], device: str, taken_at: str, source: str
) -> Calibration:
    """Read a file that has one average for all qubits, as ion traps have."""
    fidelity = found.get("provider", {}).get("fidelity", {})
    spam = _infidelity(_first(standard, "readoutFidelity"))
    one = _infidelity(fidelity.get("1Q", {}).get("mean"))
    two = _infidelity(_first(standard, "twoQubitGateFidelity"))
    figures = QubitFigures(
        t1=_value(standard.get("T1")),
        t2=_value(standard.get("T2")),
        gate_error=one,
        read_0_as_1=spam,
        read_1_as_0=spam,
    )
    count = int(found["paradigm"]["qubitCount"])
    labels = [str(number) for number in range(count)]
    return Calibration(
        device=device,
        taken_at=taken_at,
        source=source,
        qubits=dict.fromkeys(labels, figures),
        pairs={f"{a}-{b}": two for a in labels for b in labels if int(a) < int(b)},
        one_qubit_seconds=_value(standard.get("singleQubitGateDuration")),
        two_qubit_seconds=_value(standard.get("twoQubitGateDuration")),
        readout_seconds=_value(standard.get("readoutDuration")),
        licence="Apache-2.0",
        notes=("One average for all qubits.",),
    )


def _braket_qubit(found: dict[str, Any]) -> QubitFigures:
    by_type = {
        each["fidelityType"]["name"]: each["fidelity"] for each in found.get("oneQubitFidelity", ())
    }
    gate = next((by_type[name] for name in _ONE_QUBIT if _is_real(by_type.get(name))), None)
    readout = _infidelity(by_type.get("READOUT"))
    return QubitFigures(
        t1=_value(found.get("T1")),
        t2=_value(found.get("T2")),
        gate_error=_infidelity(gate),
        read_0_as_1=by_type.get("READOUT_ERROR_0_TO_1", readout),
        read_1_as_0=by_type.get("READOUT_ERROR_1_TO_0", readout),
    )


def _pair_error(found: dict[str, Any]) -> float | None:
    """Return the error of the native gate of a pair, not of a whole Clifford."""
    for each in found.get("twoQubitGateFidelity", ()):
        if "CLIFFORD" not in each["gateName"].upper() and _is_real(each["fidelity"]):
            return _infidelity(each["fidelity"])
    return None


def _ibm(found: dict[str, Any], device: str) -> Calibration:
    qubits: list[dict[str, Any]] = [
        {each["name"]: _scaled(each) for each in values} for values in found["qubits"]
    ]
    errors: dict[int, float] = {}
    pairs: dict[str, float | None] = {}
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for gate in found["gates"]:
        values = {each["name"]: _scaled(each) for each in gate["parameters"]}
        error, places = values.get("gate_error"), gate["qubits"]
        if gate["gate"] == "sx" and error is not None:
            errors[places[0]] = error
            seconds[1].append(values["gate_length"])
        if gate["gate"] in ("cz", "ecr", "cx") and len(places) == 2:
            pairs[_pair(*map(str, places))] = None if error is None or error >= 0.5 else error
            seconds[2].append(values["gate_length"])
    readout = sorted(each["readout_length"] for each in qubits if "readout_length" in each)
    placeholders = sum(1 for each in pairs.values() if each is None)
    return Calibration(
        device=device,
        taken_at=str(found["last_update_date"])[:10],
        source=f"IBM backend properties of {found.get('backend_name', device)}",
        qubits={
            str(number): QubitFigures(
                t1=values.get("T1"),
                t2=values.get("T2"),
                gate_error=errors.get(number),
                read_0_as_1=values.get("prob_meas1_prep0", values.get("readout_error")),
                read_1_as_0=values.get("prob_meas0_prep1", values.get("readout_error")),
            )
            for number, values in enumerate(qubits)
        },
        pairs=dict(sorted(pairs.items(), key=lambda item: [*map(_order, item[0].split("-"))])),
        one_qubit_seconds=_middle(seconds[1]),
        two_qubit_seconds=_middle(seconds[2]),
        readout_seconds=_middle(readout),
        licence="Apache-2.0",
        notes=(f"{placeholders} pairs are marked as not working.",) if placeholders else (),
    )


def _scaled(each: dict[str, Any]) -> float:
    return float(each["value"]) * _UNITS.get(str(each.get("unit", "")).lower(), 1.0)


def _middle(values: list[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None


def _value(found: dict[str, Any] | None) -> float | None:
    if not found or found.get("value") is None:
        return None
    return float(found["value"]) * _UNITS.get(str(found.get("unit", "s")).lower(), 1.0)


def _first(standard: dict[str, Any], name: str) -> float | None:
    values = standard.get(name) or []
    return float(values[0]["fidelity"]) if values else None


def _infidelity(fidelity: float | None) -> float | None:
    return None if fidelity is None else round(1.0 - float(fidelity), 9)


def _is_real(fidelity: float | None) -> bool:
    return fidelity is not None and fidelity not in _PLACEHOLDERS


def _order(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdigit() else (1 << 30, label)


def _pair(first: str, second: str) -> str:
    return "-".join(sorted((str(first), str(second)), key=_order))
