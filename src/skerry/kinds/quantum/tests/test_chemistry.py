"""Energies of molecules to 1e-5 hartree, measured on twins; refusals."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.errors import EXTRA_MISSING, INVALID, SkerryError
from skerry.kinds.quantum import energies, search, stacks
from skerry.kinds.quantum.contract import JobRequest, Options
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.messages import (
    Awaited,
    Energy,
    Molecule,
    OnTwin,
    Outcome,
    Request,
    Searched,
)
from skerry.kinds.quantum.reports import EnergyTable
from skerry.kinds.quantum.worker.chemistry import chemistry
from skerry.kinds.quantum.worker.ir import UnsupportedError

WITH_STACK = pytest.mark.skipif(
    not stacks.is_here("chemistry"),
    reason="THE CHEMISTRY IS NOT TRIED: its stack is not installed here",
)
H2 = "H 0 0 0; H 0 0 0.735"
LIH = "Li 0 0 0; H 0 0 1.6"


@WITH_STACK
@pytest.mark.timeout(180)
async def test_hydrogen_and_lithium_hydride_are_right_to_1e_5(engine: QuantumEngine) -> None:
    """The exact energies are published ones of STO-3G; the circuit reaches them."""
    (found,) = await engine.word_energies(Molecule(H2, larger=True))
    assert found.mean_field == pytest.approx(-1.116999, abs=1e-5)
    assert found.variational == pytest.approx(-1.137306, abs=1e-5)
    assert found.full == pytest.approx(-1.137306, abs=1e-5)
    assert found.larger_basis == pytest.approx(-0.03499, abs=1e-4)
    (every,) = await engine.word_energies(Molecule(LIH, freeze=False, repeats=2))
    assert every.mean_field == pytest.approx(-7.861865, abs=1e-5)
    assert every.full == pytest.approx(-7.882324, abs=1e-5)
    assert every.variational == pytest.approx(-7.882324, abs=1e-5)
    (core,) = await engine.word_energies(Molecule(LIH))
    (few,) = await engine.word_energies(Molecule(LIH, electrons=2, active=(2, 3, 6)))
    assert few.exact == pytest.approx(-7.881072, abs=1e-5)
    for each in (every, core, few):
        assert each.mapped == pytest.approx(each.exact, abs=1e-8)
        assert each.variational == pytest.approx(each.exact, abs=1e-6)
    assert (every.qubits, core.qubits, few.qubits) == (10, 8, 4)
    await _an_energy_is_measured_by_a_job(engine)


async def _an_energy_is_measured_by_a_job(engine: QuantumEngine) -> None:
    """On the ideal simulator within 5 standard errors: chance alone in one of 2 million.

    The libraries take seconds to load, so this shares their process with the test above.
    """
    (found,) = await engine.word_energies(
        Molecule(H2, basis="6-31g", electrons=2, orbitals=3, circuits=True)
    )
    asked = energies.request(found, H2, "sim-ideal", 1000, Options(seed=5))
    job = await engine.word_submit(Request(asked))
    outcome = await engine.word_wait(Awaited(job.id))
    twin = energies.measured(found, outcome).twin
    assert twin is not None
    assert abs(twin.energy - found.variational) < 5 * twin.deviation < 0.05
    await _a_search_on_a_twin_is_as_good_as_its_noise_allows(engine)
    stopped = msgspec.structs.replace(outcome.job, state="CANCELLED")
    with pytest.raises(SkerryError, match="measured no energy"):
        energies.measured(found, msgspec.structs.replace(outcome, job=stopped))


async def _a_search_on_a_twin_is_as_good_as_its_noise_allows(engine: QuantumEngine) -> None:
    """From the mean field, 20 mHa too high, to the lowest energy but for what chance does."""
    (found,) = await engine.word_energies(Molecule(H2, circuits=True, search=True))
    assert found.parameters == len({*found.searched_by[0].source.split("input float[64] ")[1:]})

    async def ask(request: JobRequest) -> Outcome:
        job = await engine.word_submit(Request(request))
        return await engine.word_wait(Awaited(job.id))

    steps: list[float] = []
    least = found.parameters * search.cost(found)
    made = await search.search(
        found, "iqm-garnet", least, Options(seed=3), ask, lambda _, e: steps.append(e)
    )
    assert made.shots == least
    assert (made.jobs, len(steps)) == (found.parameters, found.parameters)
    (end,) = await engine.word_energies(Molecule(H2, circuits=True, at=made.parameters))
    assert end.variational - found.exact < 0.01 < found.mean_field - found.exact
    with pytest.raises(SkerryError, match=f"at least {least} shots"):
        await search.search(found, "iqm-garnet", least - 1, Options(), ask, lambda _, e: None)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4), st.floats(-3, 3))
def test_five_points_tell_where_two_frequencies_are_lowest(waves: list[float], at: float) -> None:
    def energy(angle: float) -> float:
        one, two, three, four = waves
        return (
            one * math.cos(angle)
            + two * math.sin(angle)
            + three * math.cos(2 * angle)
            + four * math.sin(2 * angle)
        )

    points = [energy(at + number * math.tau / 5) for number in range(5)]
    shift, value = search.lowest(points)
    assert energy(at + shift) == pytest.approx(value, abs=1e-9)
    assert all(value <= energy(number / 50) + 1e-4 for number in range(315))


async def test_without_its_stack_the_command_that_installs_it_is_named(
    engine: QuantumEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "is_here", lambda _: False)
    with pytest.raises(SkerryError) as refused:
        await engine.word_energies(Molecule(H2))
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
        {"molecule": "H 0 0 0; H 0 0 1", "basis": "sto-3g", "repeats": 0},
    ],
)
def test_what_is_no_molecule_is_refused(params: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError):
        chemistry(params)
    assert INVALID.http == 400


def test_energies_are_drawn() -> None:
    points = tuple(
        Energy(-1.1, -1.13 - 0.01 * n, -1.13 - 0.01 * n, -1.13, 2, 3, 40, length=0.5 + 0.1 * n)
        for n in range(4)
    )
    text = EnergyTable("H2", "sto-3g", points).draw(80)
    assert "●" in text
    assert "○ mean field" in text
    assert "error mHa" in text
    assert "Nothing was measured" in text


def test_the_error_budget_names_every_part() -> None:
    twin = OnTwin("iqm-garnet", "7", 2, 2000, -1.10, 0.002)
    point = Energy(
        -1.1, -1.130, -1.130, -1.129, 2, 3, 40, full=-1.131, larger_basis=-0.03, twin=twin
    )
    parts = {each.part: energies.milli(each) for each in energies.budget(point)}
    assert parts == {
        "basis": "+30.000",
        "active space": "+1.000",
        "mapping": "+0.000",
        "circuit, optimiser": "+1.000",
        "noise": "+29.000",
        "shots": "±2.000",
    }
    text = EnergyTable("H2", "sto-3g", (point,)).draw(80)
    assert "error budget" in text
    assert "twin of iqm-garnet" in text
    assert "skerry quantum job 7" in text
    there = Searched("iqm-garnet", "9", 2, 6, 30_000, True, (0.1,), -1.09, 0.003, -1.125)
    after = energies.budget(msgspec.structs.replace(point, searched=there))
    assert {each.part: energies.milli(each) for each in after[6:]} == {
        "search": "+4.000",
        "noise there": "+35.000",
        "shots there": "±3.000",
    }
    drawn = EnergyTable("H2", "sto-3g", (msgspec.structs.replace(point, searched=there),)).draw(80)
    assert "without noise there -1.125000, without noise at best -1.129000" in drawn
    unknown = energies.budget(msgspec.structs.replace(point, full=None, twin=None))
    assert [energies.milli(each) for each in unknown][1] == "not known"
