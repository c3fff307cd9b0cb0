"""IQM's circuits, which name physical qubits and native gates, as circuits of the neutral job.

They run as they are. Every measurement has a key, under which its results are told.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import INVALID, UNSUPPORTED
from skerry.kinds.quantum.contract import Program, Result


class Instruction(msgspec.Struct, frozen=True):
    """An operation on qubits; older clients call its locus `qubits`."""

    name: str
    locus: tuple[str, ...] = ()
    qubits: tuple[str, ...] = ()
    args: dict[str, Any] = {}


class Circuit(msgspec.Struct, frozen=True):
    """A circuit."""

    instructions: tuple[Instruction, ...]
    name: str = ""


class Named(msgspec.Struct, frozen=True):
    """Which physical qubit a circuit's own name stands for."""

    logical_name: str
    physical_name: str


class Asked(msgspec.Struct, frozen=True):
    """The body of a job; settings of pulses that are not named here change nothing on a twin."""

    circuits: Annotated[tuple[Circuit | str, ...], msgspec.Meta(min_length=1)]
    shots: Annotated[int, msgspec.Meta(ge=1)] = 1
    calibration_set_id: str | None = None
    qubit_mapping: tuple[Named, ...] | dict[str, str] | None = None
    heralding_mode: str = "none"

    def names(self) -> dict[str, str]:
        """Return the physical names of the circuits' own."""
        if isinstance(self.qubit_mapping, dict):
            return self.qubit_mapping
        return {each.logical_name: each.physical_name for each in self.qubit_mapping or ()}


class Keys(msgspec.Struct, frozen=True):
    """The keys of a circuit's measurements, each with how many qubits it measures."""

    keys: tuple[tuple[str, int], ...]


def program(circuit: Circuit | str, names: dict[str, str]) -> tuple[Program, Keys]:
    """Return a circuit as a program; raise INVALID or UNSUPPORTED with the instruction's number."""
    if isinstance(circuit, str):
        raise UNSUPPORTED("QIR cannot be run on this wire.")
    writer = _Writer(names)
    for number, each in enumerate(circuit.instructions):
        writer.write(each, f"Instruction {number} of circuit {circuit.name[:60]!r}")
    if not writer.keys:
        raise INVALID(f"The circuit {circuit.name[:60]!r} measures nothing.")
    shape = {
        "qubits": len(writer.places),
        "bits": writer.bits,
        "registers": writer.registers,
        "ops": writer.ops,
        "labels": list(writer.places),
        "verbatim": True,
    }
    text = msgspec.json.encode(shape).decode()
    return Program(text, "circuit", dialect="iqm"), Keys(tuple(writer.keys.items()))


class _Writer:
    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self.places: dict[str, int] = {}
        self.ops: list[Any] = []
        self.keys: dict[str, int] = {}
        self.registers: list[tuple[str, int, int]] = []
        self.bits = 0
        self._feedback: dict[tuple[str, int], int] = {}

    def write(self, each: Instruction, where: str) -> None:
        qubits = [self._place(name, where) for name in each.locus or each.qubits]
        if each.name == "prx":
            self.ops.append(["prx", qubits, _angles(each.args, where)])
        elif each.name == "cc_prx":
            self._conditional(qubits, each.args, where)
        elif each.name in ("cz", "barrier"):
            self.ops.append([each.name, qubits, []])
        elif each.name == "reset":
            self.ops += [["reset", [qubit], []] for qubit in qubits]
        elif each.name == "delay":
            seconds = _number(each.args.get("duration"), where)
            self.ops += [["delay", [qubit], [seconds]] for qubit in qubits]
        elif each.name == "measure":
            self._measure(qubits, each.args, where)
        else:
            raise UNSUPPORTED(
                f"{where}: {each.name[:40]} cannot be run on a twin.",
                why="Known: prx, cc_prx, cz, measure, barrier, delay, reset.",
            )

    def _place(self, name: str, where: str) -> int:
        physical = self._names.get(name, name)
        if not physical.startswith("QB"):
            raise INVALID(f"{where} names {physical[:40]!r}, which is no qubit of the machine.")
        return self.places.setdefault(physical[2:], len(self.places))

    def _conditional(self, qubits: list[int], args: dict[str, Any], where: str) -> None:
        """Add a pulse that is done if a qubit was measured to be 1 for it."""
        asked = str(args.get("feedback_key")), self._place(str(args.get("feedback_qubit")), where)
        if asked not in self._feedback:
            raise INVALID(f"{where} depends on a measurement that is not before it.")
        pulse = ["prx", qubits, _angles(args, where)]
        self.ops.append(["if", qubits, [["bit", self._feedback[asked]], [pulse], [], 0]])

    def _measure(self, qubits: list[int], args: dict[str, Any], where: str) -> None:
        key, feedback = args.get("key"), args.get("feedback_key")
        if not isinstance(key, str) or not key or key in self.keys or not qubits:
            raise INVALID(f"{where}: a measurement has qubits and a key of its own.")
        self.keys[key] = len(qubits)
        self.registers.append((f"m{len(self.registers)}", self.bits, len(qubits)))
        for qubit in qubits:
            if feedback is not None:
                self._feedback[str(feedback), qubit] = self.bits
            self.ops.append(["measure", [qubit], [self.bits]])
            self.bits += 1


def _angles(args: dict[str, Any], where: str) -> list[float]:
    return [_angle(args, "angle", where), _angle(args, "phase", where)]


def _angle(args: dict[str, Any], name: str, where: str) -> float:
    """Return an angle in radians; older clients send it in turns."""
    if f"{name}_t" in args:
        return _number(args[f"{name}_t"], where) * 2 * math.pi
    return _number(args.get(name), where)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise INVALID(f"{where} has {value!r:.40} where a number belongs.")
    return float(value)


def measurements(result: Result, keys: Keys) -> dict[str, list[list[int]]]:
    """Return every shot of every measurement, by its key."""
    texts = result.memory or tuple(
        text for text, count in result.counts.items() for _ in range(count)
    )
    found: dict[str, list[list[int]]] = {}
    start = 0
    for key, size in keys.keys:
        found[key] = [[int(bit) for bit in text[start : start + size]] for text in texts]
        start += size
    return found


def counts(result: Result, keys: Keys) -> dict[str, Any]:
    """Return how often each outcome came, the measurements in the order of their keys."""
    return {"measurement_keys": [key for key, _ in keys.keys], "counts": result.counts}
