"""Why: a sentence for people about each rule that decided, with the facts that it looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from skerry.kernel.policy import Decision, Evidence, Fact
from skerry.kernel.terms import Outside, PolicySpec
from skerry.node.policy.places import View

if TYPE_CHECKING:
    from skerry.node.policy.compiled import Compiled, Rule, Verdict


def explain(policy: Compiled, verdict: Verdict, view: View, *, encrypted: bool) -> Decision:
    """Make a decision out of the rules that decided."""
    rules = sorted(verdict.rules, key=lambda rule: rule.name)
    if not rules:
        why = f"No rule of the app's policy permits {view.name}."
        return Decision(False, "default", why, policy=policy.digest)
    names = tuple(rule.name for rule in rules)
    if verdict.allowed:
        looked_at = [*(rule for rule in policy.rules.values() if not rule.permits), *rules]
        reason = allowed(rules, view, policy.spec, encrypted=encrypted)
    else:
        looked_at = rules
        reason = refused(rules, view, policy.spec)
    facts = facts_of(looked_at, view)
    return Decision(verdict.allowed, names[0], reason, names, facts, policy.digest)


def facts_of(rules: Sequence[Rule], view: View) -> tuple[Fact, ...]:
    """Return the facts that rules looked at, each once."""
    found = [fact for rule in rules for name in rule.looks_at for fact in view.facts.get(name, ())]
    return tuple(dict.fromkeys(found))


def refused(rules: Sequence[Rule], view: View, spec: PolicySpec) -> str:
    """Say why a place fails."""
    sentences = [_FAILURES.get(rule.name.partition(":")[0], _own)(rule, view) for rule in rules]
    contradicted = any(rule.name == "conflict" for rule in rules)
    if spec.outside is Outside.ENCRYPTED_ONLY and not contradicted and not view.attributes["here"]:
        sentences.append("Only what is encrypted on this side may go there.")
    return " ".join(sentences)


def allowed(rules: Sequence[Rule], view: View, spec: PolicySpec, *, encrypted: bool) -> str:
    """Say why a place passes."""
    if not any(rule.name == "terms" for rule in rules):
        return f"{view.name}: permitted by {', '.join(rule.name for rule in rules)}."
    found = [f"{view.name} meets the terms"]
    if spec.outside is Outside.ENCRYPTED_ONLY and encrypted:
        found = [f"{view.name} receives only what is encrypted on this side"]
    elif spec.jurisdiction:
        found.append(f"it lies in {_shown(view, 'country')}")
    if spec.exclude_reach and not encrypted:
        found.append(f"laws that reach it: {', '.join(view.attributes['reach'])}")
    if spec.owners and not encrypted:
        found.append(f"its owner is {_shown(view, 'owner')}")
    return "; ".join(found) + "."


def _shown(view: View, name: str) -> str:
    value = view.attributes[name]
    facts = view.facts.get(name, ())
    return f"{value} ({support(facts[0])})" if facts else str(value)


def support(fact: Fact) -> str:
    """Return a fact's evidence in a few words."""
    parts = [str(fact.evidence)]
    if fact.date:
        parts.append(fact.date)
    if fact.source:
        parts.append(fact.source)
    return ", ".join(parts)


def _jurisdiction(rule: Rule, view: View) -> str:
    if not view.attributes["country"]:
        hint = " Its config.toml does not say." if view.attributes["here"] else ""
        return f"It is not known in which country {view.name} lies.{hint}"
    groups = view.attributes["jurisdictions"][1:]
    inside = f", which is in {', '.join(groups)}" if groups else ""
    return f"{view.name} lies in {_shown(view, 'country')}{inside}: not where the policy asks."


def _exclude_reach(rule: Rule, view: View) -> str:
    if not view.attributes["reach_known"]:
        return f"It is not known whose laws reach {view.name}: its country or owner is not stated."
    exposures = [f"{_values(fact)} by {fact.name}" for fact in view.facts.get("reach", ())]
    return (
        f"Laws of {', '.join(view.attributes['reach'])} reach {view.name}: {'; '.join(exposures)}."
    )


def _values(fact: Fact) -> str:
    return fact.value if isinstance(fact.value, str) else ", ".join(fact.value)


def _owners(rule: Rule, view: View) -> str:
    if not view.attributes["owners"]:
        return f"It is not known to whom {view.name} belongs."
    return f"{view.name} belongs to {', '.join(view.attributes['owners'])}: not one of the owners."


def _evidence(rule: Rule, view: View) -> str:
    name = rule.name.partition(":")[2]
    rank = view.attributes[f"{name}_evidence"]
    grade = list(Evidence)[rank - 1] if rank else "missing"
    return f"The evidence for the {name} of {view.name} is {grade}: the policy asks for more."


def _residency(rule: Rule, view: View) -> str:
    shown = ", ".join(fact.name for fact in view.facts.get("residency_evidence", ()))
    return (
        f"The residency of {view.name} is graded R{view.attributes['residency']}: too low. "
        f"It is shown by {shown or 'nothing but its word'}."
    )


def _conflict(rule: Rule, view: View) -> str:
    facts = view.facts.get("conflict", ())
    said = {f"{fact.name} {_values(fact)} ({support(fact)})" for fact in facts}
    return f"Facts about {view.name} contradict each other: {'; '.join(sorted(said))}."


def _own(rule: Rule, view: View) -> str:
    return f"{view.name} is forbidden by the rule {rule.name} of the app."


_FAILURES: dict[str, Callable[[Rule, View], str]] = {
    "jurisdiction": _jurisdiction,
    "exclude_reach": _exclude_reach,
    "owners": _owners,
    "evidence_min": _evidence,
    "residency_min": _residency,
    "conflict": _conflict,
}
