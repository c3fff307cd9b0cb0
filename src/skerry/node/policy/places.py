"""What is known of a place, as rules see it: its attributes, and the facts behind each of them.

Whose laws reach a place is derived: the law where it lies, where its owner sits, of everyone who
controls the owner, and wherever the owner has an affiliate or a site (possession, custody or
control do not stop at a border). Nothing is concluded from it; the facts are named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.kernel.policy import Fact, Place
from skerry.kernel.territory import COUNTRIES
from skerry.node.policy.atlas import Atlas
from skerry.node.policy.facts import Settled, settle
from skerry.node.policy.residency import bound_km, grade

REACHING = ("country", "seat", "controllers", "affiliates", "sites")
"""The facts from which reach is derived."""

_CONTROLLER = re.compile(r"(?P<who>.+) \((?P<country>[A-Z]{2})\)")


@dataclass(frozen=True)
class View:
    """A place on a day: its Cedar attributes, and by attribute the facts that it rests on."""

    name: str
    attributes: Mapping[str, Any]
    facts: Mapping[str, tuple[Fact, ...]]
    conflicts: tuple[Fact, ...]
    today: str
    kept: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was made of it before: its Cedar entity, and explained decisions by policy and rules."""


def view_of(name: str, facts: Iterable[Fact], today: str, atlas: Atlas, *, here: bool) -> View:
    """Derive what rules see of a place from the facts about it."""
    by_name: dict[str, list[Fact]] = {}
    for fact in facts:
        # Answers to a framework's questions and coordinates are no attributes.
        if ":" not in fact.name and fact.name != "at":
            by_name.setdefault(fact.name, []).append(fact)
    settled = {each: settle(found, today) for each, found in by_name.items()}
    country = _text(settled.get("country"))
    reach, reaching = _reach(settled)
    owner = _text(settled.get("owner"))
    controllers = _controllers(settled)
    residency, showing = grade(settled, country)
    attributes = {
        "here": here,
        "node": name.startswith("node/"),
        "name": name.partition("/")[2],
        "country": country,
        "jurisdictions": [country, *atlas.groups_of(country, today)] if country else [],
        "owner": owner,
        "owners": sorted({owner, *controllers} - {""}),
        "reach": sorted(reach),
        "reach_known": bool(country and (owner or _text(settled.get("seat")))),
        "certificates": list(_texts(settled.get("certificates"))),
        "residency": residency.rank,
        "not_farther_km": bound_km(settled),
        "country_evidence": _rank(settled, "country"),
        "owner_evidence": _rank(settled, "owner"),
        "reach_evidence": min((each.evidence.rank for each in reaching), default=0),
        "residency_evidence": min((each.evidence.rank for each in showing), default=0),
        "adequate": atlas.adequate(country, today),
        "conflict": any(each.undecided for each in settled.values()),
    }
    conflicts = tuple(fact for each in settled.values() for fact in each.conflicts)
    behind = _behind(settled, reaching, conflicts, showing)
    return View(name, attributes, behind, conflicts, today)


def _behind(
    settled: Mapping[str, Settled],
    reaching: tuple[Fact, ...],
    conflicts: tuple[Fact, ...],
    showing: tuple[Fact, ...],
) -> dict[str, tuple[Fact, ...]]:
    """Return the facts behind each attribute."""
    one = {key: (value.fact,) for key, value in settled.items()}
    where = one.get("country", ())
    undecided = tuple(each.fact for each in settled.values() if each.undecided)
    behind = {
        "country": where,
        "jurisdictions": where,
        "adequate": where,
        "country_evidence": where,
        "owner": one.get("owner", ()),
        "owners": (*one.get("owner", ()), *one.get("controllers", ())),
        "owner_evidence": one.get("owner", ()),
        "reach": reaching,
        "reach_known": (*where, *one.get("owner", ()), *one.get("seat", ())),
        "reach_evidence": reaching,
        "certificates": one.get("certificates", ()),
        "residency": showing or one.get("residency", ()),
        "residency_evidence": showing,
        "not_farther_km": one.get("range", ()),
        "conflict": (*undecided, *conflicts) if undecided else (),
    }
    return {key: value for key, value in behind.items() if value}


def _reach(settled: Mapping[str, Settled]) -> tuple[set[str], tuple[Fact, ...]]:
    """Return whose laws reach the place, and the facts from which that follows."""
    found: set[str] = set()
    facts = []
    for name in REACHING:
        each = settled.get(name)
        if each is None:
            continue
        facts.append(each.fact)
        for value in _all_texts(each):
            match = _CONTROLLER.fullmatch(value) if name == "controllers" else None
            code = match["country"] if match else value
            if code in COUNTRIES:
                found.add(code)
    return found, tuple(facts)


def _controllers(settled: Mapping[str, Settled]) -> list[str]:
    names = []
    for value in _texts(settled.get("controllers")):
        match = _CONTROLLER.fullmatch(value)
        names.append(match["who"] if match else value)
    return names


def _rank(settled: Mapping[str, Settled], name: str) -> int:
    found = settled.get(name)
    return 0 if found is None or found.undecided else found.fact.evidence.rank


def _text(settled: Settled | None) -> str:
    """Return a single value; '' if there is none or facts that are equally good disagree."""
    if settled is None or settled.undecided or not isinstance(settled.fact.value, str):
        return ""
    return settled.fact.value


def _texts(settled: Settled | None) -> tuple[str, ...]:
    if settled is None:
        return ()
    value = settled.fact.value
    return (value,) if isinstance(value, str) else tuple(value)


def _all_texts(settled: Settled) -> list[str]:
    """Return every value that is not ruled out: reach is read cautiously."""
    facts = [settled.fact, *(settled.conflicts if settled.undecided else ())]
    return [
        value
        for fact in facts
        for value in ((fact.value,) if isinstance(fact.value, str) else fact.value)
    ]


def facts_of_place(
    place: Place, known: Callable[[str], list[Fact]], atlas: Atlas, today: str
) -> list[Fact]:
    """Return what the caller, the endpoint's name and `known` (by subject) say of a place.

    Facts about where a provider lies are kept for each of its sites (`provider/<name>/<country>`).
    What the caller says and what the endpoint's name tells must agree, however well the rest is
    supported: facts named `endpoint` stay undecided if they do not.
    """
    subject = f"provider/{place.provider}"
    facts = [*known(subject)]
    facts += [msgspec.structs.replace(each, subject=subject) for each in place.facts]
    told = atlas.endpoint(place.host) if place.host else None
    if told is not None:
        if told.provider != place.provider:
            facts += _disagreement(subject, place, told.provider, place.provider, today)
        if told.country and place.country and told.country != place.country:
            facts += _disagreement(subject, place, told.country, place.country, today)
        if told.country:
            facts.append(_country(subject, told.country, f"the name {place.host}", today))
    if place.country:
        facts.append(_country(subject, place.country, "whoever asked", today))
    sites = [each for each in facts if each.name == "sites"]
    stated = {str(each.value) for each in facts if each.name == "country"}
    if not stated and len(_texts_of(sites)) == 1:
        only = next(iter(_texts_of(sites)))
        facts.append(msgspec.structs.replace(sites[0], name="country", value=only))
        stated = {only}
    if len(stated) == 1:
        facts += known(f"{subject}/{next(iter(stated))}")
    return facts


def _disagreement(
    subject: str, place: Place, told: str, claimed: str, today: str
) -> tuple[Fact, Fact]:
    return (
        Fact(subject, "endpoint", told, source=f"the name {place.host}", date=today),
        Fact(subject, "endpoint", claimed, source="whoever asked", date=today),
    )


def _texts_of(facts: Iterable[Fact]) -> set[str]:
    return {
        value
        for fact in facts
        for value in ((fact.value,) if isinstance(fact.value, str) else fact.value)
    }


def _country(subject: str, country: str, source: str, today: str) -> Fact:
    return Fact(subject, "country", country, source=source, date=today)
