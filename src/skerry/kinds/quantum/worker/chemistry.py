"""Energies of molecules: mean field, exact, and by a variational circuit on a perfect simulator.

PySCF computes the integrals and the mean field; Qiskit Nature chooses the active space and maps
electrons to qubits (parity mapping, two qubits saved); the circuit is UCCSD. Energies are in
hartree, lengths in angstrom. `exact` is that of the same active space, `full` that of all orbitals
where there are few of them.
"""

from __future__ import annotations

import re
from typing import Any

from .ir import UnsupportedError

ATOMS_MAX = 8
QUBITS_MAX = 6
FULL_ORBITALS_MAX = 10
POINTS_MAX = 40
_ATOM = re.compile(r"\s*([A-Z][a-z]?)((?:\s+[-+]?\d+(?:\.\d*)?){3})\s*")
_BASIS = re.compile(r"[A-Za-z0-9*+\-]{1,20}")


def chemistry(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the energies of a molecule, at each of some lengths of its first bond if asked."""
    atoms = _atoms(params["molecule"])
    if not _BASIS.fullmatch(params["basis"]):
        raise UnsupportedError(f"{params['basis'][:40]!r} names no basis.")
    lengths = [float(each) for each in params.get("lengths") or ()]
    if len(lengths) > POINTS_MAX:
        raise UnsupportedError(f"At most {POINTS_MAX} lengths are computed.")
    if lengths and (len(atoms) != 2 or min(lengths) <= 0):
        raise UnsupportedError("Lengths above 0 are varied for molecules of two atoms.")
    if not lengths:
        return [_energies(atoms, params)]
    first, second = atoms[0][0], atoms[1][0]
    return [
        {
            "length": each,
            **_energies([(first, (0.0, 0.0, 0.0)), (second, (0.0, 0.0, each))], params),
        }
        for each in lengths
    ]


def _full(text: str, basis: str) -> float | None:
    """Return the energy of all electrons in all orbitals, if there are few enough."""
    from pyscf import fci, gto, scf  # noqa: PLC0415

    molecule = gto.M(atom=text, basis=basis, verbose=0)
    if molecule.nao > FULL_ORBITALS_MAX:
        return None
    field = scf.RHF(molecule).run(verbose=0)
    return float(fci.FCI(field).kernel()[0])


def _atoms(text: str) -> list[tuple[str, tuple[float, ...]]]:
    found = []
    for part in text.split(";"):
        match = _ATOM.fullmatch(part)
        if match is None:
            raise UnsupportedError(f"{part[:60]!r} is not an atom.", "Write: H 0 0 0; H 0 0 0.735")
        found.append((match[1], tuple(float(each) for each in match[2].split())))
    if len(found) > ATOMS_MAX:
        raise UnsupportedError(f"A molecule has at most {ATOMS_MAX} atoms here.")
    return found


def _energies(atoms: list[tuple[str, tuple[float, ...]]], params: dict[str, Any]) -> dict[str, Any]:
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _computed(atoms, params)


def _computed(atoms: list[tuple[str, tuple[float, ...]]], params: dict[str, Any]) -> dict[str, Any]:
    from qiskit.primitives import StatevectorEstimator  # noqa: PLC0415 (seconds)
    from qiskit_algorithms import VQE, NumPyMinimumEigensolver  # noqa: PLC0415
    from qiskit_algorithms.optimizers import SLSQP  # noqa: PLC0415
    from qiskit_nature import QiskitNatureError  # noqa: PLC0415
    from qiskit_nature.second_q.algorithms import GroundStateEigensolver  # noqa: PLC0415
    from qiskit_nature.second_q.circuit.library import UCCSD, HartreeFock  # noqa: PLC0415
    from qiskit_nature.second_q.drivers import PySCFDriver  # noqa: PLC0415
    from qiskit_nature.second_q.mappers import ParityMapper  # noqa: PLC0415
    from qiskit_nature.second_q.transformers import (  # noqa: PLC0415
        ActiveSpaceTransformer,
        FreezeCoreTransformer,
    )

    text = "; ".join(f"{name} {' '.join(map(repr, place))}" for name, place in atoms)
    try:
        problem = PySCFDriver(atom=text, basis=params["basis"]).run()
    except (QiskitNatureError, KeyError, ValueError) as error:
        raise UnsupportedError("The molecule cannot be computed.", str(error)[:300]) from error
    field, full = float(problem.reference_energy), _full(text, params["basis"])
    problem = FreezeCoreTransformer().transform(problem)
    electrons, orbitals = int(params.get("electrons", 0)), int(params.get("orbitals", 0))
    if electrons and orbitals:
        try:
            problem = ActiveSpaceTransformer(electrons, orbitals).transform(problem)
        except QiskitNatureError as error:
            raise UnsupportedError("The active space does not fit.", str(error)[:300]) from error
    mapper = ParityMapper(num_particles=problem.num_particles)
    start = HartreeFock(problem.num_spatial_orbitals, problem.num_particles, mapper)
    circuit = UCCSD(
        problem.num_spatial_orbitals, problem.num_particles, mapper, initial_state=start
    )
    qubits = start.num_qubits
    if qubits > QUBITS_MAX:
        raise UnsupportedError(
            f"The active space has {qubits} qubits, at most {QUBITS_MAX}.",
            "Choose a smaller one: --electrons 2 --orbitals 3.",
        )
    exact = GroundStateEigensolver(mapper, NumPyMinimumEigensolver()).solve(problem)
    solver = VQE(
        StatevectorEstimator(),
        circuit,
        SLSQP(maxiter=200),
        initial_point=[0.0] * circuit.num_parameters,
    )
    found = GroundStateEigensolver(mapper, solver).solve(problem)
    return {
        "mean_field": field,
        "full": full,
        "exact": float(exact.total_energies[0].real),
        "variational": float(found.total_energies[0].real),
        "qubits": int(qubits),
        "parameters": int(circuit.num_parameters),
        "evaluations": int(found.raw_result.cost_function_evals or 0),
    }
