"""An independent evaluator: what a policy means, written down slowly and without Cedar.

It knows nothing of the compiler, the views or the settling of facts: it works from the terms, the
raw facts and the groups of countries alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from skerry.kernel.policy import Evidence, Fact
from skerry.kernel.terms import Outside, PolicySpec

ORDER = ["declared", "documented", "attested", "measured"]


def grade(fact: Fact, today: str) -> int:
    needs: dict[str, bool] = {
        "declared": True,
        "documented": bool(fact.source and fact.sha256 and fact.expires),
        "attested": bool(fact.by and fact.signature and fact.expires),
        "measured": fact.index is not None and bool(fact.expires),
    }
    if fact.expires and fact.expires < today:
        return 1
    return ORDER.index(fact.evidence) + 1 if needs[fact.evidence] else 1


def best(facts: Sequence[Fact], name: str, today: str) -> list[Fact]:
    named = [fact for fact in facts if fact.name == name]
    top = max((grade(fact, today) for fact in named), default=0)
    return [fact for fact in named if grade(fact, today) == top]


def texts(fact: Fact) -> set[str]:
    return {fact.value} if isinstance(fact.value, str) else set(fact.value)


def single(facts: Sequence[Fact], name: str, today: str) -> str | None:
    values = [fact.value for fact in best(facts, name, today)]
    if not values or any(value != values[0] for value in values):
        return None
    return values[0] if isinstance(values[0], str) else None


def contradicted(facts: Sequence[Fact], today: str) -> bool:
    sets = {"affiliates", "certificates", "controllers", "sites"}
    for name in {fact.name for fact in facts} - sets:
        values = [texts(fact) for fact in best(facts, name, today)]
        if any(value != values[0] for value in values):
            return True
    return False


def reaches(facts: Sequence[Fact], today: str) -> set[str]:
    found = set()
    for name in ("country", "seat", "affiliates", "sites"):
        for fact in best(facts, name, today):
            found |= {value for value in texts(fact) if len(value) == 2 and value.isupper()}
    for fact in best(facts, "controllers", today):
        found |= {value[-3:-1] for value in texts(fact) if value.endswith(")")}
    return found


def allowed(
    spec: PolicySpec,
    facts: Sequence[Fact],
    groups: Mapping[str, set[str]],
    today: str,
    *,
    here: bool,
    encrypted: bool,
) -> bool:
    """Tell whether a place with these facts is allowed."""
    if spec == PolicySpec():
        return here
    if contradicted(facts, today):
        return False
    if spec.outside is Outside.ENCRYPTED_ONLY and encrypted:
        return True
    least = 0 if spec.evidence_min is None else ORDER.index(spec.evidence_min) + 1
    asked = [
        (spec.jurisdiction, ("country",), lies(spec, facts, groups, today)),
        (spec.exclude_reach, REACHING, out_of_reach(spec, facts, today)),
        (spec.owners, ("owner",), owned(spec, facts, today)),
    ]
    if spec.residency_min is not None:
        found, weakest = residency(facts, today)
        if found < int(spec.residency_min[1]) or weakest < least:
            return False
    terms = [(names, holds) for stated, names, holds in asked if stated]
    if not terms and spec.residency_min is None:
        terms = [(("country",), True), (("owner",), True)]
    return all(holds and rank(facts, names, today) >= least for names, holds in terms)


REACHING = ("country", "seat", "controllers", "affiliates", "sites")


def lies(
    spec: PolicySpec, facts: Sequence[Fact], groups: Mapping[str, set[str]], today: str
) -> bool:
    country = single(facts, "country", today)
    inside = {country} | {name for name, members in groups.items() if country in members}
    return country is not None and bool(inside & set(spec.jurisdiction))


def out_of_reach(spec: PolicySpec, facts: Sequence[Fact], today: str) -> bool:
    names = ("owner", "seat")
    known = single(facts, "country", today) and any(single(facts, x, today) for x in names)
    return bool(known) and not reaches(facts, today) & set(spec.exclude_reach)


def residency(facts: Sequence[Fact], today: str) -> tuple[int, int]:
    """Return the grade of a place, 0 to 4, and the weakest grade of the evidence that shows it."""
    where = single(facts, "country", today)
    found, weakest = 0, 0
    steps: list[tuple[str, int, Callable[[str], bool]]] = [
        ("facility", 2, lambda text: text == where),
        ("range", 4, lambda text: text.split(" ")[0].isdigit() and int(text.split(" ")[0]) <= 2000),
        ("quote", 4, lambda text: True),
    ]
    for name, least, holds in steps:
        value, rank_of = single(facts, name, today), rank(facts, [name], today)
        if where is None or value is None or rank_of < least or not holds(value):
            break
        found, weakest = found + 1, min(weakest or rank_of, rank_of)
    said, how = single(facts, "residency", today), rank(facts, ["residency"], today)
    best_of = {2: 1, 3: 4}.get(how, 0)
    if said in ("R0", "R1", "R2", "R3", "R4") and min(int(said[1]), best_of) > found:
        return min(int(said[1]), best_of), how
    return found, weakest


def owned(spec: PolicySpec, facts: Sequence[Fact], today: str) -> bool:
    controllers = set()
    for fact in best(facts, "controllers", today):
        controllers |= {value.rsplit(" (", 1)[0] for value in texts(fact)}
    return bool(({single(facts, "owner", today)} | controllers) & set(spec.owners))


def rank(facts: Sequence[Fact], names: Sequence[str], today: str) -> int:
    """Return the weakest grade of the facts of these names that are there; 0 if none is."""
    found = []
    for name in names:
        there = best(facts, name, today)
        if there:
            found.append(grade(there[0], today))
    return min(found, default=0)


assert [str(each) for each in Evidence] == ORDER
