"""Reads QIR of the base profile (LLVM's text), and Q#, which Microsoft's compiler makes QIR of.

A program of the base profile is one straight line of calls on qubits with numbers of their own;
what branches or computes while it runs is read by `qir_adaptive`. Nothing of it is executed: the
calls are read as text. Source: the QIR specification, profile `base_profile`.
"""

from __future__ import annotations

import base64
import re
import struct
from typing import Any

from .ir import Circuit, Op, UnsupportedError, flat

LINES_MAX = 1_000_000
QUBITS_MAX = 4096
CALL = re.compile(r"\s*(?:tail )?call \S+ @__quantum__(qis|rt)__(\w+?)(?:__(body|adj))?\((.*)\)")
PLACE = re.compile(
    r"(?:ptr|%(?:Qubit|Result)\*)\s+(?:(null)|inttoptr\s*\(i64 (\d+) to [^)]+\))(?:,|$)"
)
_NUMBER = re.compile(r"double\s+(0x[0-9A-Fa-f]{16}|[-+0-9.eE]+)")
_BRANCH = re.compile(r"\s*(?:br i1|switch|unreachable|%\S+ = )")
_RECORD = re.compile(r"call \S+ @__quantum__rt__(\w+?)_record_output\((.*)\)")
_COMPUTED = re.compile(r"@__quantum__rt__(?:bool|int|double)_record_output")
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
    decides = False
    for number, line in enumerate(text.splitlines(), 1):
        if number > LINES_MAX:
            raise UnsupportedError(f"The program has more than {LINES_MAX} lines.")
        if line.startswith("define "):
            if inside:
                raise UnsupportedError("A program has one function.", line=number)
            inside = True
        elif inside and _BRANCH.match(line):
            decides = True
        elif inside and not decides and line.strip():
            ops += _line(line, number)
    if decides:
        from .qir_adaptive import run  # noqa: PLC0415

        ops = run(text).ops
    every = list(flat(ops))
    qubits = 1 + max((q for op in every for q in op[1]), default=-1)
    bits = 1 + max((op[2][0] for op in every if op[0] == "measure"), default=-1)
    if max(qubits, bits) > QUBITS_MAX:
        raise UnsupportedError(f"The program has more than {QUBITS_MAX} qubits.")
    registers: list[Any] = [["c", 0, bits]] if bits else []
    return {"qubits": qubits, "bits": bits, "registers": registers, "ops": ops}


def _line(line: str, number: int) -> list[Op]:
    found = CALL.match(line)
    if found is None or found[1] == "rt":
        return []
    _, name, form, arguments = found.groups()
    places = [place_of(each) for each in PLACE.finditer(arguments)]
    angles = [_number(each) for each in _NUMBER.findall(arguments)]
    return operations(name, form, places, angles, number)


def place_of(found: re.Match[str]) -> int:
    """Return the number of a qubit or a result in an argument."""
    return int(found[2] or 0)


def operations(
    name: str, form: str, places: list[int], angles: list[float], number: int
) -> list[Op]:
    """Return what one call does; raise UnsupportedError with its line."""
    if name in _READS and len(places) == 2:
        read: Op = ["measure", [places[0]], [places[1]]]
        return [read, ["reset", [places[0]], []]] if name == "mresetz" else [read]
    if name == "reset" and len(places) == 1:
        return [["reset", places, []]]
    if name in _GATES and len(places) == _wires(name) and len(angles) == (name[0] == "r"):
        gate = _ADJOINT.get(name, "") if form == "adj" else _GATES[name]
        if not gate:
            raise UnsupportedError(f"There is no adjoint of {name}.", line=number)
        if len(set(places)) != len(places):
            raise UnsupportedError(f"{name} names one qubit twice.", line=number)
        return [[gate, places, angles]]
    raise UnsupportedError(f"The instruction {name} is not known.", line=number)


def recorded(text: str) -> Any:
    """Return what a program records: the number of a bit, or `["array" | "tuple", [what, …]]`.

    What it computes is `["value", [[number, condition], …]]`. None stands for nothing; several
    things side by side are a tuple. Source: the QIR specification, output recording.
    """
    values: dict[int, list[Any]] = {}
    if any(_COMPUTED.search(line) for line in text.splitlines()):
        from .qir_adaptive import run  # noqa: PLC0415

        values = run(text).values
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
        elif number in values:
            made = ["value", values[number]]
        else:
            raise UnsupportedError(f"The program records what is not known ({sort}).", line=number)
        (open_ones[-1][0] if open_ones else found).append(made)
        if sort in ("array", "tuple"):
            open_ones.append((made[1], _size(arguments, number)))
        while open_ones and len(open_ones[-1][0]) >= open_ones[-1][1]:
            open_ones.pop()
    if open_ones:
        raise UnsupportedError("The program records less than it announces.")
    return found[0] if len(found) == 1 else ["tuple", found] if found else None


def _result(arguments: str, number: int) -> int:
    place = PLACE.match(arguments.strip())
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


def disassembled(params: dict[str, Any]) -> str:
    """Return the text of a program in LLVM's bitcode, which comes in base64."""
    try:
        from pyqir import Context, Module  # noqa: PLC0415
    except ImportError as error:
        raise UnsupportedError(
            "QIR as bitcode needs pyqir.", "pip install 'skerry[quantum]'"
        ) from error
    try:
        return str(Module.from_bitcode(Context(), base64.b64decode(params["source"])))
    except ValueError as error:
        raise UnsupportedError("The program is no bitcode of LLVM.", str(error)[:200]) from error


def compiled(source: str) -> str:
    """Return the QIR of a program in Q#, whose entry is `Main`; raise UnsupportedError."""
    try:
        from qdk import TargetProfile, qsharp  # noqa: PLC0415
    except ImportError as error:
        raise UnsupportedError(
            "Q# needs Microsoft's qdk.", "pip install 'skerry[quantum]'"
        ) from error
    # The base profile moves measurements to the end, which every machine takes.
    try:
        return _compiled(qsharp, TargetProfile.Base, source)
    except UnsupportedError:
        return _compiled(qsharp, TargetProfile.Adaptive_RIF, source)


def _compiled(qsharp: Any, profile: Any, source: str) -> str:
    try:
        qsharp.init(target_profile=profile)
        qsharp.eval(source)
        return str(qsharp.compile("Main()"))
    except Exception as error:  # the compiler's own errors have no common class
        text = " ".join(str(error).split())[:600]
        raise UnsupportedError("The program in Q# cannot be compiled.", text) from error
