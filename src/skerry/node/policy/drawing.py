"""Facts as text for people."""

from __future__ import annotations

from collections.abc import Iterable

from skerry.kernel.policy import Fact


def draw_fact(fact: Fact) -> str:
    """Return a fact with its evidence, in a line."""
    value = fact.value if isinstance(fact.value, str) else ", ".join(fact.value)
    dated = f"{fact.evidence} {fact.date}".strip()
    until = f", until {fact.expires}" if fact.expires else ""
    source = f"; {fact.source}" if fact.source else ""
    note = f" ({fact.note})" if fact.note else ""
    return f"{fact.name} = {value}  [{dated}{until}{source}]{note}"


def draw_facts(facts: Iterable[Fact], indent: str = "  ") -> list[str]:
    """Return facts as lines."""
    return [f"{indent}{draw_fact(fact)}" for fact in facts]
