"""Compiles circuits for a device with Qiskit's transpiler, or checks what is already compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from . import natives
from .devices import Device, is_virtual
from .ir import ARITY, NOT_GATES, TURN, Circuit, UnsupportedError

SEED = 0
"""What the compiler draws from: the same for all, so that what is estimated is what runs."""


def compiled(
    circuit: Circuit, device: Device, level: str, layout: list[str], effort: int
) -> Circuit:
    """Return the circuit in the device's gates, over the qubits that it uses, with `labels`.

    `verbatim` circuits are checked and left as they are. Raises UnsupportedError if it cannot run.
    """
    needed = circuit["qubits"]
    if needed > len(device.labels):
        raise UnsupportedError(
            f"The circuit has {needed} qubits and {device.id} {len(device.labels)}."
        )
    if level == "verbatim" or circuit.get("verbatim"):
        return _verbatim(natives.spelled(circuit, device.native), device, layout)
    if level == "native":
        circuit = natives.spelled(circuit, device.native)
        _only_native(circuit, device)
        effort = 0
    if circuit.get("labels") and not layout:
        layout = list(circuit["labels"])
    if device.all_to_all and not device.one and not layout:
        device = device.first(needed)
    return _transpiled(circuit, device, layout, effort)


def _only_native(circuit: Circuit, device: Device) -> None:
    for name, _, _ in circuit["ops"]:
        if name not in NOT_GATES and name not in device.native:
            raise UnsupportedError(
                f"{name} is not a gate of {device.id}.",
                f"Its gates are {', '.join(device.native)}.",
            )


def _verbatim(circuit: Circuit, device: Device, layout: list[str]) -> Circuit:
    labels = list(circuit.get("labels") or layout or device.labels[: circuit["qubits"]])
    known = set(device.labels)
    for label in labels:
        if label not in known:
            raise UnsupportedError(f"{device.id} has no qubit {label}.")
    _only_native(circuit, device)
    for name, qubits, _ in circuit["ops"]:
        if name in NOT_GATES or len(qubits) != 2:
            continue
        first, second = labels[qubits[0]], labels[qubits[1]]
        if device.pair_error(first, second) is None:
            raise UnsupportedError(
                f"Qubits {first} and {second} of {device.id} cannot interact.",
                "The program is verbatim, so it is not routed.",
            )
    return circuit | {"labels": labels}


@lru_cache(maxsize=64)
def _target(device: Device) -> Any:
    from qiskit.circuit import Delay, Measure, Parameter, Reset  # noqa: PLC0415
    from qiskit.circuit.library import get_standard_gate_name_mapping  # noqa: PLC0415
    from qiskit.transpiler import InstructionProperties, Target  # noqa: PLC0415

    gates = get_standard_gate_name_mapping()
    places = {label: number for number, label in enumerate(device.labels)}
    target = Target(num_qubits=len(device.labels))
    pairs = _pairs(device, places)
    properties: dict[Any, Any]
    for name in natives.basis(device.native):
        if ARITY[name][0] == 1:
            properties = {
                (place,): InstructionProperties(
                    error=0.0 if is_virtual(name, [1.0]) else device.qubit(label).error
                )
                for label, place in places.items()
            }
        else:
            properties = {pair: InstructionProperties(error=each) for pair, each in pairs.items()}
        target.add_instruction(gates[name], properties)
    readout = {
        (place,): InstructionProperties(
            error=(device.qubit(label).r01 + device.qubit(label).r10) / 2
        )
        for label, place in places.items()
    }
    target.add_instruction(Measure(), readout)
    target.add_instruction(Reset(), dict.fromkeys(readout))
    target.add_instruction(Delay(Parameter("t")), dict.fromkeys(readout))
    return target


def _pairs(device: Device, places: dict[str, int]) -> dict[tuple[int, int], float]:
    if device.all_to_all:
        every = range(len(places))
        return {(a, b): device.pair_average for a in every for b in every if a != b}
    found: dict[tuple[int, int], float] = {}
    for pair, error in device.pairs.items():
        first, _, second = pair.partition("-")
        a, b = places[first], places[second]
        found[a, b] = found[b, a] = error
    return found


@lru_cache(maxsize=64)
def _passes(device: Device, layout: tuple[int, ...], effort: int) -> Any:
    """Return what compiles for a device; to make it takes as long as to compile a small circuit."""
    from qiskit.transpiler import generate_preset_pass_manager  # noqa: PLC0415

    return generate_preset_pass_manager(
        optimization_level=effort,
        target=_target(device),
        initial_layout=list(layout) or None,
        seed_transpiler=SEED,
    )


def _transpiled(circuit: Circuit, device: Device, layout: list[str], effort: int) -> Circuit:
    from qiskit.exceptions import QiskitError  # noqa: PLC0415 (seconds; only where compiled)

    places = {label: number for number, label in enumerate(device.labels)}
    for label in layout:
        if label not in places:
            raise UnsupportedError(f"{device.id} has no qubit {label}.")
    if layout and len(layout) != circuit["qubits"]:
        raise UnsupportedError(
            f"The layout names {len(layout)} qubits for a circuit of {circuit['qubits']}."
        )
    try:
        passes = _passes(device, tuple(places[label] for label in layout), max(0, min(effort, 3)))
        found = passes.run(to_qiskit(circuit))
    except QiskitError as error:
        raise UnsupportedError(
            f"The circuit cannot be compiled for {device.id}.", str(error)
        ) from error
    return _from_qiskit(found, circuit, device)


def _from_qiskit(found: Any, circuit: Circuit, device: Device) -> Circuit:
    """Return Qiskit's circuit over the used qubits alone, in the vendor's gates."""
    ops = []
    for each in found.data:
        places = [found.find_bit(qubit).index for qubit in each.qubits]
        name = each.operation.name
        if name == "measure":
            params = [found.find_bit(each.clbits[0]).index]
        else:
            params = [float(value) for value in each.operation.params] if name != "barrier" else []
        ops.append([name, places, params])
    used = sorted({place for name, places, _ in ops if name != "barrier" for place in places})
    compact = {place: number for number, place in enumerate(used)}
    kept = [
        [name, [compact[place] for place in places if place in compact], params]
        for name, places, params in ops
    ]
    plain = {
        "qubits": len(used),
        "bits": circuit["bits"],
        "registers": circuit["registers"],
        "ops": kept,
        "labels": [device.labels[place] for place in used],
    }
    if circuit.get("pragmas"):
        plain["pragmas"] = circuit["pragmas"]
    return natives.renamed(plain, device.native)


def to_qiskit(circuit: Circuit) -> Any:
    """Return a circuit as Qiskit's."""
    from qiskit import QuantumCircuit  # noqa: PLC0415

    found = QuantumCircuit(circuit["qubits"], circuit["bits"])
    for name, qubits, params in circuit["ops"]:
        if name == "measure":
            found.measure(qubits[0], params[0])
        elif name == "barrier":
            found.barrier(*qubits)
        elif name == "reset":
            found.reset(qubits[0])
        elif name == "delay":
            found.delay(params[0], qubits[0], unit="s")
        else:
            _append(found, name, qubits, params)
    return found


_Writer = Callable[[Any, list[int], list[float]], None]


def _append(found: Any, name: str, qubits: list[int], params: list[float]) -> None:
    writer = _WRITERS.get(name)
    if writer is not None:
        writer(found, qubits, params)
    else:
        getattr(found, name)(*params, *qubits)


def _ms(found: Any, qubits: list[int], params: list[float]) -> None:
    phases = [each * TURN for each in params[:2]]
    for qubit, phase in zip(qubits, phases, strict=True):
        found.rz(-phase, qubit)
    found.rxx(params[2] * TURN, *qubits)
    for qubit, phase in zip(qubits, phases, strict=True):
        found.rz(phase, qubit)


def _phased_xz(found: Any, qubits: list[int], params: list[float]) -> None:
    found.r(params[0] * math.pi, params[2] * math.pi, qubits[0])
    found.rz(params[1] * math.pi, qubits[0])


def _xy(found: Any, qubits: list[int], params: list[float]) -> None:
    from qiskit.circuit.library import XXPlusYYGate  # noqa: PLC0415

    found.append(XXPlusYYGate(-params[0]), qubits)


_WRITERS: dict[str, _Writer] = {
    "prx": lambda found, q, p: found.r(*p, q[0]),
    "phasedx": lambda found, q, p: found.r(*p, q[0]),
    "zzphase": lambda found, q, p: found.rzz(*p, *q),
    "zz": lambda found, q, p: found.rzz(p[0] * TURN, *q),
    "gpi": lambda found, q, p: found.r(math.pi, p[0] * TURN, q[0]),
    "gpi2": lambda found, q, p: found.r(math.pi / 2, p[0] * TURN, q[0]),
    "ms": _ms,
    "phased_xz": _phased_xz,
    "xy": _xy,
}
