"""Finds the parameters of a variational circuit, and writes the circuits that measure its energy.

The state is a vector without noise, the gradient exact: of a generator G whose eigenvalues are -1,
0 and 1, exp(-itG) is I - i sin(t) G + (cos(t) - 1) G^2, and one pass backwards gives the slope of
every parameter (T. Jones and J. Gacon, arXiv:2009.02823).
"""

from __future__ import annotations

from typing import Any, NamedTuple

STEPS_MAX = 500
SLOPE = 1e-6
"""The steepest slope, in hartree a radian, at which the optimiser stops."""

GROUPS_MAX = 40
_GATES = ["h", "sx", "x", "rz", "ry", "cx"]


class Minimum(NamedTuple):
    """The lowest energy found, its parameters, its steepest slope, and how often it was asked."""

    energy: float
    parameters: list[float]
    slope: float
    evaluations: int


def minimum(
    hamiltonian: Any, generators: list[Any], start: Any, at: list[float] | None = None
) -> Minimum:
    """Return the lowest energy that turning `start` by the generators reaches, from zero on.

    With parameters `at` which to look, that is the energy there.
    """
    import numpy as np  # noqa: PLC0415
    from scipy.optimize import minimize  # noqa: PLC0415

    squares = [each @ each for each in generators]

    def turned(state: Any, angle: float, number: int) -> Any:
        generator, square = generators[number], squares[number]
        return (
            state
            - 1j * np.sin(angle) * (generator @ state)
            + (np.cos(angle) - 1) * (square @ state)
        )

    def energy(angles: Any) -> tuple[float, Any]:
        state = start
        for number, angle in enumerate(angles):
            state = turned(state, angle, number)
        other = hamiltonian @ state
        value = float(np.vdot(state, other).real)
        slopes = np.zeros(len(angles))
        for number in reversed(range(len(angles))):
            slopes[number] = 2 * np.vdot(other, generators[number] @ state).imag
            state = turned(state, -angles[number], number)
            other = turned(other, -angles[number], number)
        return value, slopes

    if at:
        value, slopes = energy(np.array(at))
        return Minimum(value, at, float(np.abs(slopes).max(initial=0.0)), 1)
    found = minimize(
        energy,
        np.zeros(len(generators)),
        jac=True,
        method="BFGS",
        options={"maxiter": STEPS_MAX, "gtol": SLOPE},
    )
    slope = float(np.abs(found.jac).max(initial=0.0))
    return Minimum(float(found.fun), [float(each) for each in found.x], slope, int(found.nfev))


def named(circuit: Any) -> Any:
    """Return a circuit whose parameters are called a0, a1 and so on, in their order."""
    from qiskit.circuit import Parameter  # noqa: PLC0415

    return circuit.assign_parameters([Parameter(f"a{at}") for at in range(circuit.num_parameters)])


def measurements(circuit: Any, hamiltonian: Any) -> list[dict[str, Any]] | None:
    """Return circuits in OpenQASM 3 that measure an energy together, None if there are too many.

    Each has the terms that can be read from its outcomes: a weight, and the bits whose parity
    gives the sign. Terms share a circuit if they agree qubit by qubit. The identity is in none.
    """
    from qiskit import QuantumCircuit, qasm3, transpile  # noqa: PLC0415

    spread = [any(each.x) or any(each.z) for each in hamiltonian.paulis]
    groups = hamiltonian[spread].group_commuting(qubit_wise=True)
    if len(groups) > GROUPS_MAX:
        return None
    plain = transpile(circuit.decompose(reps=4), basis_gates=_GATES, optimization_level=1)
    found = []
    for group in groups:
        read = QuantumCircuit(plain.num_qubits, plain.num_qubits)
        read.compose(plain, inplace=True)
        across = group.paulis.x.any(axis=0)
        turned = (group.paulis.x & group.paulis.z).any(axis=0)
        for qubit in range(plain.num_qubits):
            if across[qubit]:
                if turned[qubit]:
                    read.rz(-1.5707963267948966, qubit)
                read.h(qubit)
        read.measure(range(plain.num_qubits), range(plain.num_qubits))
        bits = range(plain.num_qubits)
        terms = [
            [float(weight.real), [bit for bit in bits if pauli.x[bit] or pauli.z[bit]]]
            for pauli, weight in zip(group.paulis, group.coeffs, strict=True)
        ]
        found.append({"source": qasm3.dumps(read), "terms": terms})
    return found


def identity(hamiltonian: Any) -> float:
    """Return the weight of the term that every state has."""
    return sum(
        float(weight.real)
        for pauli, weight in zip(hamiltonian.paulis, hamiltonian.coeffs, strict=True)
        if not any(pauli.x) and not any(pauli.z)
    )
