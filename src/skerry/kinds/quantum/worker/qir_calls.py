"""The calls of QIR on qubits and results, which both profiles share, and the operations they are.

Source: the QIR specification, the instruction set of the base profile.
"""

from __future__ import annotations

import re

from .ir import ARITY, Op, UnsupportedError

CALL = re.compile(r"\s*(?:tail )?call \S+ @__quantum__(qis|rt)__(\w+?)(?:__(body|adj))?\((.*)\)")
PLACE = re.compile(
    r"(?:ptr|%(?:Qubit|Result)\*)\s+(?:(null)|inttoptr\s*\(i64 (\d+) to [^)]+\))(?:,|$)"
)
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


def _wires(name: str) -> int:
    return ARITY[_GATES[name]][0]
