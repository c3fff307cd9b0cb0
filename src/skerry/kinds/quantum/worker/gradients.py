"""Gradients of an expectation by a program's inputs, exact: by the adjoint method on state vectors.

    #pragma braket result adjoint_gradient expectation(2 * x(q[0]) @ z(q[1]) - y(q[2])) theta, phi

One pass forward makes the state, one backward all derivatives (arXiv:2009.02823). A rotation's
derivative is its generator times the rotation. Any other gate is a trigonometric polynomial of its
angle, whose derivative is a sum over shifted angles (arXiv:2107.12390), exact but for rounding.
How an angle changes with an input is told by its expression. Braket's interpreter reads programs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from braket.default_simulator.gate_operations import BRAKET_GATES
from braket.default_simulator.openqasm.interpreter import Interpreter
from braket.default_simulator.openqasm.program_context import ProgramContext

from .ir import UnsupportedError

_PRAGMA = re.compile(
    r"^[ \t]*#pragma\s+braket\s+result\s+adjoint_gradient\s+expectation\((.*)\)\s*([^()\n]*)$",
    re.MULTILINE,
)
_RESULT = re.compile(r"^[ \t]*#pragma\s+braket\s+result\s+(\w+)", re.MULTILINE)
_FACTOR = r"[a-z]+\s*\([^()]*\)"
_TERM = re.compile(
    rf"\s*([+-]?)\s*(?:([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*\*\s*)?({_FACTOR}(?:\s*@\s*{_FACTOR})*)\s*"
)
_PART = re.compile(r"([a-z]+)\s*\(\s*(?:(\w+)(?:\s*\[\s*(\d+)\s*\])?|\$(\d+))\s*\)")
_INPUT = re.compile(r"\binput\s+\w+(?:\s*\[[^\]]*\])?\s+(\w+)\s*;")
_HALF = math.sqrt(0.5)
_OBSERVABLES = {
    "i": np.eye(2, dtype=complex),
    "x": np.array([[0, 1], [1, 0]], dtype=complex),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.array([[1, 0], [0, -1]], dtype=complex),
    "h": np.array([[_HALF, _HALF], [_HALF, -_HALF]], dtype=complex),
}
_GENERATORS = {
    **{f"r{name}": _OBSERVABLES[name] for name in "xyz"},
    **{2 * name: np.kron(_OBSERVABLES[name], _OBSERVABLES[name]) for name in "xyz"},
}
"""G of the gates that are exp(-i angle G / 2)."""

POWER_MAX = 64
COPIES = 5
"""How many states are held at once."""


class _Gate(NamedTuple):
    """A gate: its name, how its matrix is made of angles, the angles, qubits, and controls."""

    name: str
    make: Callable[..., Any]
    angles: tuple[Any, ...]
    targets: tuple[int, ...]
    controls: tuple[int, ...]
    power: int


class _Term(NamedTuple):
    coefficient: float
    factors: tuple[tuple[str, int], ...]


class Asked(NamedTuple):
    """A program whose gradient is asked for."""

    gates: list[_Gate]
    terms: list[_Term]
    observable: str
    values: dict[str, float]
    parameters: list[str]
    qubits: int


def asks(source: str) -> bool:
    """Tell whether a program asks for a gradient."""
    return any(kind == "adjoint_gradient" for kind in _RESULT.findall(source))


class _Recorder(ProgramContext):  # type: ignore[misc]
    """Takes gates with their angles as expressions of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[_Gate] = []

    def handle_parameter_value(self, value: Any) -> Any:
        return value

    def add_gate_instruction(
        self, gate_name: str, target: Any, params: Any, ctrl_modifiers: Any, power: Any
    ) -> None:
        if int(power) != power or abs(power) > POWER_MAX:
            raise UnsupportedError(f"A gate's power is a whole number up to {POWER_MAX} here.")
        held = len(ctrl_modifiers)
        kind, places = BRAKET_GATES[gate_name], tuple(int(each) for each in target)

        def make(*angles: float) -> Any:
            return kind(places[held:], *angles, power=power).matrix

        controls = tuple(int(each) for each in ctrl_modifiers)
        self.gates.append(_Gate(gate_name, make, tuple(params), places, controls, int(power)))

    def add_phase_instruction(self, target: Any, phase_value: Any) -> None:
        """A phase of the whole state changes no expectation."""

    def add_custom_unitary(self, unitary: Any, target: Any) -> None:
        places = tuple(int(each) for each in target)
        self.gates.append(_Gate("", lambda: np.asarray(unitary), (), places, (), 1))

    def add_noise_instruction(self, *_: Any, **__: Any) -> None:
        raise UnsupportedError("A state vector has no noise, so that it has no such gradient.")

    add_kraus_instruction = add_noise_instruction

    def add_measure(self, *_: Any, **__: Any) -> None:
        raise UnsupportedError("A program with result types measures nothing itself.")

    def add_reset(self, *_: Any, **__: Any) -> None:
        raise UnsupportedError("A program whose gradient is asked for resets no qubit.")


def read(source: str, bindings: dict[str, float]) -> Asked:
    """Return what a program asks for; raise UnsupportedError for what cannot be told."""
    pragma = _PRAGMA.search(source)
    if pragma is None or len(_RESULT.findall(source)) != 1:
        raise UnsupportedError(
            "A gradient is the only result type of its program.",
            "It is of one expectation: adjoint_gradient expectation(…) and its parameters.",
        )
    inputs = _INPUT.findall(source)
    names = [each.strip() for each in pragma[2].split(",") if each.strip()]
    parameters = inputs if names in ([], ["all"]) else names
    for name in parameters:
        if name not in inputs:
            raise UnsupportedError(f"The program has no input {name[:60]}.")
    context = _Recorder()
    fixed = {name: bindings[name] for name in inputs if name not in parameters}
    text = source[: pragma.start()] + source[pragma.end() :]
    Interpreter(context=context).run(source=text + "\n", inputs=fixed)
    terms = _terms(pragma[1], context)
    places = [place for each in context.gates for place in each.targets]
    places += [place for each in terms for _, place in each.factors]
    observable = re.sub(r"\([^()]*\)", "", pragma[1]).strip()
    count = max([context.num_qubits, *(place + 1 for place in places)])
    return Asked(context.gates, terms, observable, dict(bindings), parameters, count)


def _terms(text: str, context: Any) -> list[_Term]:
    found: list[_Term] = []
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None or (found and not match[1]):
            raise UnsupportedError(
                f"The observable {text[at : at + 60]!r} has no gradient here.",
                f"Known: sums of products of {', '.join(_OBSERVABLES)}, of one qubit each.",
            )
        sign = -1.0 if match[1] == "-" else 1.0
        factors = [_factor(each, context) for each in match[3].split("@")]
        if len({place for _, place in factors}) != len(factors):
            raise UnsupportedError("A product of observables names a qubit twice.")
        found.append(_Term(sign * float(match[2] or 1.0), tuple(factors)))
        at = match.end()
    return found


def _factor(text: str, context: Any) -> tuple[str, int]:
    match = _PART.fullmatch(text.strip())
    if match is None or match[1] not in _OBSERVABLES:
        raise UnsupportedError(
            f"The observable {text.strip()[:60]!r} has no gradient here.",
            f"Known: {', '.join(_OBSERVABLES)}, of one qubit each.",
        )
    if match[4]:
        return match[1], int(match[4])
    try:
        places = context.qubit_mapping[match[2]]
        if match[3] is None and len(places) != 1:
            raise IndexError
        return match[1], int(places[int(match[3] or 0)])
    except (KeyError, IndexError, TypeError) as error:
        raise UnsupportedError(f"{text.strip()[:60]!r} names no qubit.") from error


def told(asked: Asked) -> dict[str, Any]:
    """Return the expectation and its derivatives by the parameters."""
    angles = [[_number(each, asked.values) for each in gate.angles] for gate in asked.gates]
    state = np.zeros([2] * asked.qubits, dtype=complex)
    state[(0,) * asked.qubits] = 1
    matrices = [gate.make(*each) for gate, each in zip(asked.gates, angles, strict=True)]
    for gate, matrix in zip(asked.gates, matrices, strict=True):
        state = _applied(state, gate, matrix)
    other = _observed(state, asked.terms)
    expectation = float(np.real(np.vdot(state, other)))
    gradient = dict.fromkeys(asked.parameters, 0.0)
    for gate, matrix, values in zip(
        reversed(asked.gates), reversed(matrices), reversed(angles), strict=True
    ):
        state = _applied(state, gate, matrix.conj().T)
        for number, angle in enumerate(gate.angles):
            slopes = _slopes(angle, asked)
            if slopes:
                change = _applied(state, gate, _derivative(gate, values, number), alone=True)
                slope = 2 * float(np.real(np.vdot(other, change)))
                for name, inner in slopes.items():
                    gradient[name] += slope * inner
        other = _applied(other, gate, matrix.conj().T)
    return {"expectation": expectation, "gradient": gradient}


def _number(value: Any, values: dict[str, float]) -> float:
    return float(value.subs(values)) if _is_expression(value) else float(value)


def _is_expression(value: Any) -> bool:
    """Tell whether the interpreter made an expression of it, which depends on inputs."""
    return hasattr(value, "free_symbols")


def _slopes(angle: Any, asked: Asked) -> dict[str, float]:
    """Return how an angle changes with each parameter that it depends on."""
    if not _is_expression(angle):
        return {}
    return {
        str(symbol): float(angle.diff(symbol).subs(asked.values))
        for symbol in angle.free_symbols
        if str(symbol) in asked.parameters
    }


def _derivative(gate: _Gate, angles: Sequence[float], number: int) -> Any:
    """Return the derivative of a gate's matrix by one angle.

    Half angles and whole ones occur, times the gate's power: as many terms as twice the highest.
    """
    generator = _GENERATORS.get(gate.name)
    if generator is not None:
        return -0.5j * gate.power * (generator @ gate.make(*angles))
    order = 2 * max(1, abs(gate.power))
    found = 0.0
    for step in range(1, 2 * order + 1):
        place = (2 * step - 1) * math.pi / (2 * order)
        shifted = list(angles)
        shifted[number] += 2 * place  # in units of half angles
        weight = (-1) ** (step - 1) / (4 * order * math.sin(place / 2) ** 2)
        found = found + 0.5 * weight * gate.make(*shifted)
    return found


def _applied(state: Any, gate: _Gate, matrix: Any, *, alone: bool = False) -> Any:
    """Return a gate's matrix on a state; `alone` leaves nothing where a control says no."""
    held = len(gate.controls)
    if not held:
        return _on(state, matrix, gate.targets)
    place: list[Any] = [slice(None)] * state.ndim
    for qubit, value in zip(gate.targets[:held], gate.controls, strict=True):
        place[qubit] = slice(value, value + 1)
    found = np.zeros_like(state) if alone else state.copy()
    found[tuple(place)] = _on(state[tuple(place)], matrix, gate.targets[held:])
    return found


def _on(state: Any, matrix: Any, targets: Sequence[int]) -> Any:
    wires = len(targets)
    shaped = np.reshape(matrix, [2] * (2 * wires))
    found = np.tensordot(shaped, state, axes=(range(wires, 2 * wires), targets))
    return np.moveaxis(found, range(wires), targets)


def _observed(state: Any, terms: Sequence[_Term]) -> Any:
    found = np.zeros_like(state)
    for each in terms:
        part = state
        for name, place in each.factors:
            part = part if name == "i" else _on(part, _OBSERVABLES[name], (place,))
        found += each.coefficient * part
    return found
