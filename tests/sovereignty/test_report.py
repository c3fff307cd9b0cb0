"""The report: two levels, the lowest of all, what limits it, and what it may not claim."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.test_random import TODAY, Fixed

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.policy import Evidence, Fact, Place, Request
from skerry.node.policy.engine import Engine
from skerry.node.sovereignty.derive import (
    place_facts,
    silicon_caps,
    silicon_facts,
    software_facts,
)
from skerry.node.sovereignty.drawing import draw_html, draw_report
from skerry.node.sovereignty.framework import PREFIX, framework
from skerry.node.sovereignty.report import assess
from skerry.node.sovereignty.shape import Report
from skerry.node.sovereignty.silicon import read_silicon

CSF = framework()
CRITERIA = CSF.criteria()


def claim(criterion: str, answer: int, evidence: Evidence = Evidence.DECLARED) -> Fact:
    return Fact(
        "node/n1",
        PREFIX + criterion,
        str(answer),
        evidence,
        source="https://example.org/a.pdf",
        sha256="ab" * 32,
        by="auditor",
        signature="c2ln",
        index=1,
        expires="2030-01-01",
    )


def report(*facts: Fact) -> Report:
    return assess("node/n1", [facts], CSF, TODAY, "unknown")


def test_the_data_is_the_calculators() -> None:
    assert [len(each.criterion) for each in CSF.objective] == [8, 6, 5, 6, 7, 5, 7, 4]
    assert {each.name: each.of for each in CSF.weights} == {
        "2026-06": (20, 10, 10, 15, 10, 15, 15, 5),
        "2025-10": (15, 10, 10, 15, 20, 15, 10, 5),
    }
    harmless = {
        each.id for each in CRITERIA.values() if all(option.seal == 4 for option in each.answers)
    }
    assert harmless == {
        "sov-1.2", "sov-1.4", "sov-1.5", "sov-1.6", "sov-1.7",
        "sov-2.5", "sov-5.3", "sov-7.2", "sov-8.4",
    }  # fmt: skip
    for each in CRITERIA.values():
        points = [option.points for option in each.answers]
        seals = [option.seal for option in each.answers]
        assert points == sorted(points) and points[0] == 0
        assert seals == sorted(seals) and seals[-1] == 4
    for objective in CSF.objective:
        assert objective.points_max == pytest.approx(1000, abs=3)


def test_the_best_answers_to_everything_make_a_hundred_and_level_four() -> None:
    facts = [claim(each.id, len(each.answers), Evidence.DOCUMENTED) for each in CRITERIA.values()]
    found = report(*facts)
    assert (found.claimed_seal, found.evidenced_seal, found.answered) == (4, 4, 48)
    assert [(score.claimed, score.evidenced) for score in found.scores] == [(100, 100), (100, 100)]


def test_nothing_answered_is_nothing() -> None:
    found = report()
    assert (found.claimed_seal, found.evidenced_seal, found.answered) == (0, 0, 0)
    assert [score.claimed for score in found.scores] == [0, 0]


def test_a_claim_is_no_evidence_and_says_what_would_be() -> None:
    facts = [claim(each.id, len(each.answers)) for each in CRITERIA.values()]
    found = report(*facts)
    assert (found.claimed_seal, found.evidenced_seal) == (4, 0)
    keys = next(line for line in found.limiting if line.id == "sov-3.1")
    assert keys.raised_by.startswith("SEAL-4 by a drill, or a document for")


def test_one_weak_answer_limits_all_and_is_named() -> None:
    facts = [claim(each.id, len(each.answers), Evidence.DOCUMENTED) for each in CRITERIA.values()]
    weak = claim("sov-2.2", 3, Evidence.MEASURED)
    found = report(*facts, weak)
    assert found.evidenced_seal == 1
    assert [line.id for line in found.limiting] == ["sov-2.2"]
    assert found.limiting[0].raised_by == (
        "SEAL-4 by an auditor's report or certificate for “immunity that was verified”"
    )
    assert found.claimed_seal == 4, "somebody claims more than was measured"


def test_expired_evidence_is_a_claim_again() -> None:
    fact = Fact(
        "node/n1",
        f"{PREFIX}sov-1.1",
        "4",
        Evidence.DOCUMENTED,
        source="register",
        sha256="00" * 32,
        expires="2026-11-26",
    )
    line = report(fact).parts[0].lines[0]
    assert (line.claimed, line.evidenced, line.evidence) == (4, 0, "declared")


def test_of_several_places_the_weakest_counts() -> None:
    strong = [claim(each.id, len(each.answers), Evidence.DOCUMENTED) for each in CRITERIA.values()]
    weak = [*strong, claim("sov-3.4", 4, Evidence.MEASURED)]
    assert assess("app/a", [strong, strong], CSF, TODAY, "").evidenced_seal == 4
    assert assess("app/a", [strong, weak], CSF, TODAY, "").evidenced_seal == 1


@pytest.mark.parametrize("value", ["0", "6", "-1", "x", "²", "", "1.0"])
def test_an_answer_that_is_none_is_passed_over(value: str) -> None:
    fact = Fact(
        "node/n1", f"{PREFIX}sov-3.1", value, Evidence.MEASURED, index=0, expires="2030-01-01"
    )
    assert report(fact).answered == 0


answers = st.fixed_dictionaries(
    {},
    optional={
        each.id: st.tuples(st.integers(1, len(each.answers)), st.sampled_from(Evidence))
        for each in CRITERIA.values()
    },
)


@settings(max_examples=60, deadline=None, database=None)
@given(answers)
def test_against_the_rules_written_down_plainly(given_: dict[str, tuple[int, Evidence]]) -> None:
    found = report(*(claim(name, answer, how) for name, (answer, how) in given_.items()))
    seals, points = [], []
    for objective in CSF.objective:
        total = 0.0
        for each in objective.criterion:
            answer, how = given_.get(each.id, (0, Evidence.DECLARED))
            shown = each.answers[answer - 1] if answer and how != "declared" else each.answers[0]
            seals.append(shown.seal)
            total += shown.points
        points.append(total / sum(each.answers[-1].points for each in objective.criterion))
    assert found.evidenced_seal == min(seals)
    for weights, score in zip(CSF.weights, found.scores, strict=True):
        plain = sum(w * share for w, share in zip(weights.of, points, strict=True))
        assert score.evidenced == pytest.approx(plain, abs=0.06)
        assert score.evidenced <= score.claimed


def test_a_self_hoster_on_common_machines_is_not_at_level_four(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("vendor_id\t: GenuineIntel\n" * 2)
    device = tmp_path / "sys" / "bus" / "pci" / "devices" / "0000:01:00.0"
    device.mkdir(parents=True)
    (device / "class").write_text("0x030200\n")
    (device / "vendor").write_text("0x10de\n")
    silicon = read_silicon(tmp_path)
    assert str(silicon) == "processors: Intel (US); accelerators: Nvidia (US)"
    assert silicon_caps(silicon, CRITERIA) == "; it limits sov-3.5 to SEAL-2, sov-6.5 to SEAL-3"
    facts = [*silicon_facts("node/n1", silicon, TODAY), *software_facts("node/n1", TODAY)]
    parts = {part.code: part for part in report(*facts).parts}
    by_id = {line.id: line for part in parts.values() for line in part.lines}
    assert by_id["sov-6.5"].claimed_seal == 3
    assert by_id["sov-3.5"].claimed_seal == 2
    assert report(*facts).claimed_seal < 2


def test_a_machine_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    silicon = read_silicon(tmp_path)
    assert "unknown" in str(silicon)
    assert silicon_facts("node/n1", silicon, TODAY) == []


def test_providers_answer_what_their_facts_derive() -> None:
    engine = Engine("n1", Catalogue(), Fixed())

    def derived(name: str) -> dict[str, str]:
        place = Place(name)
        view = engine.view(Request("o", "a:b", name, place=place))
        facts = place_facts(view, engine.atlas, TODAY)
        return {fact.name.removeprefix(PREFIX): str(fact.value) for fact in facts}

    assert derived("aws")["sov-1.1"] == "1" and derived("aws")["sov-2.1"] == "1"
    assert derived("aws-eusc")["sov-1.1"] == "2", "a seat in the EU, owners elsewhere"
    assert derived("aws-eusc")["sov-2.2"] == "3", "an EU subsidiary: level 1"
    assert derived("elastx") == {"sov-1.1": "4", "sov-2.2": "4"}


def test_text_and_page_show_what_limits() -> None:
    found = report(claim("sov-3.1", 5, Evidence.MEASURED), claim("sov-1.1", 4))
    text = draw_report(found, whole=True)
    assert "limited to SEAL-0 by" in text and "self-assessment" in text
    page = draw_html(found)
    assert page.startswith("<!doctype html>") and "src=" not in page and "href=" not in page
    evil = report(Fact("node/n1", f"{PREFIX}sov-3.1", "5", source="<script>"))
    assert "<script>" not in draw_html(evil)
