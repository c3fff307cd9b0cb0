"""Energies of molecules to 1e-5 hartree, where the stack is installed; refusals everywhere."""

from __future__ import annotations

import pytest

from skerry.kernel.errors import EXTRA_MISSING, INVALID, SkerryError
from skerry.kinds.quantum import stacks
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.messages import Energy, Molecule
from skerry.kinds.quantum.reports import EnergyTable
from skerry.kinds.quantum.worker.chemistry import chemistry
from skerry.kinds.quantum.worker.ir import UnsupportedError

HERE = stacks.is_here("chemistry")


@pytest.mark.skipif(not HERE, reason="THE CHEMISTRY IS NOT TRIED: its stack is not installed here")
@pytest.mark.parametrize(
    ("molecule", "orbitals", "field", "full"),
    [
        ("H 0 0 0; H 0 0 0.735", 0, -1.116999, -1.137306),
        ("Li 0 0 0; H 0 0 1.6", 3, -7.861865, -7.882324),
    ],
)
async def test_energies(
    engine: QuantumEngine, molecule: str, orbitals: int, field: float, full: float
) -> None:
    electrons = 2 if orbitals else 0
    (found,) = await engine.word_energies(
        Molecule(molecule, electrons=electrons, orbitals=orbitals)
    )
    assert found.mean_field == pytest.approx(field, abs=1e-5)
    assert found.variational == pytest.approx(found.exact, abs=1e-5)
    assert found.full == pytest.approx(full, abs=1e-5)


@pytest.mark.skipif(HERE, reason="the stack is installed")
async def test_without_its_stack_the_command_that_installs_it_is_named(
    engine: QuantumEngine,
) -> None:
    with pytest.raises(SkerryError) as refused:
        await engine.word_energies(Molecule("H 0 0 0; H 0 0 0.735"))
    assert refused.value.problem is EXTRA_MISSING
    assert refused.value.hint == "skerry quantum install chemistry"


@pytest.mark.parametrize(
    "params",
    [
        {"molecule": "", "basis": "sto-3g"},
        {"molecule": "H 0 0", "basis": "sto-3g"},
        {"molecule": "H 0 0 0; rm -rf", "basis": "sto-3g"},
        {"molecule": "H 0 0 0; H 0 0 1", "basis": "../etc/passwd"},
        {"molecule": "; ".join(["H 0 0 0"] * 20), "basis": "sto-3g"},
        {"molecule": "H 0 0 0; H 0 0 1", "basis": "sto-3g", "lengths": [-1.0]},
        {"molecule": "H 0 0 0; H 0 0 1", "basis": "sto-3g", "lengths": [1.0] * 99},
    ],
)
def test_what_is_no_molecule_is_refused(params: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError):
        chemistry(params)
    assert INVALID.http == 400


def test_energies_are_drawn() -> None:
    points = tuple(
        Energy(-1.1, -1.13 - 0.01 * n, -1.13 - 0.01 * n, 2, 3, 40, 0.5 + 0.1 * n) for n in range(4)
    )
    text = EnergyTable("H2", "sto-3g", points).draw(80)
    assert "●" in text
    assert "error mHa" in text
