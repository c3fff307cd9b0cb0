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
from .qir_adaptive import run
from .qir_calls import CALL, PLACE, operations, place_of

LINES_MAX = 1_000_000
QUBITS_MAX = 4096
_NUMBER = re.compile(r"double\s+(0x[0-9A-Fa-f]{16}|[-+0-9.eE]+)")
_BRANCH = re.compile(r"\s*(?:br i1|switch|unreachable|%\S+ = )")
_RECORD = re.compile(r"call \S+ @__quantum__rt__(\w+?)_record_output\((.*)\)")
_COMPUTED = re.compile(r"@__quantum__rt__(?:bool|int|double)_record_output")
_COUNT = re.compile(r"i64 (\d{1,9})\b")


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


def recorded(text: str) -> Any:
    """Return what a program records: the number of a bit, or `["array" | "tuple", [what, …]]`.

    What it computes is `["value", [[number, condition], …]]`. None stands for nothing; several
    things side by side are a tuple. Source: the QIR specification, output recording.
    """
    values: dict[int, list[Any]] = {}
    if any(_COMPUTED.search(line) for line in text.splitlines()):
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
