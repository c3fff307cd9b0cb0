"""From Qiskit's gates to those of a vendor, and back.

A device's own set is compiled for by an equivalent set that Qiskit's transpiler knows; then every
gate is renamed. Machines of IQM, Google and IonQ need no pulse for a rotation about z: it is
carried along as a phase of the pulses that follow (arXiv:1612.00858), so that any gate of one qubit
is one pulse (two on IonQ's).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .ir import BLOCKS, TURN, Circuit, Op, UnsupportedError, decided, mapped

_SETS: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (frozenset({"prx", "cz"}), ("rz", "rx", "cz")),
    (frozenset({"rx", "rz", "cz"}), ("rz", "sx", "x", "cz")),
    (frozenset({"rz", "sx", "x", "cz"}), ("rz", "sx", "x", "cz")),
    (frozenset({"rz", "sx", "x", "ecr"}), ("rz", "sx", "x", "ecr")),
    (frozenset({"phased_xz", "cz"}), ("rz", "rx", "cz")),
    (frozenset({"gpi", "gpi2", "zz"}), ("rz", "sx", "x", "rzz")),
    (frozenset({"gpi", "gpi2", "ms"}), ("rz", "sx", "x", "rxx")),
    (frozenset({"phasedx", "rz", "zzphase"}), ("rz", "rx", "rzz")),
    (frozenset({"r", "rz", "rxx"}), ("rz", "rx", "rxx")),
)


def basis(native: tuple[str, ...]) -> tuple[str, ...]:
    """Return the gates to compile for; raise UnsupportedError for a set that is not known."""
    for own, compiled in _SETS:
        if own == frozenset(native):
            return compiled
    raise UnsupportedError(f"Nothing here compiles for the gates {', '.join(native)}.")


_SYNONYMS = (("r", "prx", "phasedx"), ("rzz", "zzphase"))
"""Gates that vendors call by different names."""


def spelled(circuit: Circuit, native: tuple[str, ...]) -> Circuit:
    """Return a circuit with gates that a device has under another name called by its own."""
    own: dict[str, Callable[[Op], Op]] = {}
    for names in _SYNONYMS:
        known = next((name for name in names if name in native), None)
        if known is not None:
            own |= {name: _calling(known) for name in names if name != known}
    if "zz" in native and "rzz" not in native:
        own["rzz"] = lambda op: ["zz", op[1], [op[2][0] / TURN]]
    return circuit | {"ops": mapped(circuit["ops"], lambda op: own.get(op[0], _same)(op))}


def _calling(name: str) -> Callable[[Op], Op]:
    return lambda op: [name, *op[1:]]


def renamed(circuit: Circuit, native: tuple[str, ...]) -> Circuit:
    """Return a circuit over the compiled set with the vendor's gates."""
    pulse = next((_PULSES[name] for name in native if name in _PULSES), None)
    if pulse is not None:
        return circuit | {"ops": _framed(circuit["ops"], [0.0] * circuit["qubits"], pulse)}
    names = _RENAMED.get(frozenset(native), {})
    return circuit | {"ops": mapped(circuit["ops"], lambda op: names.get(op[0], _same)(op))}


def _same(op: Op) -> Op:
    return op


_RENAMED: dict[frozenset[str], dict[str, Callable[[Op], Op]]] = {
    frozenset({"rx", "rz", "cz"}): {
        "sx": lambda op: ["rx", op[1], [math.pi / 2]],
        "x": lambda op: ["rx", op[1], [math.pi]],
    },
    frozenset({"phasedx", "rz", "zzphase"}): {
        "rx": lambda op: ["phasedx", op[1], [op[2][0], 0.0]],
        "rzz": lambda op: ["zzphase", op[1], op[2]],
    },
    frozenset({"r", "rz", "rxx"}): {"rx": lambda op: ["r", op[1], [op[2][0], 0.0]]},
}

Pulse = Callable[[float, float], list[Any]]
"""Makes the name and the parameters of a rotation by an angle about an axis in the plane."""

_PULSES: dict[str, Pulse] = {
    "prx": lambda angle, axis: ["prx", [angle, axis]],
    "phased_xz": lambda angle, axis: ["phased_xz", [angle / math.pi, 0.0, axis / math.pi]],
    "gpi": lambda angle, axis: ["gpi" if angle > 2 else "gpi2", [_turns(axis)]],
}
_ROUNDING = 1e-9
_ANGLES = {"sx": math.pi / 2, "x": math.pi}


def _framed(given: list[Op], frame: list[float], pulse: Pulse) -> list[Op]:
    """Return a vendor's gates; `frame` is the rotation about z that each qubit still owes."""
    ops: list[Op] = []
    for op in given:
        name, qubits, params = op
        if name == "rz":
            frame[qubits[0]] += params[0]
        elif name in ("rx", "sx", "x"):
            gate, values = pulse(_ANGLES.get(name) or params[0], -frame[qubits[0]])
            ops.append([gate, qubits, values])
        elif name in ("rzz", "rxx"):
            ops += _paired(op, frame)
        elif name in BLOCKS:
            ops.append(decided(op, *(_settled(each, frame, pulse) for each in params[1:3])))
        else:
            if name == "reset":
                frame[qubits[0]] = 0.0
            ops.append(op)
    return ops


def _paired(op: Op, frame: list[float]) -> list[Op]:
    """Return IonQ's gates for a rotation of two qubits."""
    name, qubits, params = op
    if name == "rxx":
        return _ms(qubits, [_turns(-frame[each]) for each in qubits], params[0])
    rest, flipped = _halves(params[0])
    if flipped:  # exp(-i pi/2 ZZ) is Z on both qubits: half a turn in each frame
        for each in qubits:
            frame[each] += math.pi
    return [["zz", qubits, [rest / TURN]]] if rest else []


def _settled(given: list[Op], frame: list[float], pulse: Pulse) -> list[Op]:
    """Return a branch in a vendor's gates that owes what was owed before it.

    Which branch is taken is not known when the pulses that follow are made, so that what a branch
    owes itself is paid in it, by two half turns: R(pi, a / 2) R(pi, 0) is a rotation by a about z.
    """
    own = list(frame)
    ops = _framed(given, own, pulse)
    for qubit, (owed, before) in enumerate(zip(own, frame, strict=True)):
        rest = math.remainder(owed - before, TURN)
        if abs(rest) > _ROUNDING:
            for axis in (0.0, rest / 2):
                gate, values = pulse(math.pi, axis)
                ops.append([gate, [qubit], values])
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
