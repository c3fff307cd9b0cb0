"""Reads QIR (LLVM's text), and Q#, which Microsoft's compiler makes QIR of.

A program of the base profile is one straight line of calls on qubits with numbers of their own; one
of the adaptive profile branches and computes while it runs (see `qir_adaptive`). Nothing of it is
executed: the calls are read as text. Source: the QIR specification, profile `base_profile`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from .ir import Circuit, Op, UnsupportedError, flat
from .qir_adaptive import Adaptive, real_of

LINES_MAX = 1_000_000
QUBITS_MAX = 4096
_CALL = re.compile(r"\s*(?:tail )?call \S+ @__quantum__(qis|rt)__(\w+?)(?:__(body|adj))?\((.*)\)")
_PLACE = re.compile(
    r"(?:ptr|%(?:Qubit|Result)\*)\s+(?:(null)|inttoptr\s*\(i64 (\d+) to [^)]+\))(?:,|$)"
)
_BRANCH = re.compile(r"\s*(?:br i1|switch|%\S+ = )")
_ANGLE = re.compile(r"double\s+(%[-\w.$]+|0x[0-9A-Fa-f]{16}|[-+0-9.eE]+)")
_GATES = {
    "h": "h",
    "x": "x",
    "y": "y",
    "z": "z",
    "s": "s",
    "t": "t",
    "sx": "sx",
    "rx": "rx",
    "ry": "ry",
    "rz": "rz",
    "rxx": "rxx",
    "ryy": "ryy",
    "rzz": "rzz",
    "cnot": "cx",
    "cx": "cx",
    "cy": "cy",
    "cz": "cz",
    "swap": "swap",
    "ccx": "ccx",
}
_ADJOINT = {"s": "sdg", "t": "tdg", "sx": "sxdg"}
_READS = frozenset({"m", "mz", "mresetz"})


def read(text: str) -> Circuit:
    """Return the circuit of a program in QIR; raise UnsupportedError with a line."""
    if "__quantum__qis__" not in text:
        raise UnsupportedError("The program is not QIR, or does nothing to a qubit.")
    inside = False
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if number > LINES_MAX:
            raise UnsupportedError(f"The program has more than {LINES_MAX} lines.")
        if line.startswith("define "):
            if inside:
                raise UnsupportedError("A program has one function.", line=number)
            inside = True
        elif inside and line.startswith("}"):
            inside = False
        elif inside and line.strip():
            lines.append((number, line))
    if any(_BRANCH.match(line) for _, line in lines):
        return _adaptive(lines)
    return _circuit([op for number, line in lines for op in _ops(line, number, _plain)])


def _circuit(ops: list[Op]) -> Circuit:
    qubits, bits = _sizes(ops)
    if max(qubits, bits) > QUBITS_MAX:
        raise UnsupportedError(f"The program has more than {QUBITS_MAX} qubits.")
    registers: list[Any] = [["c", 0, bits]] if bits else []
    return {"qubits": qubits, "bits": bits, "registers": registers, "ops": ops}


def _sizes(ops: list[Op]) -> tuple[int, int]:
    every = list(flat(ops))
    qubits = 1 + max((q for op in every for q in op[1]), default=-1)
    return qubits, 1 + max((op[2][0] for op in every if op[0] == "measure"), default=-1)


def _adaptive(lines: list[tuple[int, str]]) -> Circuit:
    """Return the circuit of a program that decides while it runs."""
    calls = [op for number, line in lines for op in _ops(line, number, lambda _: 0.0)]
    qubits, bits = _sizes(calls)
    if max(qubits, bits) > QUBITS_MAX:
        raise UnsupportedError(f"The program has more than {QUBITS_MAX} qubits.")
    times = Counter(op[2][0] for op in calls if op[0] == "measure")
    found = Adaptive(bits, {bit for bit, count in times.items() if count > 1}, _ops)
    found.read(lines)
    registers = [["c", 0, bits]] if bits else []
    circuit: Circuit = {"qubits": qubits, "bits": found.bits, "ops": found.ops}
    circuit["registers"] = [*registers, *found.recorded]
    if found.hidden:
        circuit["hidden"] = found.hidden
    return circuit


def _plain(text: str) -> float:
    raise UnsupportedError(f"{text} has no value here.")


def _ops(line: str, number: int, value_of: Callable[[str], Any]) -> list[Op]:
    """Return the operations of one instruction; `value_of` tells what is computed."""
    ops: list[Op] = []
    found = _CALL.match(line)
    if found is None or found[1] == "rt":
        return ops
    _, name, form, arguments = found.groups()
    places = [int(index or 0) for _, index in _PLACE.findall(arguments)]
    angles = [_number(each, value_of) for each in _ANGLE.findall(arguments)]
    if name in _READS and len(places) == 2:
        ops.append(["measure", [places[0]], [places[1]]])
        if name == "mresetz":
            ops.append(["reset", [places[0]], []])
    elif name == "reset" and len(places) == 1:
        ops.append(["reset", places, []])
    elif name in _GATES and len(places) == _wires(name) and len(angles) == (name[0] == "r"):
        gate = _ADJOINT.get(name, "") if form == "adj" else _GATES[name]
        if not gate:
            raise UnsupportedError(f"There is no adjoint of {name}.", line=number)
        if len(set(places)) != len(places):
            raise UnsupportedError(f"{name} names one qubit twice.", line=number)
        ops.append([gate, places, angles])
    else:
        raise UnsupportedError(f"The instruction {name} is not known.", line=number)
    return ops


def _wires(name: str) -> int:
    from .ir import ARITY  # noqa: PLC0415

    return ARITY[_GATES[name]][0]


def _number(text: str, value_of: Callable[[str], Any]) -> Any:
    if text.startswith("%"):
        return value_of(text)
    return real_of(text)


def compiled(source: str) -> str:
    """Return the QIR of a program in Q#, whose entry is `Main`; raise UnsupportedError."""
    try:
        from qdk import TargetProfile, qsharp  # noqa: PLC0415
    except ImportError as error:
        raise UnsupportedError(
            "Q# needs Microsoft's qdk.", "pip install 'skerry[quantum]'"
        ) from error

    def _for(profile: Any) -> str:
        qsharp.init(target_profile=profile)
        qsharp.eval(source)
        return str(qsharp.compile("Main()"))

    try:
        try:
            return _for(TargetProfile.Base)
        except Exception:  # what decides while it runs is none of the base profile
            return _for(TargetProfile.Adaptive_RIF)
    except Exception as error:  # the compiler's own errors have no common class
        text = " ".join(str(error).split())[:600]
        raise UnsupportedError("The program in Q# cannot be compiled.", text) from error
