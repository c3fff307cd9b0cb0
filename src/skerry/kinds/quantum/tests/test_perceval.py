"""Quandela's programs as text, made by Perceval 1.3, against what its own simulator says."""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.quantum.contract import JobRequest, JobState, Options, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.reports import JobReport
from skerry.kinds.quantum.worker import perceval
from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.photons import checked, distribution, plan
from skerry.kinds.quantum.worker.selection import condition, seen

HOM = (
    ":PCVL:Experiment:ChY6UENWTDpCYXNpY1N0YXRlOnwxLDE+EgpFeHBlcmltZW50Gi46UENWTDpOb2lzZU1vZGV"
    "sOnsiaW5kaXN0aW5ndWlzaGFiaWxpdHkiOiAwLjl9IhE6UENWTDpQb3N0U2VsZWN0OkACSkAQAmI8Eg4SBXRoZXR"
    "hIgV0aGV0YRoJCQAAAAAAAAAAIgkJAAAAAAAAAAAqCQkAAAAAAAAAADIJCQAAAAAAAAAAUAI="
)
"""Two photons of indistinguishability 0.9 on a beam splitter of angle `theta`, both found."""

RICH = (
    ":PCVL:Experiment:Chg6UENWTDpCYXNpY1N0YXRlOnwxLDEsMT4SCkV4cGVyaW1lbnQaYzpQQ1ZMOk5vaXNlTW9"
    "kZWw6eyJicmlnaHRuZXNzIjogMC43LCAiZzIiOiAwLjAyLCAiaW5kaXN0aW5ndWlzaGFiaWxpdHkiOiAwLjksICJ"
    "0cmFuc21pdHRhbmNlIjogMC44fSIlOlBDVkw6UG9zdFNlbGVjdDooWzBdIDwgMiAmIFsxXSA8PSAyKSoKCAISBhI"
    "ECAEYATIKCAISBhIECAEYAToeCAASGhIYCglUaHJlc2hvbGQQARgBIQAAAAAAAPA/QANKPRACYjkIAhIJCWZmZmZ"
    "mZuY/GgkJmpmZmZmZyT8iCQkAAAAAAAAAACoJCQAAAAAAAAAAMgkJAAAAAAAAAABKPwgBEAJiOQgBEgkJmpmZmZm"
    "Z8T8aCQkAAAAAAAAAACIJCQAAAAAAAAAAKgkJAAAAAAAAAAAyCQkAAAAAAAAAAEoRCAEQAVoLCgkJmpmZmZmZ2T9"
    "KCRADcgUKAwIAAUqmARADeqEBCo4BCAMQAxqHAQoJCR0zkEWneeI/CgkJHTOQRad54j8KCQkdM5BFp3niPwoJCR0"
    "zkEWneeI/ChIJGzOQRad50r8RAQAAAAAA4D8KEgkiM5BFp3nSvxH+///////fvwoJCR0zkEWneeI/ChIJIjOQRad"
    "50r8R/v//////378KEgkVM5BFp3nSvxEDAAAAAADgPxIORm91cmllclVuaXRhcnlKOxACYjcSCQkYLURU+yH5Pxo"
    "JCQAAAAAAAAAAIgkJAAAAAAAAAAAqCQkAAAAAAAAAADIJCQAAAAAAAAAAUAE="
)
"""Splitters of all conventions, a permutation, a matrix, a herald, a condition, noise."""

RICH_CHANCES = {
    (1, 2): 0.001896366976064025,
    (1, 0): 0.41313985082539695,
    (0, 1): 0.3455209046773618,
    (1, 1): 0.1701188754311074,
    (0, 2): 0.0693240020900699,
}
"""What Perceval's SLOS says of it, with a probability of 0.18103299223659747 that it counts."""

FORMULA = (
    ":PCVL:Experiment:ChY6UENWTDpCYXNpY1N0YXRlOnwxLDE+EgpFeHBlcmltZW50IhE6UENWTDpQb3N0U2VsZWN"
    "0OkACSkYQAmJCEhQaBSgyKmEpIgMyKmEqBhIBYSIBYRoJCQAAAAAAAAAAIgkJAAAAAAAAAAAqCQkAAAAAAAAAADI"
    "JCQAAAAAAAAAAUP///38="
)
LOSSY = (
    ":PCVL:Experiment:ChY6UENWTDpCYXNpY1N0YXRlOnwxLDE+EgpFeHBlcmltZW50IhE6UENWTDpQb3N0U2VsZWN"
    "0OkACShAQAboBCwoJCTMzMzMzM9M/UP///38="
)
CIRCUIT = (
    ":PCVL:ACircuit:EAIiOxACYjcSCQkYLURU+yH5PxoJCQAAAAAAAAAAIgkJAAAAAAAAAAAqCQkAAAAAAAAAADIJC"
    "QAAAAAAAAAA"
)


def zipped(text: str) -> str:
    return ":PCVL:zip:" + base64.b64encode(zlib.compress(text.encode())).decode()


def found(source: str, **bindings: float) -> Any:
    program = checked({"source": source, "format": "perceval", "bindings": bindings})
    return distribution(program)


@pytest.mark.parametrize("text", [HOM, zipped(HOM), json.dumps(zipped(HOM))])
def test_the_dip_is_as_deep_as_photons_are_alike(text: str) -> None:
    together = found(text, theta=math.pi / 2).found[1, 1]
    apart = found(text, theta=0.0).found[1, 1]
    assert 1 - 2 * together / apart == pytest.approx(0.9, abs=1e-9)


def test_every_part_of_an_experiment_is_as_perceval_has_it() -> None:
    selected = found(RICH)
    assert selected.performance["global_perf"] == pytest.approx(0.18103299223659747, abs=1e-9)
    assert selected.performance["physical_perf"] == pytest.approx(0.5024595074628944, abs=1e-9)
    whole = selected.performance["global_perf"]
    assert set(selected.found) == set(RICH_CHANCES)
    for state, chance in RICH_CHANCES.items():
        assert selected.found[state] / whole == pytest.approx(chance, abs=1e-8)


def test_what_varies_is_set_beside_the_experiment() -> None:
    change = {
        "circuit_params": {"theta": math.pi / 2},
        "noise": ':PCVL:NoiseModel:{"indistinguishability": 0.5}',
        "input_state": ":PCVL:BasicState:|1,1>",
        "min_detected_photons": 1,
    }
    text = json.dumps({"experiment": HOM, "command": "probs", "iteration": change})
    assert found(text).found[1, 1] == pytest.approx(0.25)
    single = json.dumps({"experiment": CIRCUIT, "parameters": {"input_state": "|1,0>"}})
    assert found(single).found[0, 1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "Perceval"),
        (":PCVL:Experiment:%%%", "base64"),
        (":PCVL:Experiment:////", "middle"),
        (":PCVL:Matrix:", "no program"),
        (":PCVL:zip:AAAA", "unzipped"),
        (zipped(zipped(HOM)), "zipped"),
        (FORMULA, "formula"),
        (LOSSY, "loss channel"),
        (CIRCUIT, "input"),
        (HOM, "has no value"),
        (json.dumps({"experiment": HOM, "command": "unpickle"}), "not known"),
        (json.dumps({"experiment": HOM, "iteration": {"circuit_params": {"theta": "x"}}}),
         "numbers"),
        (json.dumps({"experiment": CIRCUIT, "iteration": {"input_state": "|{P:H},0>"}}), "labels"),
        (json.dumps({"experiment": RICH, "max_samples": -1}), "whole number"),
        (json.dumps({"experiment": RICH, "iteration": {"postselect": ":PCVL:PostSelect:[9]==1"}}),
         "not there"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_reason(source: str, says: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        plan({"source": source, "format": "perceval"})
    assert says in f"{refused.value.what} {refused.value.why}"


def test_a_bomb_is_not_unzipped() -> None:
    with pytest.raises(UnsupportedError) as refused:
        perceval.text_of(zipped(":PCVL:Experiment:" + "A" * (64 << 20)))
    assert "16 MiB" in refused.value.what


@given(some.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    text = f":PCVL:Experiment:{base64.b64encode(data).decode()}"
    try:
        plan({"source": text, "format": "perceval"})
    except UnsupportedError:
        return


def test_conditions() -> None:
    test = condition("([0,1] == 1 & ![2] > 0) | [2] >= 3", 3)
    assert [test(each) for each in ((1, 0, 0), (1, 1, 0), (0, 1, 1), (0, 0, 3))] == [
        True, False, False, True,
    ]  # fmt: skip
    for text in (
        "[0]",
        "[0] ==",
        "[0] == 1 &",
        "[0]==1 & [1]==1 | [2]==1",
        "(" * 99,
        "x",
        "[0]==1)",
    ):
        with pytest.raises(UnsupportedError):
            condition(text, 3)


def test_wires_share_photons() -> None:
    assert seen(3, 5, 2) == pytest.approx({1: 0.04, 2: 0.96})
    assert seen(3, 0, 1) == {1: 1.0}


async def test_a_job_within_a_machines_limits(engine: QuantumEngine) -> None:
    program = Program(
        HOM, "perceval", bindings=({"theta": 0.0}, {"theta": math.pi / 2}), shots=4000
    )
    request = JobRequest("quandela-belenos", (program,), options=Options(seed=1))
    job = await engine.desk.wait((await engine.desk.submit(request)).id, 50.0)
    assert job.state is JobState.COMPLETED, job.error
    assert "limits of Quandela Belenos" in job.nature
    assert "not the hardware" in job.nature
    first, second = await engine.desk.results(job.id)
    assert first.counts == {"1,1": 4000}
    assert sum(second.counts.values()) == 4000
    assert abs(second.counts["1,1"] - 200) < 5 * math.sqrt(4000 * 0.05 * 0.95)
    assert first.provenance.calibration is None
    drawn = JobReport(job, (first, second)).draw(80)
    assert "2,0" in drawn
    assert "50.0000% of all cases" not in drawn
    with pytest.raises(SkerryError) as refused:
        wide = json.dumps({"modes": 13, "input": [1] + [0] * 12, "components": []})
        await engine.desk.submit(
            JobRequest("quandela-ascella", (Program(wide, "photonic"),), shots=1)
        )
    assert refused.value.problem is INVALID
    assert "12 modes" in refused.value.what


async def test_chances_and_what_counts_are_told(engine: QuantumEngine) -> None:
    text = json.dumps({"experiment": RICH, "command": "probs"})
    never = json.dumps(
        {"modes": 2, "input": [1, 0], "components": [], "heralds": {"1": 1}, "photons_min": 0}
    )
    programs = (Program(text, "perceval"), Program(RICH, "perceval"), Program(never, "photonic"))
    job = await engine.desk.submit(JobRequest("sim-photonic", programs, options=Options(seed=1)))
    job = await engine.desk.wait(job.id, 50.0)
    exact, drawn, nothing = await engine.desk.results(job.id)
    assert (exact.shots, exact.counts, nothing.counts) == (0, {}, {})
    assert exact.extra["photons"]["probs"]["1,0"] == pytest.approx(RICH_CHANCES[1, 0], abs=1e-8)
    shown = JobReport(job, (exact, drawn, nothing)).draw(80)
    assert "18.1033% of all cases count: 50.2460% have enough photons" in shown
    assert "1,0  0.413140" in shown
    assert "0.0000% of all cases count" in shown
