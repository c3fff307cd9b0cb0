"""The engine: this node, other places, errors that deny, and branches that only narrow."""

from __future__ import annotations

import pytest
from tests.policy.test_random import DAY, Fixed

from skerry.kernel import events
from skerry.kernel.app import AppSpec
from skerry.kernel.catalogue import Catalogue
from skerry.kernel.errors import CONFIG_INVALID, DENIED, SkerryError
from skerry.kernel.policy import Decision, Evidence, Fact, Place, Request, enforce
from skerry.kernel.terms import Outside, PolicySpec
from skerry.node.policy.compiled import check, compiled
from skerry.node.policy.engine import Engine

ACTIONS = ("resource:wake", "backup:send", "kv:read")
EU = PolicySpec(jurisdiction=("EU",))
HERE = [Fact("node/n1", "country", "SE"), Fact("node/n1", "owner", "Kust AB")]


def catalogue(**policies: PolicySpec) -> Catalogue:
    """Return one app with a branch for each policy."""
    made = Catalogue()
    made.apply(events.encode(events.AppCreated("paper", 0)))
    for version, (branch, policy) in enumerate(policies.items(), start=1):
        spec = AppSpec("paper", (), None, policy=policy)
        made.apply(events.encode(events.VersionAdded("paper", version, spec, "")))
        event = events.BranchCreated("paper", branch, "d", None, version, (), 0)
        made.apply(events.encode(event))
    return made


def engine(facts: list[Fact] | None = None, **policies: PolicySpec) -> Engine:
    known = HERE if facts is None else facts
    return Engine("n1", catalogue(**policies), Fixed(), known, ACTIONS)


def ask(made: Engine, action: str = "resource:wake", **more: object) -> Decision:
    fields: dict[str, object] = {"where": "n1", "app": "paper", "branch": "main", **more}
    return made.decide(Request("operator", action, **fields))  # type: ignore[arg-type]


def send(
    made: Engine, provider: str, country: str = "", host: str = "", **more: object
) -> Decision:
    return ask(made, "backup:send", place=Place(provider, country, host), **more)


def test_without_a_policy_everything_may_be_here_and_nowhere_else() -> None:
    made = engine(facts=[], main=PolicySpec())
    assert ask(made).allowed
    assert not ask(made, where="n2").allowed
    assert not send(made, "scaleway", "FR").allowed
    assert not send(made, "scaleway", "FR", encrypted=True).allowed
    assert ask(made, app=None).allowed and not ask(made, app=None, where="n2").allowed
    assert ask(made, app="unknown").allowed


def test_terms_hold_for_this_node_too() -> None:
    assert ask(engine(main=EU)).allowed
    refused = ask(engine(facts=[], main=EU))
    assert (refused.allowed, refused.rule) == (False, "jurisdiction")
    assert "config.toml" in refused.reason
    assert ask(engine(facts=[], main=EU), "branch:delete").allowed, "what is here can be removed"


def test_a_decision_names_rules_facts_and_evidence() -> None:
    spec = PolicySpec(jurisdiction=("SE",), exclude_reach=("US",), evidence_min=Evidence.DOCUMENTED)
    found = send(engine(main=spec), "hetzner", "DE")
    assert found.rules == (
        "evidence_min:country",
        "evidence_min:reach",
        "exclude_reach",
        "jurisdiction",
    )
    affiliates = next(fact for fact in found.facts if fact.name == "affiliates")
    assert "US" in affiliates.value
    assert affiliates.evidence is Evidence.DECLARED
    assert affiliates.date and affiliates.source
    assert found.policy == compiled(spec).digest


def test_better_evidence_opens_what_the_terms_allow() -> None:
    spec = PolicySpec(jurisdiction=("EU",), evidence_min=Evidence.DOCUMENTED)
    contract = Fact(
        "provider/elastx/SE",
        "country",
        "SE",
        Evidence.DOCUMENTED,
        source="contract 12",
        sha256="ab" * 32,
        expires="2026-11-28",
    )
    made = engine(facts=[contract], main=spec)
    assert not send(engine(main=spec), "elastx", "SE").allowed
    assert send(made, "elastx", "SE").allowed
    assert not send(made, "hetzner", "DE").allowed, "another provider has none"


def test_evidence_stops_counting_on_its_day() -> None:
    clock = Fixed()
    spec = PolicySpec(owners=("Kust AB",), evidence_min=Evidence.DOCUMENTED)
    fact = Fact(
        "node/n1",
        "owner",
        "Kust AB",
        Evidence.DOCUMENTED,
        source="register",
        sha256="00" * 32,
        expires="2026-11-28",
    )
    made = Engine("n1", catalogue(main=spec), clock, [fact], ACTIONS)
    assert ask(made).allowed
    clock.day += 1
    assert ask(made).allowed
    clock.day += 1
    refused = ask(made)
    assert not refused.allowed
    assert refused.facts[0].note == "documented before: expired on 2026-11-28"
    assert clock.now() == 20786 * DAY


def test_the_endpoint_must_be_what_is_said_of_it() -> None:
    spec = PolicySpec(jurisdiction=("EU",), outside=Outside.ENCRYPTED_ONLY)
    made = engine(main=spec)
    assert send(made, "hetzner", "DE", "a.fsn1.your-objectstorage.com").allowed
    for host in ("a.hel1.your-objectstorage.com", "s3.eu-central-1.amazonaws.com"):
        refused = send(made, "hetzner", "DE", host, encrypted=True)
        assert (refused.allowed, refused.rule) == (False, "conflict")


def test_a_documented_site_does_not_cover_another() -> None:
    fact = Fact(
        "provider/hetzner/DE",
        "country",
        "DE",
        Evidence.DOCUMENTED,
        source="contract",
        sha256="00" * 32,
        expires="2030-01-01",
    )
    spec = PolicySpec(jurisdiction=("DE",), evidence_min=Evidence.DOCUMENTED)
    made = engine(facts=[fact], main=spec)
    assert send(made, "hetzner", "DE").allowed
    assert not send(made, "hetzner", "US").allowed
    assert send(made, "hetzner", "DE", "us.hel1.your-objectstorage.com").rule == "conflict"


def test_outside_only_what_is_encrypted() -> None:
    spec = PolicySpec(jurisdiction=("EU",), exclude_reach=("US",), outside=Outside.ENCRYPTED_ONLY)
    made = engine(main=spec)
    assert send(made, "aws", "US", encrypted=True).allowed
    refused = send(made, "aws", "US")
    assert not refused.allowed and "encrypted on this side" in refused.reason


def test_an_unlisted_provider_is_refused_where_anything_is_asked() -> None:
    assert not send(engine(main=EU), "nobody").allowed
    assert send(engine(main=EU), "nobody", "SE").allowed, "whoever asks said where it lies"
    reach = PolicySpec(exclude_reach=("US",))
    assert not send(engine(main=reach), "nobody", "SE").allowed, "whose laws reach it is unknown"


def test_a_rule_that_fails_denies_instead_of_opening_a_door() -> None:
    broken = PolicySpec(
        cedar="permit(principal, action, resource);"
        "forbid(principal, action, resource) when { context.missing == 1 };"
    )
    found = ask(engine(main=broken))
    assert (found.allowed, found.rule) == (False, "error")
    assert "missing" in found.reason


def test_cedar_of_the_app_joins_the_terms() -> None:
    narrower = PolicySpec(
        jurisdiction=("EU",),
        cedar='@id("not-on-fridays")\nforbid(principal, action == Action::"backup:send", resource)'
        ' when { context.kind == "kv" };',
    )
    check(narrower, ACTIONS)
    made = engine(main=narrower)
    assert send(made, "scaleway", "FR").allowed
    refused = send(made, "scaleway", "FR", kind="kv")
    assert (refused.allowed, refused.rule) == (False, "not-on-fridays")
    wider = PolicySpec(jurisdiction=("EU",), cedar="permit(principal, action, resource);")
    assert not send(engine(main=wider), "aws", "US").allowed, (
        "a permit opens nothing that is forbidden"
    )


@pytest.mark.parametrize(
    ("cedar", "why"),
    [
        ("permit(", "unexpected"),
        ('permit(principal, action == Action::"kv:reed", resource);', "unrecognized action"),
        ('forbid(principal, action, resource) when { resource.contry == "SE" };', "contry"),
        ("permit(principal == ?principal, action, resource);", "template"),
    ],
)
def test_cedar_is_checked_before_it_counts(cedar: str, why: str) -> None:
    with pytest.raises(SkerryError) as raised:
        check(PolicySpec(cedar=cedar), ACTIONS)
    assert raised.value.problem is CONFIG_INVALID
    assert why in raised.value.why


def test_a_branch_narrows_and_never_widens() -> None:
    made = engine(main=EU, narrow=PolicySpec(jurisdiction=("SE",)), wide=PolicySpec())
    open_spec = PolicySpec(cedar="permit(principal, action, resource);")
    opened = engine(main=EU, open=open_spec)
    assert send(made, "hetzner", "DE", branch="main").allowed
    assert not send(made, "hetzner", "DE", branch="narrow").allowed
    assert send(made, "hetzner", "DE", branch="wide").allowed, "main's terms hold"
    assert not send(opened, "aws", "US", branch="open").allowed


def test_admit_refuses_with_what_to_run() -> None:
    made = engine(facts=[], main=PolicySpec())
    made.admit(PolicySpec(), "paper", "main")
    with pytest.raises(SkerryError) as raised:
        made.admit(EU, "paper", "main")
    assert raised.value.problem is DENIED
    assert raised.value.hint == "skerry policy check skerry.toml"


def test_what_is_acted_on_is_recorded_and_what_is_asked_is_not() -> None:
    made = engine(main=EU)
    kept: list[tuple[Request, Decision]] = []
    made.recorder = lambda request, decision: kept.append((request, decision))
    request = Request("operator", "backup:send", "aws", "paper", "main", place=Place("aws", "US"))
    made.decide(request)
    assert not kept
    with pytest.raises(SkerryError) as raised:
        enforce(made, request)
    assert "--provider aws --country US" in raised.value.hint
    assert [each.allowed for _, each in kept] == [False]


def test_what_other_nodes_say_is_replaced_and_forgotten() -> None:
    made = engine(main=EU)
    assert not ask(made, where="n2").allowed
    made.learn("n2", [Fact("node/n2", "country", "FI")])
    assert ask(made, where="n2").allowed
    made.learn("n2", [Fact("node/n2", "country", "US")])
    assert not ask(made, where="n2").allowed
    made.learn("n3", [Fact("node/n2", "country", "FI")])
    assert ask(made, where="n2").rule == "conflict"
    made.forget("n2")
    assert ask(made, where="n2").allowed
    assert made.nodes() == ["n1", "n2"]


def test_the_operators_word_stands_in_for_the_atlas_and_says_so() -> None:
    stated = Fact("provider/hetzner", "affiliates", ("DE",))
    sites = Fact("provider/hetzner", "sites", ("DE",))
    made = engine(facts=[stated, sites], main=PolicySpec(exclude_reach=("US",)))
    found = send(made, "hetzner", "DE")
    assert found.allowed
    notes = {fact.name: fact.note for fact in found.facts}
    assert notes["affiliates"] == "the atlas says DE, FI, SG, US"
    assert notes["seat"] == ""
