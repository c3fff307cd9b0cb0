"""Compiles circuits for a device with Qiskit's transpiler, or checks what is already compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from . import natives, qiskit_conditions, stretching
from .conditions import bits_of
from .devices import Device, is_virtual
from .ir import (
    ARITY,
    BLOCKS,
    NOT_GATES,
    TURN,
    Circuit,
    Op,
    UnsupportedError,
    decided,
    flat,
    has_loop,
    is_dynamic,
    line_of_choice,
    mapped,
)

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
    line = line_of_choice(circuit)
    if line is None:
        plain, kept = stretching.marked(circuit)
        found = _for_device(plain, device, level, layout, effort)
        return stretching.settled(stretching.unmarked(found, kept), device) if kept else found
    if stretching.is_open(circuit):
        stretching.settled(circuit, device)  # refuses it
    _may_decide(circuit, device, line)
    if device.feedforward == "pulses":
        _only_pulses(circuit, device)
    return _for_device(circuit, device, level, layout, effort)


def _may_decide(circuit: Circuit, device: Device, line: int) -> None:
    if not device.feedforward:
        raise UnsupportedError(
            f"An `if` on a measured bit cannot run on {device.id}.",
            "Nothing that was read says that the machine decides while a circuit runs.",
            line,
        )
    if device.feedforward != "loops" and has_loop(circuit["ops"]):
        raise UnsupportedError(
            f"A loop that measured bits end cannot run on {device.id}.",
            "Nothing that was read says that the machine repeats while a circuit runs.",
            line,
        )


def _only_pulses(circuit: Circuit, device: Device) -> None:
    """Raise UnsupportedError for choices beyond those of a machine whose pulses alone depend."""
    for op in circuit["ops"]:
        if op[0] == "set":
            raise UnsupportedError(f"Nothing is computed of measured bits on {device.id}.")
        if op[0] not in BLOCKS:
            continue
        condition, then, otherwise, line = op[2]
        if len(bits_of(condition)) > 1:
            what = f"A choice on {device.id} depends on one measured bit."
            raise UnsupportedError(what, line=line)
        for name, qubits, _ in (*then, *otherwise):
            if name != "barrier" and (name in NOT_GATES or len(qubits) > 1):
                raise UnsupportedError(
                    f"{name} cannot depend on a measured bit on {device.id}.",
                    f"Only {device.native[0]} can.",
                    line,
                )


def _for_device(
    circuit: Circuit, device: Device, level: str, layout: list[str], effort: int
) -> Circuit:
    needed = circuit["qubits"]
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
    for name, _, _ in flat(circuit["ops"]):
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
    for name, qubits, _ in flat(circuit["ops"]):
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
def _target(device: Device, dynamic: bool) -> Any:
    from qiskit.circuit import (  # noqa: PLC0415
        Delay,
        IfElseOp,
        Measure,
        Parameter,
        Reset,
        Store,
        WhileLoopOp,
    )
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
    if dynamic:
        target.add_instruction(IfElseOp, name="if_else")
        target.add_instruction(WhileLoopOp, name="while_loop")
        target.add_instruction(Store, name="store")
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
def _passes(device: Device, layout: tuple[int, ...], effort: int, dynamic: bool) -> Any:
    """Return what compiles for a device; to make it takes as long as to compile a small circuit."""
    from qiskit.transpiler import generate_preset_pass_manager  # noqa: PLC0415

    return generate_preset_pass_manager(
        optimization_level=effort,
        target=_target(device, dynamic),
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
        placed = tuple(places[label] for label in layout)
        passes = _passes(device, placed, max(0, min(effort, 3)), is_dynamic(circuit))
        found = passes.run(to_qiskit(circuit))
    except QiskitError as error:
        raise UnsupportedError(
            f"The circuit cannot be compiled for {device.id}.", str(error)
        ) from error
    return _from_qiskit(found, circuit, device)


def _from_qiskit(found: Any, circuit: Circuit, device: Device) -> Circuit:
    """Return Qiskit's circuit over the used qubits alone, in the vendor's gates."""
    ops = [_op_from(each, found, {}, {}) for each in found.data]
    used = sorted({place for name, places, _ in flat(ops) if name != "barrier" for place in places})
    compact = {place: number for number, place in enumerate(used)}

    def moved(op: Op) -> Op:
        name, places, params = op
        return [name, [compact[place] for place in places if place in compact], params]

    kept = mapped(ops, moved)
    plain = {
        "qubits": len(used),
        "bits": circuit["bits"],
        "registers": circuit["registers"],
        "ops": kept,
        "labels": [device.labels[place] for place in used],
    }
    plain |= {name: circuit[name] for name in ("pragmas", "hidden") if circuit.get(name)}
    return natives.renamed(plain, device.native)


def _op_from(each: Any, found: Any, qubits: dict[Any, int], bits: dict[Any, int]) -> Op:
    """Return an instruction of Qiskit's circuit, whose block has the outer qubits and bits."""
    places = [qubits.get(q, found.find_bit(q).index) for q in each.qubits]
    targets = [bits.get(c, found.find_bit(c).index) for c in each.clbits]
    name = each.operation.name
    if name == "measure":
        return [name, places, targets]
    if name == "barrier":
        return [name, places, []]
    outer = {bit: bits.get(bit, number) for number, bit in enumerate(found.clbits)}
    if name == "store":
        return ["set", [], qiskit_conditions.stored(each.operation, outer.__getitem__)]
    if name not in ("if_else", "while_loop"):
        return [name, places, [float(value) for value in each.operation.params]]
    branches = []
    for block in each.operation.blocks:
        inner = dict(zip(block.qubits, places, strict=True))
        read = dict(zip(block.clbits, targets, strict=True))
        branches.append([_op_from(op, block, inner, read) for op in block.data])
    condition = qiskit_conditions.read(each.operation.condition, outer.__getitem__)
    then, otherwise = (*branches, [])[:2]
    kind = "if" if name == "if_else" else "while"
    return decided([kind, [], [condition, [], [], 0]], then, otherwise)


def to_qiskit(circuit: Circuit) -> Any:
    """Return a circuit as Qiskit's."""
    from qiskit import QuantumCircuit  # noqa: PLC0415

    found = QuantumCircuit(circuit["qubits"], circuit["bits"])
    write(found, circuit["ops"], _add)
    return found


Add = Callable[[Any, str, list[int], list[Any]], None]


def write(found: Any, ops: list[Op], add: Add, *, fenced: bool = False) -> None:
    """Add operations to a circuit of Qiskit's, blocks with theirs; `add` adds gates and so on.

    `fenced` blocks touch every qubit, by a barrier at their beginning.
    """
    for name, qubits, params in ops:
        if name == "set":
            bit, condition = params
            found.store(found.clbits[bit], qiskit_conditions.written(condition, found.clbits))
        elif name == "while":
            with found.while_loop(qiskit_conditions.written(params[0], found.clbits)):
                _write_block(found, params[1], add, fenced)
        elif name == "if":
            with found.if_test(qiskit_conditions.written(params[0], found.clbits)) as otherwise:
                _write_block(found, params[1], add, fenced)
            if params[2]:
                with otherwise:
                    _write_block(found, params[2], add, fenced)
        else:
            add(found, name, qubits, params)


def _write_block(found: Any, ops: list[Op], add: Add, fenced: bool) -> None:
    if fenced:
        found.barrier()
    write(found, ops, add, fenced=fenced)


def _add(found: Any, name: str, qubits: list[int], params: list[Any]) -> None:
    if name == "measure":
        found.measure(qubits[0], params[0])
    elif name == "barrier":
        found.barrier(*qubits)
    elif name == "reset":
        found.reset(qubits[0])
    elif name == "delay":
        found.delay(params[0], qubits[0], unit="s")
    else:
        append(found, name, qubits, params)


_Writer = Callable[[Any, list[int], list[float]], None]


def append(found: Any, name: str, qubits: list[int], params: list[float]) -> None:
    """Add a gate to a circuit of Qiskit's."""
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
