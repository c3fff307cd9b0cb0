"""Reads QIR of the base profile (LLVM's text), and Q#, which Microsoft's compiler makes QIR of.

A program of the base profile is one straight line of calls on qubits with numbers of their own;
what branches or computes while it runs is refused with its line. Nothing of it is executed: the
calls are read as text. Source: the QIR specification, profile `base_profile`.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from .ir import Circuit, Op, UnsupportedError

LINES_MAX = 1_000_000
QUBITS_MAX = 4096
_CALL = re.compile(r"\s*(?:tail )?call \S+ @__quantum__(qis|rt)__(\w+?)(?:__(body|adj))?\((.*)\)")
_PLACE = re.compile(
    r"(?:ptr|%(?:Qubit|Result)\*)\s+(?:(null)|inttoptr\s*\(i64 (\d+) to [^)]+\))(?:,|$)"
)
_NUMBER = re.compile(r"double\s+(0x[0-9A-Fa-f]{16}|[-+0-9.eE]+)")
_BRANCH = re.compile(r"\s*(?:br i1|switch|%\S+ = (?:phi|load|call|icmp|select)\b)")
_RECORD = re.compile(r"call \S+ @__quantum__rt__(\w+?)_record_output\((.*)\)")
_COUNT = re.compile(r"i64 (\d{1,9})\b")
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
    ops: list[Op] = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if number > LINES_MAX:
            raise UnsupportedError(f"The program has more than {LINES_MAX} lines.")
        if line.startswith("define "):
            if inside:
                raise UnsupportedError("A program has one function.", line=number)
            inside = True
        elif inside and line.strip():
            _add(line, number, ops)
    qubits = 1 + max((q for op in ops for q in op[1]), default=-1)
    bits = 1 + max((op[2][0] for op in ops if op[0] == "measure"), default=-1)
    if max(qubits, bits) > QUBITS_MAX:
        raise UnsupportedError(f"The program has more than {QUBITS_MAX} qubits.")
    registers: list[Any] = [["c", 0, bits]] if bits else []
    return {"qubits": qubits, "bits": bits, "registers": registers, "ops": ops}


def _add(line: str, number: int, ops: list[Op]) -> None:
    if _BRANCH.match(line):
        raise UnsupportedError(
            "The program decides while it runs.", "Compile it for the base profile.", number
        )
    found = _CALL.match(line)
    if found is None or found[1] == "rt":
        return
    _, name, form, arguments = found.groups()
    places = [int(index or 0) for _, index in _PLACE.findall(arguments)]
    angles = [_number(each) for each in _NUMBER.findall(arguments)]
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


def recorded(text: str) -> Any:
    """Return what a program records: the number of a bit, or `["array" | "tuple", [what, …]]`.

    None stands for nothing; several things side by side are a tuple. Raise UnsupportedError for
    what is not measured but computed. Source: the QIR specification, output recording.
    """
    found: list[Any] = []
    open_ones: list[tuple[list[Any], int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        call = _RECORD.search(line)
        if call is None:
            continue
        sort, arguments = call.groups()
        made: Any
        if sort == "result":
            made = _result(arguments, number)
        elif sort in ("array", "tuple"):
            made = [sort, []]
        else:
            raise UnsupportedError(
                f"The program records a value that it computes ({sort}).",
                "Compile it for the base profile.",
                number,
            )
        (open_ones[-1][0] if open_ones else found).append(made)
        if sort != "result":
            open_ones.append((made[1], _size(arguments, number)))
        while open_ones and len(open_ones[-1][0]) >= open_ones[-1][1]:
            open_ones.pop()
    if open_ones:
        raise UnsupportedError("The program records less than it announces.")
    return found[0] if len(found) == 1 else ["tuple", found] if found else None


def _result(arguments: str, number: int) -> int:
    place = _PLACE.match(arguments.strip())
    if place is None:
        raise UnsupportedError("The program records a result that has no number.", line=number)
    return int(place[2] or 0)


def _size(arguments: str, number: int) -> int:
    size = _COUNT.match(arguments.strip())
    if size is None or int(size[1]) > QUBITS_MAX:
        raise UnsupportedError(f"An array has at most {QUBITS_MAX} places.", line=number)
    return int(size[1])


def _wires(name: str) -> int:
    from .ir import ARITY  # noqa: PLC0415

    return ARITY[_GATES[name]][0]


def _number(text: str) -> float:
    if text.startswith("0x"):
        value: float = struct.unpack(">d", bytes.fromhex(text[2:]))[0]
        return value
    return float(text)


def compiled(source: str) -> str:
    """Return the QIR of a program in Q#, whose entry is `Main`; raise UnsupportedError."""
    try:
        from qdk import TargetProfile, qsharp  # noqa: PLC0415
    except ImportError as error:
        raise UnsupportedError(
            "Q# needs Microsoft's qdk.", "pip install 'skerry[quantum]'"
        ) from error
    try:
        qsharp.init(target_profile=TargetProfile.Base)
        qsharp.eval(source)
        return str(qsharp.compile("Main()"))
    except Exception as error:  # the compiler's own errors have no common class
        text = " ".join(str(error).split())[:600]
        raise UnsupportedError("The program in Q# cannot be compiled.", text) from error
