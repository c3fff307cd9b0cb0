"""Answers that follow from what is known anyway: from facts about places, and of the software.

They are as good as the weakest fact that they follow from, and claim nothing that a rule cannot
say: no law is concluded, no immunity is asserted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from skerry.kernel.policy import Fact
from skerry.node.policy.atlas import Atlas
from skerry.node.policy.places import View
from skerry.node.sovereignty.framework import PREFIX, Criterion
from skerry.node.sovereignty.silicon import Silicon

SOFTWARE = {
    "sov-4.1": ("3", "every resource is exported in standard formats"),
    "sov-5.4": ("2", "every package that is used is listed; who wrote it, and where, only partly"),
    "sov-6.1": ("5", "every resource is spoken to in the protocol of an official client"),
    "sov-6.3": ("3", "Apache-2.0; one project governs it"),
    "sov-6.4": ("5", "architecture and source are public and may be changed"),
    "sov-7.6": ("5", "the operator installs updates when and as tested"),
}
"""What holds of any node because of the software, until a drill or a document says it better."""


def software_facts(subject: str, today: str) -> list[Fact]:
    """Return what the software answers by itself."""
    return [
        Fact(subject, PREFIX + name, answer, source=f"the software: {why}", date=today)
        for name, (answer, why) in SOFTWARE.items()
    ]


def silicon_caps(silicon: Silicon, criteria: Mapping[str, Criterion]) -> str:
    """Say to which level the makers of the silicon limit criteria, however well all else is shown.

    Empty where nothing is known of a maker: then the criteria are answered by nobody.
    """
    caps = []
    for fact in silicon_facts("", silicon, ""):
        criterion = criteria[fact.name.removeprefix(PREFIX)]
        seal = criterion.answers[int(str(fact.value)) - 1].seal
        caps.append(f"{criterion.id} to SEAL-{seal}")
    return f"; it limits {', '.join(sorted(caps))}" if caps else ""


def silicon_facts(subject: str, silicon: Silicon, today: str) -> list[Fact]:
    """Return what processors and accelerators answer whose makers are known to be elsewhere."""
    countries = [country for _, country in (*silicon.processors, *silicon.accelerators)]
    if not all(countries):
        return []
    why = f"designs of {', '.join(sorted(set(countries)))}"
    return [
        Fact(subject, f"{PREFIX}sov-6.5", "2", source=why, date=today),
        Fact(subject, f"{PREFIX}sov-3.5", "3", source=f"open models at most, on {why}", date=today),
    ]


def place_facts(view: View, atlas: Atlas, today: str) -> Iterator[Fact]:
    """Yield what the facts about a place answer."""
    union = next(set(group.members) for group in atlas.groups if group.name == "EU")
    area = next(set(group.members) for group in atlas.groups if group.name == "EEA")
    behind = view.facts
    reaching = behind.get("reach", ())
    controllers = [fact for fact in reaching if fact.name == "controllers"]
    seats = [fact for fact in reaching if fact.name == "seat"]
    if controllers and seats:
        inside = [value[-3:-1] in union for fact in controllers for value in fact.value]
        seat = all(str(fact.value) in union for fact in seats)
        answer = _control(inside, seat=seat)
        yield _from(view, "sov-1.1", answer, (*controllers, *seats), "who controls the owner")
    if view.attributes["reach_known"]:
        reach = set(view.attributes["reach"])
        seated = bool(seats) and str(seats[0].value) in union
        answer = "4" if reach <= area else "3" if seated else "1"
        yield _from(view, "sov-2.2", answer, reaching, f"laws of {', '.join(sorted(reach))}")
    if seats and str(seats[0].value) not in union:
        yield _from(view, "sov-2.1", "1", seats, "the owner's seat")


def _control(inside: list[bool], *, seat: bool) -> str:
    if seat and all(inside):
        return "4"
    if not any(inside):
        return "2" if seat else "1"
    return "3" if seat else "2"


def _from(view: View, name: str, answer: str, facts: Iterable[Fact], why: str) -> Fact:
    """Return an answer that is supported as well as the weakest of some facts."""
    weakest = min(facts, key=lambda fact: fact.evidence.rank)
    return msgspec.structs.replace(
        weakest,
        subject=view.name,
        name=PREFIX + name,
        value=answer,
        source=f"derived from {why}",
        expires=min((fact.expires for fact in facts if fact.expires), default=""),
    )
