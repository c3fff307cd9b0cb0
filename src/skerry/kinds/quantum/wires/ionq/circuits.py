"""Circuits in IonQ's JSON as ours.

`qis` gates take radians (`rotation`), native ones take turns (`phase`, `phases`, `angle`). A gate
with `controls` is done where all of them are 1. `pauliexp` is exp(-i time Σ c P) of terms that
commute; the last letter of a term is for the first target. At the end every qubit is read, qubit
`i` into bit `i`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.worker.ir import Circuit, Op, UnsupportedError
from skerry.kinds.quantum.worker.names import under_control

QUBITS_MAX = 4096
GATES_MAX = 200_000
NATIVE = frozenset({"gpi", "gpi2", "ms", "zz"})
_PLAIN = {
    "x": "x",
    "not": "x",
    "y": "y",
    "z": "z",
    "h": "h",
    "s": "s",
    "si": "sdg",
    "t": "t",
    "ti": "tdg",
    "v": "sx",
    "vi": "sxdg",
    "swap": "swap",
}
_TURNED = {"rx": "rx", "ry": "ry", "rz": "rz", "xx": "rxx", "yy": "ryy", "zz": "rzz", "z": "p"}
_QUARTER_TURN = 0.25
_FULL_ANGLE = 0.25


def circuit(found: Any, qubits: int, gateset: str) -> Circuit:
    """Return a circuit; raise INVALID with the number of the gate that is wrong."""
    if not isinstance(found, list) or len(found) > GATES_MAX:
        raise INVALID(f"A circuit is a list of at most {GATES_MAX} gates.")
    if not 1 <= qubits <= QUBITS_MAX:
        raise INVALID(f"A circuit has 1 to {QUBITS_MAX} qubits, not {qubits}.")
    ops: list[Op] = []
    for number, gate in enumerate(found):
        try:
            ops += _gate(gate, gateset)
        except UnsupportedError as error:
            raise INVALID(f"Gate {number}: {error.what}", why=error.why) from error
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"[:200]
            raise INVALID(f"Gate {number} is malformed.", why=why) from error
    ops += [["measure", [each], [each]] for each in range(qubits)]
    return {"qubits": qubits, "bits": qubits, "registers": [["c", 0, qubits]], "ops": ops}


def _gate(gate: dict[str, Any], gateset: str) -> list[Op]:
    name = str(gate["gate"])
    targets = _places(gate, "target")
    if gateset == "native":
        return [_native(name, targets, gate)]
    if name == "pauliexp":
        return _exponential(targets, gate)
    controls = _places(gate, "control")
    if name == "cnot":
        name = "x"
    if "rotation" in gate and name in _TURNED:
        ops: list[Op] = [[_TURNED[name], targets, [float(gate["rotation"])]]]
    elif name in _PLAIN:
        wanted = 2 if name == "swap" else 1
        groups = [targets] if wanted == 2 else [[each] for each in targets]
        ops = [[_PLAIN[name], each, []] for each in groups]
    else:
        raise UnsupportedError(f"There is no gate {name[:20]} in the set {gateset[:10]}.")
    for control in controls:
        ops = [each for op in ops for each in under_control(control, op)]
    return ops


def _places(gate: dict[str, Any], name: str) -> list[int]:
    found = gate.get(f"{name}s", gate.get(name, []))
    places = found if isinstance(found, list) else [found]
    return [int(each) for each in places]


def _native(name: str, targets: list[int], gate: dict[str, Any]) -> Op:
    if name in ("gpi", "gpi2"):
        return [name, targets, [float(gate["phase"])]]
    if name == "ms":
        first, second = gate["phases"]
        angle = gate.get("angle", gate.get("angles", _FULL_ANGLE))
        return ["ms", targets, [float(first), float(second), float(angle)]]
    if name == "zz":
        angle = gate.get("angle", gate.get("phase", _QUARTER_TURN))
        return ["zz", targets, [float(angle)]]
    raise UnsupportedError(f"There is no native gate {name[:20]}.")


def _exponential(targets: Sequence[int], gate: dict[str, Any]) -> list[Op]:
    terms = [str(each) for each in gate["terms"]]
    for position, first in enumerate(terms):
        for second in terms[position + 1 :]:
            pairs = zip(first, second, strict=True)
            if sum("I" not in pair and pair[0] != pair[1] for pair in pairs) % 2:
                raise UnsupportedError("Terms that do not commute are not exponentiated here.")
    ops: list[Op] = []
    for term, coefficient in zip(terms, gate["coefficients"], strict=True):
        angle = 2.0 * float(coefficient) * float(gate["time"])
        ops += _rotation(targets, term, angle)
    return ops


def _rotation(targets: Sequence[int], term: str, angle: float) -> list[Op]:
    """Return exp(-i angle/2 P) of one Pauli string P."""
    if len(term) != len(targets) or not set(term) <= set("IXYZ"):
        raise UnsupportedError(f"{term[:40]} is no Pauli string of {len(targets)} qubits.")
    used = [
        (place, sign) for place, sign in zip(targets, reversed(term), strict=True) if sign != "I"
    ]
    if not used:
        return []
    before: list[Op] = []
    after: list[Op] = []
    for place, sign in used:
        if sign == "X":
            before.append(["h", [place], []])
            after.append(["h", [place], []])
        elif sign == "Y":
            before.append(["rx", [place], [math.pi / 2]])
            after.append(["rx", [place], [-math.pi / 2]])
    ladder: list[Op] = [["cx", [first[0], second[0]], []] for first, second in pairwise(used)]
    turn: Op = ["rz", [used[-1][0]], [angle]]
    return [*before, *ladder, turn, *reversed(ladder), *after]
