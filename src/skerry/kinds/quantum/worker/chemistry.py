"""Energies of molecules: mean field, exact, and by a variational circuit.

PySCF computes the integrals, the mean field and the exact energies; Qiskit Nature chooses the
active space and maps electrons to qubits (parity mapping, two qubits saved); the circuit is UCCSD.
Energies are in hartree, lengths in angstrom. `exact` is that of the active space, by PySCF in
electrons and not in qubits; `mapped` is that of the qubits' operator; `full` is that of all
orbitals where there are few of them.
"""

from __future__ import annotations

import re
from typing import Any

from .ir import UnsupportedError

ATOMS_MAX = 8
QUBITS_MAX = 10
FULL_ORBITALS_MAX = 10
LARGER_ORBITALS_MAX = 60
LARGER = "cc-pvtz"
"""The basis against which a smaller one is judged."""
POINTS_MAX = 40
REPEATS_MAX = 4
_ATOM = re.compile(r"\s*([A-Z][a-z]?)((?:\s+[-+]?\d+(?:\.\d*)?){3})\s*")
_BASIS = re.compile(r"[A-Za-z0-9*+\-]{1,20}")


def chemistry(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the energies of a molecule, at each of some lengths of its first bond if asked."""
    atoms = _atoms(params["molecule"])
    if not _BASIS.fullmatch(params["basis"]):
        raise UnsupportedError(f"{params['basis'][:40]!r} names no basis.")
    if not 1 <= int(params.get("repeats", 1)) <= REPEATS_MAX:
        raise UnsupportedError(f"The circuit is repeated 1 to {REPEATS_MAX} times.")
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
    from pyscf import gto, scf  # noqa: PLC0415 (seconds)

    from . import variational  # noqa: PLC0415

    text = "; ".join(f"{name} {' '.join(map(repr, place))}" for name, place in atoms)
    problem = _problem(text, params)
    field = scf.RHF(gto.M(atom=text, basis=params["basis"], verbose=0)).run(verbose=0)
    circuit, hamiltonian, start, mapped = _in_qubits(problem, int(params.get("repeats", 1)))
    others = float(sum(problem.hamiltonian.constants.values()))
    generators = [each.to_matrix(sparse=True) for each in circuit.operators]
    generators *= int(params.get("repeats", 1))
    matrix = hamiltonian.to_matrix(sparse=True)
    given = [float(each) for each in params.get("at") or ()]
    if given and len(given) != len(generators):
        raise UnsupportedError(f"The circuit has {len(generators)} parameters, not {len(given)}.")
    found = variational.minimum(matrix, generators, start, given)
    answer: dict[str, Any] = {
        "mean_field": float(field.e_tot),
        "full": _full(field),
        "exact": _exact(field, problem, [int(each) for each in params.get("active") or ()]),
        "mapped": mapped + others,
        "variational": found.energy + others,
        "slope": found.slope,
        "qubits": int(circuit.num_qubits),
        "parameters": len(found.parameters),
        "evaluations": found.evaluations,
    }
    if params.get("larger"):
        answer["larger_basis"] = _larger_basis(text, field)
    if params.get("circuits"):
        answer["offset"] = others + variational.identity(hamiltonian)
        bound = circuit.assign_parameters(found.parameters)
        answer["measurements"] = variational.measurements(bound, hamiltonian) or []
    if params.get("search"):
        named = variational.named(circuit)
        answer["searched_by"] = variational.measurements(named, hamiltonian) or []
    return answer


def _problem(text: str, params: dict[str, Any]) -> Any:
    """Return the electrons of the active space; raise UnsupportedError."""
    from qiskit_nature import QiskitNatureError  # noqa: PLC0415
    from qiskit_nature.second_q.drivers import PySCFDriver  # noqa: PLC0415
    from qiskit_nature.second_q.transformers import (  # noqa: PLC0415
        ActiveSpaceTransformer,
        FreezeCoreTransformer,
    )

    try:
        problem = PySCFDriver(atom=text, basis=params["basis"]).run()
    except (QiskitNatureError, KeyError, ValueError) as error:
        raise UnsupportedError("The molecule cannot be computed.", str(error)[:300]) from error
    active = [int(each) - 1 for each in params.get("active") or ()]
    if not active and params.get("freeze", True):
        problem = FreezeCoreTransformer().transform(problem)
    electrons, orbitals = int(params.get("electrons", 0)), int(params.get("orbitals", 0))
    if active and (not electrons or orbitals not in (0, len(active))):
        raise UnsupportedError("Orbitals that are named hold a number of electrons: --electrons 2.")
    if electrons and (orbitals or active):
        try:
            problem = ActiveSpaceTransformer(
                electrons, orbitals or len(active), active_orbitals=active or None
            ).transform(problem)
        except QiskitNatureError as error:
            raise UnsupportedError("The active space does not fit.", str(error)[:300]) from error
    qubits = 2 * problem.num_spatial_orbitals - 2
    if qubits > QUBITS_MAX:
        raise UnsupportedError(
            f"The active space has {qubits} qubits, at most {QUBITS_MAX}.",
            "Choose a smaller one: --electrons 2 --orbitals 3.",
        )
    return problem


def _in_qubits(problem: Any, repeats: int) -> tuple[Any, Any, Any, float]:
    """Return circuit, Hamiltonian, first state, and the lowest energy of its electrons.

    The lowest energy is looked for among the states with the molecule's number of electrons.
    """
    import numpy as np  # noqa: PLC0415
    from qiskit.quantum_info import Statevector  # noqa: PLC0415
    from qiskit_nature.second_q.circuit.library import UCCSD, HartreeFock  # noqa: PLC0415
    from qiskit_nature.second_q.mappers import ParityMapper  # noqa: PLC0415
    from qiskit_nature.second_q.operators import FermionicOp  # noqa: PLC0415

    orbitals, particles = problem.num_spatial_orbitals, problem.num_particles
    mapper = ParityMapper(num_particles=particles)
    hamiltonian = mapper.map(problem.hamiltonian.second_q_op())
    first = HartreeFock(orbitals, particles, mapper)
    circuit = UCCSD(orbitals, particles, mapper, reps=repeats, initial_state=first)
    kept = np.ones(2**hamiltonian.num_qubits, dtype=bool)
    for spin in (0, 1):
        each = range(spin * orbitals, (spin + 1) * orbitals)
        count = mapper.map(
            FermionicOp({f"+_{n} -_{n}": 1.0 for n in each}, num_spin_orbitals=2 * orbitals)
        )
        kept &= np.isclose(count.to_matrix(sparse=True).diagonal().real, particles[spin])
    matrix = hamiltonian.to_matrix(sparse=True)[kept][:, kept].toarray()
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    return circuit, hamiltonian, Statevector(first).data, lowest


def _exact(field: Any, problem: Any, active: list[int]) -> float:
    """Return the lowest energy of the active space, without qubits."""
    from pyscf import mcscf  # noqa: PLC0415

    space = mcscf.CASCI(field, problem.num_spatial_orbitals, problem.num_particles)
    space.verbose = 0
    orbitals = space.sort_mo(active) if active else None
    return float(space.kernel(orbitals)[0])


def _full(field: Any) -> float | None:
    """Return the energy of all electrons in all orbitals, if there are few enough."""
    from pyscf import fci  # noqa: PLC0415

    if field.mol.nao > FULL_ORBITALS_MAX:
        return None
    return float(fci.FCI(field).kernel()[0])


def _larger_basis(text: str, field: Any) -> float | None:
    """Return by how much a larger basis changes the energy in CCSD, if it is within reach."""
    from pyscf import cc, gto, scf  # noqa: PLC0415

    try:
        larger = gto.M(atom=text, basis=LARGER, verbose=0)
    except (KeyError, RuntimeError):
        return None
    if larger.nao > LARGER_ORBITALS_MAX or larger.nao <= field.mol.nao:
        return None
    small, large = cc.CCSD(field), cc.CCSD(scf.RHF(larger).run(verbose=0))
    small.verbose = large.verbose = 0
    energies = []
    for each in (small, large):
        each.kernel()
        if not each.converged:
            return None
        energies.append(float(each.e_tot))
    return energies[1] - energies[0]
