"""Published benchmarks: their circuits do what they are to do, and twins score what is written."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest

from skerry.kinds.quantum import device_reports, twins
from skerry.kinds.quantum.catalogue import benchmarks, load
from skerry.kinds.quantum.worker import running


def counts(source: str, device: str = "", shots: int = 2000, **more: Any) -> dict[str, int]:
    found = load.find(device) if device else None
    shape = twins.for_worker(found, load.calibration(found.id)) if found else None
    asked = {"format": "openqasm3", "source": source, "device": shape, "shots": shots, "seed": 1}
    answer: dict[str, int] = running.run(asked | {"memory_bytes": 1 << 30} | more)["counts"]
    return answer


def test_without_errors_every_circuit_scores_its_best() -> None:
    arrived = counts(benchmarks.teleportation())["1"] / 2000
    assert arrived > 0.985
    assert benchmarks.ramp_score(counts(benchmarks.ramp())) == pytest.approx(0.77, abs=0.03)
    wanted = benchmarks.number_text(10, 4)
    assert benchmarks.share_score(counts(benchmarks.fourier(4, 9)), wanted) == 1
    (first,) = counts(benchmarks.mirror(7, layers=5))
    assert set(counts(benchmarks.mirror(7, layers=5))) == {first}
    bell = sum(
        s * benchmarks.sign(counts(benchmarks.chsh(b))) for b, s in benchmarks.CHSH_SIGNS.items()
    )
    assert bell == pytest.approx(8**0.5, abs=0.15)
    drawn = random.Random(1)
    flips = benchmarks.ghz_flips(9, drawn)
    assert benchmarks.ghz_sign(flips) * benchmarks.sign(counts(benchmarks.ghz(9, flips))) == 1
    assert set(counts(benchmarks.ghz(9))) == {"0" * 9, "1" * 9}


def test_random_unitaries_are_of_haars_measure() -> None:
    """The mean share of heavy outputs of wide random circuits tends to (1 + ln 2) / 2 = 0.85."""
    drawn, shares = random.Random(5), []
    for _ in range(12):
        ordered = sorted(counts(benchmarks.volume(4, drawn), shots=4000).values(), reverse=True)
        shares.append(sum(ordered[:8]) / 4000)
    assert sum(shares) / 12 == pytest.approx(0.85, abs=0.06)


def test_a_twin_scores_what_the_catalogue_says() -> None:
    written = benchmarks.twin_scores()["iqm-emerald", "wit_7"]
    assert written.value is not None
    found = counts(benchmarks.teleportation(), "iqm-emerald", 4000, optimisation=2)["1"] / 4000
    spread = benchmarks.deviation_of(found, 4000) + written.deviation
    assert abs(found - written.value) < 5 * spread  # one false alarm in a million


def test_every_published_score_has_a_twin_beside_it_or_a_reason() -> None:
    for each in benchmarks.published():
        device = load.find(each.device)
        assert datetime.date.fromisoformat(each.measured)
        (found,) = (
            one for one in benchmarks.compared(each.device) if one.benchmark.name == each.benchmark
        )
        assert found.twin is not None
        assert bool(found.twin.why) == (found.twin.value is None)
        if device.twin and found.twin.value is not None:
            calibration = load.calibration(device.id)
            assert found.twin.figures == (calibration.taken_at if calibration else device.as_of)


def test_a_comparison_never_claims_more() -> None:
    rows = {each.verdict for each in map(device_reports.score_row, _all())}
    assert rows <= {"agrees", "better than the machine", "worse than the machine", "not compared"}
    assert "better than the machine" in rows
    assert benchmarks.compared("aqt-ibex-q1") == ()


def _all() -> list[benchmarks.Comparison]:
    return [one for device in load.devices() for one in benchmarks.compared(device)]


def test_it_is_told_how_hard_circuits_were_compiled() -> None:
    boston = {each.benchmark: each for each in map(device_reports.score_row, _of("ibm-boston"))}
    notes = [each.note for each in boston.values()]
    assert any("compiled with --effort 2, jobs with 1: 0.312" in note for note in notes)


def _of(device: str) -> list[benchmarks.Comparison]:
    return [each for each in _all() if each.published.device == device]
