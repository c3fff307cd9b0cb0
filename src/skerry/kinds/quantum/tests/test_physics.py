"""Twins do what the published figures say, and engines agree with one another.

Every test draws with fixed seeds; engines are compared by a chi-squared test at a false-alarm rate
of one in a million for each comparison.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy.stats import chi2

from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.tests.circuits import probabilities
from skerry.kinds.quantum.tests.conftest import ghz
from skerry.kinds.quantum.worker import noise, routing, running
from skerry.kinds.quantum.worker.devices import device
from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.stim_engine import clifford

SHOTS = 4000
FALSE_ALARMS = 1e-6
NEAR = (
    'OPENQASM 3.0; include "stdgates.inc"; qubit[4] q; bit[4] c; h q[0]; cx q[0], q[1];'
    "ry(0.7) q[2]; cp(1.1) q[1], q[2]; cx q[2], q[3]; rx(0.4) q[3]; c = measure q;"
)
CLIFFORD = (
    'OPENQASM 3.0; include "stdgates.inc"; qubit[4] q; bit[4] c; h q[0]; cx q[0], q[1]; s q[1];'
    "h q[1]; cz q[1], q[2]; sx q[2]; cx q[2], q[3]; h q[3]; swap q[0], q[3]; c = measure q;"
)

HERE = [
    each for each in routing.ENGINES if each != routing.GPU or each in routing.installed_engines()
]


def params(source: str, device_id: str = "", **more: Any) -> dict[str, Any]:
    found = load.find(device_id) if device_id else None
    shape = twins.for_worker(found, load.calibration(found.id)) if found else None
    asked: dict[str, Any] = {
        "source": source,
        "format": "openqasm3",
        "device": shape,
        "shots": SHOTS,
        "seed": 11,
        "memory_bytes": 4 << 30,
    }
    return asked | more


def test_pessimism_makes_it_worse_and_none_makes_it_ideal() -> None:
    fidelities = [
        running.plan(params(ghz(5), "iqm-garnet", pessimism=factor))["fidelity"]
        for factor in (0.0, 1.0, 2.0)
    ]
    assert fidelities[0] == 1.0
    assert fidelities[0] > fidelities[1] > fidelities[2]
    ideal = running.run(params(ghz(5), "iqm-garnet", pessimism=0.0))
    assert set(ideal["counts"]) == {"00000", "11111"}


@pytest.mark.parametrize("source", [NEAR, CLIFFORD], ids=["near", "clifford"])
def test_engines_agree_on_noisy_circuits(source: str) -> None:
    outcomes = {}
    for engine in HERE:
        if engine == "stim" and source is NEAR:
            continue
        found = running.run(params(source, "iqm-garnet", engine=engine, pessimism=3.0))
        outcomes[engine] = found["counts"]
    exact = outcomes.pop("density-matrix")
    assert outcomes
    for engine, counts in outcomes.items():
        assert _agree(exact, counts), engine


def test_parts_of_a_circuit_are_read_as_the_whole_is() -> None:
    """By chi-squared at the false-alarm rate of `_agree`; the seeds are fixed."""
    source = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[14] q; bit[14] c; ry(0.7) q[2];'
        "cx q[2], q[9]; rx(0.4) q[5]; cp(1.1) q[5], q[0]; h q[13]; cx q[13], q[1]; x q[7];"
        "c = measure q; "
    )
    apart = running.run(params(source))
    whole = running.run(params(source, engine="statevector"))
    assert "12 others" in apart["reason"]
    assert "stim" in apart["reason"]
    assert _agree(apart["counts"], whole["counts"])


def _agree(one: dict[str, int], other: dict[str, int]) -> bool:
    """Tell whether two samples may be of one distribution, by a chi-squared test of homogeneity."""
    statistic, freedom, rest = 0.0, -1, [0, 0]
    cells = []
    for key in {*one, *other}:
        pair = [one.get(key, 0), other.get(key, 0)]
        if sum(pair) < 16:
            rest = [rest[0] + pair[0], rest[1] + pair[1]]
        else:
            cells.append(pair)
    cells += [rest] if sum(rest) >= 16 else []
    share = sum(one.values()) / (sum(one.values()) + sum(other.values()))
    for first, second in cells:
        expected = (first + second) * share, (first + second) * (1 - share)
        statistic += (first - expected[0]) ** 2 / expected[0]
        statistic += (second - expected[1]) ** 2 / expected[1]
        freedom += 1
    return bool(statistic <= chi2.isf(FALSE_ALARMS, freedom))


def test_stim_runs_clifford_gates_and_none_that_are_only_near() -> None:
    assert clifford("rz", (math.pi / 2,)) is not None
    assert clifford("zz", (0.25,)) is not None
    for angle in (1e-5, 0.1, 0.3, math.pi / 4, math.pi / 2 + 1e-5):
        assert clifford("ry", (angle,)) is None
        assert clifford("cp", (angle,)) is None


def test_the_comparison_can_fail() -> None:
    one = running.run(params(NEAR, "iqm-garnet", engine="density-matrix", pessimism=1.0))
    two = running.run(params(NEAR, "iqm-garnet", engine="density-matrix", pessimism=3.0))
    assert not _agree(one["counts"], two["counts"])


@pytest.mark.parametrize("engine", HERE)
def test_engines_sample_the_exact_distribution(engine: str) -> None:
    source = CLIFFORD if engine == "stim" else NEAR
    asked = params(source, engine=engine, shots=20_000)
    expected = probabilities(running.with_readout(running.parsed(asked)))
    counts = running.run(asked)["counts"]
    statistic, freedom = 0.0, -1
    for key, chance in expected.items():
        if chance > 1e-9:
            statistic += (counts.pop(key, 0) - 20_000 * chance) ** 2 / (20_000 * chance)
            freedom += 1
    assert not counts, "nothing impossible is seen"
    assert statistic <= chi2.isf(FALSE_ALARMS, freedom)


@pytest.mark.parametrize("engine", HERE)
def test_a_seed_makes_it_repeatable(engine: str) -> None:
    source = CLIFFORD if engine == "stim" else NEAR
    asked = params(source, "ibm-boston", engine=engine, shots=300)
    assert running.run(asked)["counts"] == running.run(asked)["counts"]
    other = running.run(asked | {"seed": 12})["counts"]
    assert other != running.run(asked)["counts"]


def test_bit_0_is_the_first_character_on_every_engine() -> None:
    source = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c; x q[0]; cx q[0], q[1];'
        "c[0] = measure q[0]; c[1] = measure q[1]; c[2] = measure q[2];"
    )
    for engine in HERE:
        for device_id in ("", "google-willow"):
            asked = params(source, device_id, engine=engine, fidelity="ideal", shots=20)
            assert running.run(asked)["counts"] == {"110": 20}


def test_waiting_costs_coherence() -> None:
    text = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; x q; delay[{}us] q; c = measure q;'
    )
    survived = [
        running.run(params(text.format(wait), "iqm-garnet", fidelity="twin"))["counts"].get("1", 0)
        for wait in (0, 500)
    ]
    assert survived[0] > 0.9 * SHOTS
    assert abs(survived[1] / SHOTS - 0.5) < 0.1, "the twirled decay ends fully mixed"


def test_measuring_in_the_middle_and_resetting() -> None:
    source = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit[2] c; x q; c[0] = measure q; reset q;'
        "c[1] = measure q;"
    )
    for engine in ("stim", "density-matrix", "statevector"):
        assert running.run(params(source, engine=engine, shots=50))["counts"] == {"10": 50}


def test_routing() -> None:
    def engine(source: str, device_id: str = "") -> str:
        return str(running.plan(params(source, device_id))["engine"])

    apart = NEAR.replace("[4]", "[40]")
    chain = apart.replace("c = measure", "for int i in [3:38] { cx q[i], q[i + 1]; } c = measure")
    wide = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[12] q; bit[12] c;'
        "for int j in [0:5] { ry(0.3) q; for int i in [0:10] { cz q[i], q[i + 1]; } }"
        "c = measure q;"
    )
    assert engine(ghz(100), "ibm-boston") == "stim"
    assert engine(NEAR, "iqm-garnet") == "density-matrix"
    assert engine(chain) == "mps"
    assert engine(apart) == "statevector", "four qubits, and 36 that no gate joins to them"
    assert engine(wide, "iqm-garnet") == "qsim"


def test_a_gpu_takes_wide_circuits_as_far_as_its_memory_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wide = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[24] q; bit[24] c; ry(0.3) q;'
        "for int i in [0:22] { for int j in [i + 1:23] { cp(0.1) q[i], q[j]; } } c = measure q;"
    )
    installed = frozenset({*routing.installed_engines(), routing.GPU})
    monkeypatch.setattr(routing, "installed_engines", lambda: installed)
    monkeypatch.setattr(routing, "usable_gpu_bytes", lambda: 1 << 30)
    assert running.plan(params(wide))["engine"] == routing.GPU
    monkeypatch.setattr(routing, "usable_gpu_bytes", lambda: 1 << 20)
    assert running.plan(params(wide))["engine"] == "qsim"
    with pytest.raises(UnsupportedError, match=r"need 0.25 GiB, and 0.00 GiB are free"):
        running.plan(params(wide, engine=routing.GPU))


def test_aer_is_asked_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    class Recorder:
        def __init__(self, **options: object) -> None:
            asked.update(options)
            raise MemoryError("the test ends here")

    monkeypatch.setattr("qiskit_aer.AerSimulator", Recorder)
    monkeypatch.setattr(routing, "usable_gpu_bytes", lambda: 1 << 30)
    installed = frozenset({*routing.installed_engines(), routing.GPU})
    monkeypatch.setattr(routing, "installed_engines", lambda: installed)
    with pytest.raises(MemoryError):
        running.run(params(NEAR, engine=routing.GPU))
    assert (asked["device"], asked["method"]) == ("GPU", "statevector")


def test_memory_is_checked_before_the_start_and_refused_with_the_number() -> None:
    wide = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[30] q; bit[30] c; ry(0.3) q;'
        "for int i in [0:28] { for int j in [i + 1:29] { cp(0.1) q[i], q[j]; } } c = measure q;"
    )
    with pytest.raises(UnsupportedError, match=r"30 qubits on qsim need 8.00 GiB"):
        running.plan(params(wide))


def test_noise_follows_the_published_figures() -> None:
    shape = params(ghz(2), "iqm-garnet")["device"]
    target = device(shape)
    circuit = {
        "qubits": 2,
        "bits": 1,
        "registers": [["c", 0, 1]],
        "ops": [["prx", [0], [1.0, 0.0]], ["cz", [0, 1], []], ["measure", [0], [0]]],
        "labels": ["1", "2"],
    }
    noisy = noise.twin(circuit, target, 1.0)
    calibration = load.calibration("iqm-garnet")
    assert calibration is not None
    one, pair = calibration.qubits["1"], calibration.pairs["1-2"]
    assert one.gate_error is not None
    assert pair is not None
    ops = {op[0]: op[2] for op in noisy.circuit["ops"]}
    assert ops[noise.DEPOLARISE_1] == [pytest.approx(1.5 * one.gate_error)]
    assert ops[noise.DEPOLARISE_2] == [pytest.approx(1.25 * pair)]
    assert noisy.reads == [(one.read_0_as_1, one.read_1_as_0)]
