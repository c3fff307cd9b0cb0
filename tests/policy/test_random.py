"""What is enforced equals what a slow independent evaluator says, on random policies and facts."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.evaluator import allowed, residency

from skerry.kernel import events
from skerry.kernel.app import AppSpec
from skerry.kernel.catalogue import Catalogue
from skerry.kernel.errors import DENIED, SkerryError
from skerry.kernel.policy import Evidence, Fact, Place, Request, enforce
from skerry.kernel.terms import Outside, PolicySpec, Residency
from skerry.node.policy.atlas import atlas
from skerry.node.policy.engine import Engine

DAY = 86_400_000_000_000
TODAY = "2026-11-27"
COUNTRIES = ("SE", "DE", "NO", "CH", "US", "GB", "CN")
OWNERS = ("Kust AB", 'Quote " and \\ GmbH', "Över Å", "Other")


@dataclass
class Fixed:
    """A clock that stands."""

    day: int = 20784

    def now(self) -> int:
        return self.day * DAY

    def monotonic(self) -> float:
        return 0.0


countries = st.sampled_from(COUNTRIES)


@st.composite
def facts(draw: st.DrawFn, subject: str) -> list[Fact]:
    def one(name: str, value: str | tuple[str, ...]) -> Fact:
        return Fact(
            subject,
            name,
            value,
            draw(st.sampled_from(Evidence)),
            source=draw(st.sampled_from(["", "https://example.org/a.pdf"])),
            expires=draw(st.sampled_from(["", "2020-01-01", TODAY, "2030-01-01"])),
            sha256=draw(st.sampled_from(["", "ab" * 32])),
            by=draw(st.sampled_from(["", "auditor+AAAA"])),
            signature=draw(st.sampled_from(["", "AAAA"])),
            index=draw(st.sampled_from([None, 0, 7])),
        )

    found = []
    for name, values in (
        ("country", countries),
        ("seat", countries),
        ("owner", st.sampled_from(OWNERS)),
        ("residency", st.sampled_from(["R0", "R2", "R4"])),
        ("facility", countries),
        ("range", st.sampled_from(["120 km of 59,18", "3000 km of 59,18", "far"])),
        ("quote", st.just("ab12")),
        ("affiliates", st.sets(countries, max_size=3).map(lambda each: tuple(sorted(each)))),
        ("sites", st.sets(countries, max_size=2).map(lambda each: tuple(sorted(each)))),
        (
            "controllers",
            st.tuples(st.sampled_from(OWNERS), countries).map(lambda c: (f"{c[0]} ({c[1]})",)),
        ),
    ):
        wanted: st.SearchStrategy[str | tuple[str, ...]] = values
        found += [one(name, draw(wanted)) for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2])))]
    return draw(st.permutations(found))


specs = st.builds(
    PolicySpec,
    jurisdiction=st.lists(
        st.sampled_from(["EU", "EEA", "EFTA", "ADEQUATE", *COUNTRIES]), max_size=2, unique=True
    ).map(tuple),
    exclude_reach=st.lists(countries, max_size=2, unique=True).map(tuple),
    owners=st.lists(st.sampled_from(OWNERS), max_size=2, unique=True).map(tuple),
    evidence_min=st.sampled_from([None, None, *Evidence]),
    residency_min=st.sampled_from([None, None, None, *Residency]),
    outside=st.sampled_from(Outside),
)


def groups() -> dict[str, set[str]]:
    found = {group.name: set(group.members) for group in atlas().groups}
    adequate = {c for c, each in atlas().adequacy.items() if not each.partial}
    return found | {"ADEQUATE": adequate}


@settings(max_examples=200, deadline=None, database=None)
@given(st.data(), specs, st.booleans(), st.booleans())
def test_nodes(data: st.DataObject, spec: PolicySpec, here: bool, encrypted: bool) -> None:
    known = data.draw(facts("node/there"))
    engine = Engine("there" if here else "elsewhere", Catalogue(), Fixed(), known)
    assert engine.today == TODAY
    request = Request("operator", "resource:replicate", "there", "app", encrypted=encrypted)
    decision = engine.decide_under((spec,), request)
    expected = allowed(spec, known, groups(), TODAY, here=here, encrypted=encrypted)
    assert decision.allowed == expected, decision
    assert decision.reason
    assert decision == engine.decide_under((spec,), request), "the second time it is the same"


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(specs, min_size=2, max_size=3), st.data())
def test_more_terms_only_narrow(terms: list[PolicySpec], data: st.DataObject) -> None:
    known = data.draw(facts("node/there"))
    engine = Engine("there", Catalogue(), Fixed(), known)
    request = Request("operator", "resource:replicate", "there", "app")
    each = [engine.decide_under((spec,), request).allowed for spec in terms]
    assert engine.decide_under(tuple(terms), request).allowed == all(each)


GOOD = {"source": "s", "sha256": "ab", "by": "k", "signature": "s", "index": 1,
        "expires": "2030-01-01"}  # fmt: skip


@st.composite
def shown(draw: st.DrawFn) -> list[Fact]:
    """Facts about residency whose evidence mostly counts, so that every grade is reached."""
    grades = st.sampled_from([Evidence.DOCUMENTED, Evidence.ATTESTED, Evidence.MEASURED])
    found = [Fact("node/there", "country", draw(st.sampled_from(("SE", "DE"))))]
    for name, values in (
        ("facility", ("SE", "SE", "DE")),
        ("range", ("90 km of 59,18", "90 km of 59,18", "2001 km of 59,18")),
        ("quote", ("ab",)),
        ("residency", ("R1", "R3", "R4", "sure")),
    ):
        for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
            value, evidence = draw(st.sampled_from(values)), draw(grades)
            found.append(Fact("node/there", name, value, evidence, **GOOD))  # type: ignore[arg-type]
    return found


@settings(max_examples=200, deadline=None, database=None)
@given(shown(), st.sampled_from(Residency), st.sampled_from([None, *Evidence]))
def test_residency(known: list[Fact], least: Residency, evidence: Evidence | None) -> None:
    spec = PolicySpec(residency_min=least, evidence_min=evidence)
    engine = Engine("n1", Catalogue(), Fixed(), known)
    request = Request("operator", "resource:replicate", "there", "app")
    decision = engine.decide_under((spec,), request)
    assert decision.allowed == allowed(spec, known, groups(), TODAY, here=False, encrypted=False), (
        decision
    )
    grade, _ = residency(known, TODAY)
    assert decision.residency == f"R{grade}"


def placed(specs: dict[str, PolicySpec]) -> Catalogue:
    """Return a catalogue with an app, whose branches serve versions with these terms."""
    catalogue = Catalogue()
    said: list[events.AnyEvent] = [events.AppCreated("app", 0)]
    for number, (branch, spec) in enumerate(specs.items(), start=1):
        app = AppSpec("app", (), None, spec)
        said += [
            events.VersionAdded("app", number, app, ""),
            events.BranchCreated("app", branch, f"d{number}", None, number, (), 0),
        ]
    for each in said:
        catalogue.apply(events.encode(each))
    return catalogue


@settings(max_examples=80, deadline=None, database=None)
@given(st.data(), specs, specs, st.booleans())
def test_placements(
    data: st.DataObject, main: PolicySpec, copy: PolicySpec, encrypted: bool
) -> None:
    """What is enforced of an app's branches, here, at another node, and when it is admitted."""
    catalogue = placed({"main": main, "copy": copy})
    here, there = data.draw(facts("node/here")), data.draw(facts("node/there"))
    actions = ("app:place", "resource:wake")
    engine = Engine("here", catalogue, Fixed(), [*here, *there], actions)

    def may(spec: PolicySpec, known: list[Fact], *, at_home: bool) -> bool:
        return allowed(spec, known, groups(), TODAY, here=at_home, encrypted=encrypted)

    for branch, terms in (("main", [main]), ("copy", [main, copy])):
        # A branch without terms of its own has main's; main's hold for every branch.
        stated = [spec for spec in terms if spec.stated] or [PolicySpec()]
        for where, known in (("here", here), ("there", there)):
            request = Request(
                "operator", "resource:wake", where, "app", branch, encrypted=encrypted
            )
            expected = all(may(spec, known, at_home=where == "here") for spec in stated)
            assert is_let(engine, request) == expected
    stated = [spec for spec in (main, copy) if spec.stated] or [PolicySpec()]
    wanted = all(
        allowed(spec, here, groups(), TODAY, here=True, encrypted=False) for spec in stated
    )
    try:
        engine.admit(copy, "app", "copy")
        admitted = True
    except SkerryError as error:
        assert error.problem is DENIED
        admitted = False
    assert admitted == wanted


def is_let(engine: Engine, request: Request) -> bool:
    """Enforce, as every verb does."""
    try:
        enforce(engine, request)
    except SkerryError as error:
        assert error.problem is DENIED and error.why
        return False
    return True


@settings(max_examples=150, deadline=None, database=None)
@given(specs, countries, st.booleans(), st.data())
def test_providers(spec: PolicySpec, country: str, encrypted: bool, data: st.DataObject) -> None:
    """A provider that only the operator's facts and whoever asks say anything of."""
    known = [each for each in data.draw(facts("provider/unlisted")) if each.name != "country"]
    engine = Engine("n1", Catalogue(), Fixed(), known)
    place = Place("unlisted", country)
    request = Request(
        "operator", "backup:send", "unlisted", "app", place=place, encrypted=encrypted
    )
    said = Fact("provider/unlisted", "country", country)
    expected = allowed(spec, [*known, said], groups(), TODAY, here=False, encrypted=encrypted)
    assert engine.decide_under((spec,), request).allowed == expected
