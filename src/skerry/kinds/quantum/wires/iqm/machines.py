"""IQM's machines as its client sees them: components, gates and where they are calibrated, figures.

Qubits are called QB1, QB2, …. A calibration set is a revision of a device in the catalogue.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from skerry.kernel.errors import NOT_FOUND
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Calibration, Device
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.twins import is_runnable

VENDOR = "IQM"
_PREFIX = "iqm-"
_IMPLEMENTATIONS = {"prx": "drag_gaussian", "cz": "tgss", "measure": "constant"}
"""What the client calls the ways in which IQM's gates are made."""


def identity(*parts: object) -> str:
    """Return the UUID that names always have."""
    text = "/".join(map(str, parts)).encode()
    return str(UUID(bytes=hashlib.sha256(text).digest()[:16], version=4))


def _all() -> list[Device]:
    return [each for each in load.devices().values() if each.vendor == VENDOR and is_runnable(each)]


def alias(device: Device) -> str:
    """Return the short name of a device."""
    return device.id.removeprefix(_PREFIX)


def listed() -> list[dict[str, Any]]:
    """Return the machines that can be chosen."""
    return [
        {
            "id": identity(each.id),
            "alias": alias(each),
            "display_name": f"{each.name} (twin, not the hardware)",
            "proxy_path": None,
        }
        for each in _all()
    ]


def find(name: str) -> Device:
    """Return a machine by its short name or id; raise NOT_FOUND."""
    for each in _all():
        if name in (alias(each), identity(each.id)):
            return each
    known = ", ".join(alias(each) for each in _all())
    raise NOT_FOUND(f"There is no quantum computer {name[:60]}.", why=f"There are: {known}.")


def figures(desk: Desk, name: str) -> tuple[Device, Calibration, str]:
    """Return a machine, the calibration in force and its id."""
    device, calibration, revision = desk.device(find(name).id)
    if calibration is None:
        raise NOT_FOUND(f"{device.name} has no calibration.")
    return device, calibration, identity(device.id, revision)


def artifact(desk: Desk, name: str, which: str) -> Any:
    """Return what a machine is made of."""
    device, calibration, _ = figures(desk, name)
    if which == "about":
        return {"version": device.as_of, "software_versions": {}}
    if which != "static-quantum-architectures":
        raise NOT_FOUND(f"There is no {which[:60]} of a twin.")
    return [
        {
            "dut_label": device.name,
            "qubits": [qubit(each) for each in calibration.qubits],
            "computational_resonators": [],
            "connectivity": [[qubit(a), qubit(b)] for a, b, _ in calibration.edges()],
        }
    ]


def qubit(label: str) -> str:
    """Return IQM's name of a qubit."""
    return f"QB{label}"


def calibrated(desk: Desk, name: str, chosen: str, part: str) -> Any:
    """Return a part of a calibration set; raise NOT_FOUND for any but the one in force."""
    device, calibration, known = figures(desk, name)
    if chosen not in ("default", known):
        raise NOT_FOUND(
            f"The calibration set {chosen[:60]} is not in force.", why=f"In force is {known}."
        )
    if part == "dynamic-quantum-architecture":
        return _gates(calibration, known)
    if part not in ("", "metrics"):
        raise NOT_FOUND(f"A calibration set has no {part[:60]}.")
    is_metrics = part == "metrics"
    found = _metrics(calibration) if is_metrics else _durations(device, calibration)
    moment = f"{calibration.taken_at}T00:00:00Z"
    return {
        "observation_set_type": "quality-metric-set" if is_metrics else "calibration-set",
        "observation_set_id": identity(known, part) if is_metrics else known,
        "describes_id": known if is_metrics else None,
        "invalid": False,
        "dut_label": device.name,
        "created_timestamp": moment,
        "end_timestamp": moment,
        "observations": [
            {
                "observation_id": number,
                "dut_field": field,
                "value": value,
                "unit": unit,
                "uncertainty": None,
                "invalid": False,
                "created_timestamp": moment,
                "modified_timestamp": moment,
            }
            for number, (field, value, unit) in enumerate(found)
        ],
    }


def _gates(calibration: Calibration, known: str) -> dict[str, Any]:
    names = [qubit(each) for each in calibration.qubits]
    pairs = [[qubit(a), qubit(b)] for a, b, error in calibration.edges() if error is not None]
    loci = {"prx": [[each] for each in names], "cz": pairs, "measure": [[each] for each in names]}
    return {
        "calibration_set_id": known,
        "qubits": names,
        "computational_resonators": [],
        "gates": {
            gate: {
                "implementations": {way: {"loci": loci[gate]}},
                "default_implementation": way,
                "override_default_implementation": {},
            }
            for gate, way in _IMPLEMENTATIONS.items()
        },
    }


_Observation = tuple[str, float, str]


def _durations(device: Device, calibration: Calibration) -> list[_Observation]:
    """Return how long gates take, as a calibration set has it."""
    one = calibration.one_qubit_seconds or device.value("one_qubit_seconds")
    two = calibration.two_qubit_seconds or device.value("two_qubit_seconds")
    found: list[_Observation] = []
    if one:
        names = map(qubit, calibration.qubits)
        found += [(f"gates.prx.drag_gaussian.{name}.duration", one, "s") for name in names]
    if two:
        pairs = [(a, b) for a, b, error in calibration.edges() if error is not None]
        found += [(f"gates.cz.tgss.{qubit(a)}__{qubit(b)}.duration", two, "s") for a, b in pairs]
    return found


def _metrics(calibration: Calibration) -> list[_Observation]:
    found: list[_Observation] = []
    for label, each in calibration.qubits.items():
        name = qubit(label)
        model, read = f"characterization.model.{name}", f"metrics.ssro.measure.constant.{name}"
        fidelity = None if each.gate_error is None else 1 - each.gate_error
        values = (
            (f"{model}.t1_time", each.t1, "s"),
            (f"{model}.t2_time", each.t2, "s"),
            (f"metrics.rb.prx.drag_gaussian.{name}.fidelity", fidelity, ""),
            (f"{read}.error_0_to_1", each.read_0_as_1, ""),
            (f"{read}.error_1_to_0", each.read_1_as_0, ""),
        )
        found += [(field, value, unit) for field, value, unit in values if value is not None]
    for a, b, error in calibration.edges():
        if error is not None:
            field = f"metrics.irb.cz.tgss.{qubit(a)}__{qubit(b)}.fidelity"
            found.append((field, 1 - error, ""))
    return found
