"""Answers of the policy as text for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from skerry.kernel.policy import Fact

if TYPE_CHECKING:
    from skerry.node.policy.service import Checked, Explanation, Tested


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


def draw_explanation(found: Explanation) -> str:
    """Return a decision, its rule, its facts and what else is known of the place."""
    decision = found.decision
    lines = [
        f"{'allowed' if decision.allowed else 'refused'} at {found.place}",
        f"rule     {', '.join(decision.rules) or decision.rule}",
        f"why      {decision.reason}",
    ]
    if decision.facts:
        lines += ["facts", *draw_facts(decision.facts)]
    known = {
        "lies in": ", ".join(found.jurisdictions) or "not known",
        "owners": ", ".join(found.owners) or "not known",
        "reach": ", ".join(found.reach) or "not known",
        "residency": found.residency,
        "transfer": found.transfer_basis,
    }
    lines += [f"{name:<9}{value}" for name, value in known.items()]
    if found.conflicts:
        lines += ["contradicted by", *draw_facts(found.conflicts)]
    if decision.policy:
        lines.append(f"policy   {decision.policy}, atlas of {found.atlas}")
    return "\n".join(lines)


def draw_checked(found: Checked) -> str:
    """Return what was found of each app."""
    lines = []
    for each in found.findings:
        state = "may be here" if each.allowed else "MAY NOT BE HERE"
        lines.append(f"{each.app}/{each.branch}: {state} ({each.rule})")
        lines.append(f"  {each.reason}")
        lines.append(f"  evidence: {each.evidence}")
        elsewhere = ", ".join(each.providers) or "no provider that is known"
        lines.append(f"  may also go to: {elsewhere}")
    if found.conflicts:
        lines += ["Facts that are contradicted:", *draw_facts(found.conflicts)]
    if found.cedar:
        lines += ["In Cedar:", "", found.cedar]
    return "\n".join(lines) or "No app is here."


def draw_tested(found: Tested) -> str:
    """Return each case with its outcome, and the sum."""
    lines = []
    for each in found.outcomes:
        lines.append(f"{'ok  ' if each.ok else 'FAIL'} {each.case}: {each.got}")
        if not each.ok:
            lines += [f"     expected {each.expected}", f"     {each.reason}"]
    bad = sum(not each.ok for each in found.outcomes)
    lines.append(f"{len(found.outcomes)} cases, {bad} failed")
    return "\n".join(lines)
