"""From Qiskit's gates to those of a vendor, and back.

A device's own set is compiled for by an equivalent set that Qiskit's transpiler knows; then every
gate is renamed. IonQ's machines have no rotation about z: it is carried along as a phase of the
gates that follow (https://docs.ionq.com, native gates).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .ir import TURN, Circuit, Op, UnsupportedError

_SETS: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (frozenset({"prx", "cz"}), ("r", "cz")),
    (frozenset({"rx", "rz", "cz"}), ("rz", "sx", "x", "cz")),
    (frozenset({"rz", "sx", "x", "cz"}), ("rz", "sx", "x", "cz")),
    (frozenset({"rz", "sx", "x", "ecr"}), ("rz", "sx", "x", "ecr")),
    (frozenset({"phased_xz", "cz"}), ("r", "rz", "cz")),
    (frozenset({"gpi", "gpi2", "zz"}), ("rz", "sx", "x", "rzz")),
    (frozenset({"gpi", "gpi2", "ms"}), ("rz", "sx", "x", "rxx")),
    (frozenset({"phasedx", "rz", "zzphase"}), ("r", "rz", "rzz")),
    (frozenset({"r", "rz", "rxx"}), ("r", "rz", "rxx")),
)


def basis(native: tuple[str, ...]) -> tuple[str, ...]:
    """Return the gates to compile for; raise UnsupportedError for a set that is not known."""
    for own, compiled in _SETS:
        if own == frozenset(native):
            return compiled
    raise UnsupportedError(f"Nothing here compiles for the gates {', '.join(native)}.")


def renamed(circuit: Circuit, native: tuple[str, ...]) -> Circuit:
    """Return a circuit over the compiled set with the vendor's gates."""
    if "gpi" in native:
        return circuit | {"ops": _framed(circuit)}
    rule = _RULES.get(frozenset(native))
    if rule is None:
        return circuit
    return circuit | {"ops": [rule(op) for op in circuit["ops"]]}


def _iqm(op: Op) -> Op:
    return ["prx", *op[1:]] if op[0] == "r" else op


def _rigetti(op: Op) -> Op:
    angle = {"sx": math.pi / 2, "x": math.pi}.get(op[0])
    return op if angle is None else ["rx", op[1], [angle]]


def _google(op: Op) -> Op:
    name, qubits, params = op
    if name == "r":
        return ["phased_xz", qubits, [params[0] / math.pi, 0.0, params[1] / math.pi]]
    if name == "rz":
        return ["phased_xz", qubits, [0.0, params[0] / math.pi, 0.0]]
    return op


def _quantinuum(op: Op) -> Op:
    return [{"r": "phasedx", "rzz": "zzphase"}.get(op[0], op[0]), *op[1:]]


_RULES: dict[frozenset[str], Callable[[Op], Op]] = {
    frozenset({"prx", "cz"}): _iqm,
    frozenset({"rx", "rz", "cz"}): _rigetti,
    frozenset({"phased_xz", "cz"}): _google,
    frozenset({"phasedx", "rz", "zzphase"}): _quantinuum,
}


def _framed(circuit: Circuit) -> list[Op]:
    """Return IonQ's gates; `frame` is the rotation about z that each qubit still owes."""
    frame = [0.0] * circuit["qubits"]
    ops: list[Op] = []
    for name, qubits, params in circuit["ops"]:
        first = qubits[0] if qubits else 0
        if name == "rz":
            frame[first] += params[0]
        elif name in ("sx", "x"):
            gate = "gpi2" if name == "sx" else "gpi"
            ops.append([gate, qubits, [_turns(-frame[first])]])
        elif name == "rzz":
            rest, flipped = _halves(params[0])
            if rest:
                ops.append(["zz", qubits, [rest / TURN]])
            if flipped:  # exp(-i pi/2 ZZ) is Z on both qubits: half a turn in each frame
                for each in qubits:
                    frame[each] += math.pi
        elif name == "rxx":
            ops += _ms(qubits, [_turns(-frame[each]) for each in qubits], params[0])
        else:
            if name == "reset":
                frame[first] = 0.0
            ops.append([name, qubits, params])
    return ops


def _turns(angle: float) -> float:
    return angle / TURN % 1.0


def _halves(angle: float) -> tuple[float, bool]:
    """Return an angle in (-pi/2, pi/2] and whether half a turn of both qubits is left over."""
    steps = round(angle / math.pi)
    return angle - steps * math.pi, bool(steps % 2)


def _ms(qubits: list[int], phases: list[float], angle: float) -> list[Op]:
    rest, flipped = _halves(angle)
    if rest < 0:
        rest, phases = -rest, [(phases[0] + 0.5) % 1.0, phases[1]]
    # exp(-i pi/2 XX) is X on both qubits.
    both: list[Op] = [["gpi", [each], [phase]] for each, phase in zip(qubits, phases, strict=True)]
    return [*([["ms", qubits, [*phases, rest / TURN]]] if rest else []), *(both if flipped else [])]
