"""How well it is shown that a place is where it says: R0 to R4, from the facts that show it.

Each grade asks for the one below: R0 the operator's word; R1 a facility document (`facility`, which
names the country); R2 latency bounds of three witnesses (`range`, which gives kilometres); R3 a TPM
quote bound to a registered host (`quote`). R4, and any grade, is what an auditor has signed for
(`residency`, attested). What somebody says of a grade without more is R0.
"""

from __future__ import annotations

from collections.abc import Mapping

from skerry.kernel.policy import Evidence, Fact
from skerry.kernel.terms import Residency
from skerry.node.policy.facts import Settled

FACILITY = "facility"
RANGE = "range"
QUOTE = "quote"
RESIDENCY = "residency"
FAR_KM = 40_000
"""Farther than any two places on the Earth: what nobody has measured."""

RANGE_KM_MAX = 2_000
"""A bound that is wider shows no more than the operator's word."""

_STATED = {Evidence.DOCUMENTED: Residency.R1, Evidence.ATTESTED: Residency.R4}
"""The best grade that a statement of it can have by its evidence."""


def grade(settled: Mapping[str, Settled], country: str) -> tuple[Residency, tuple[Fact, ...]]:
    """Return the grade of a place in a country, and the facts that show it."""
    shown: list[Fact] = []
    facility = _fact(settled, FACILITY, Evidence.DOCUMENTED)
    if facility is not None and country and facility.value == country:
        shown.append(facility)
        bound = _fact(settled, RANGE, Evidence.MEASURED)
        if bound is not None and kilometres(bound) <= RANGE_KM_MAX:
            shown.append(bound)
            quote = _fact(settled, QUOTE, Evidence.MEASURED)
            shown += [quote] if quote is not None else []
    found = list(Residency)[len(shown)]
    stated = _stated(settled)
    if stated is not None and stated[0].rank > found.rank:
        return stated[0], (stated[1],)
    return found, tuple(shown)


def kilometres(fact: Fact) -> int:
    """Return the kilometres of a bound; `FAR_KM` if it says none."""
    text = fact.value if isinstance(fact.value, str) else ""
    number = text.partition(" ")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 6 else FAR_KM


def bound_km(settled: Mapping[str, Settled]) -> int:
    """Return how far from the stated place it can be at most, as measured; `FAR_KM` if not."""
    found = _fact(settled, RANGE, Evidence.MEASURED)
    return FAR_KM if found is None else kilometres(found)


def _fact(settled: Mapping[str, Settled], name: str, least: Evidence) -> Fact | None:
    found = settled.get(name)
    if found is None or found.undecided or found.fact.evidence.rank < least.rank:
        return None
    return found.fact


def _stated(settled: Mapping[str, Settled]) -> tuple[Residency, Fact] | None:
    found = settled.get(RESIDENCY)
    if found is None or found.undecided or found.fact.value not in list(Residency):
        return None
    best = _STATED.get(found.fact.evidence, Residency.R0)
    said = Residency(str(found.fact.value))
    return min(said, best, key=lambda each: each.rank), found.fact
