"""Terms compiled to Cedar, parsed once, and evaluated.

Every term becomes one `forbid`, so that terms only narrow; one `permit` stands for the terms
together, and one for this node where an app has no policy. Cedar denies what no rule permits. A
rule that cannot be evaluated is *skipped* by Cedar, so a failing `forbid` would open a door: any
diagnostic error therefore denies. Rules of the app's own are checked against a schema first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cedarpy
import msgspec

from skerry.kernel.errors import CONFIG_INVALID
from skerry.kernel.policy import Request
from skerry.kernel.terms import Outside, PolicySpec
from skerry.node.policy.places import View

HERE = '@id("here")\npermit(principal, action, resource) when { resource.here };'
CONFLICT = '@id("conflict")\nforbid(principal, action, resource) when { resource.conflict };'
CEDAR_RULES_MAX = 200

_SCHEMA = """
entity Principal;
entity Place {
  here: Bool, node: Bool, name: String, country: String, jurisdictions: Set<String>,
  owner: String, owners: Set<String>, reach: Set<String>, reach_known: Bool,
  certificates: Set<String>, residency: Long, country_evidence: Long, owner_evidence: Long,
  reach_evidence: Long, residency_evidence: Long, adequate: Bool, conflict: Bool,
  not_farther_km: Long,
};
type Asked = {
  app: String, branch: String, kind: String, resource: String, encrypted: Bool, today: String,
};
"""


@dataclass(frozen=True)
class Rule:
    """A rule of a compiled policy: its name, and the attributes of the place that it looks at."""

    name: str
    permits: bool
    looks_at: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What Cedar says: the rules that decided, and why a rule could not be evaluated, if so."""

    allowed: bool
    rules: tuple[Rule, ...]
    error: str = ""


class Compiled:
    """A policy, parsed."""

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec
        self.text = cedar_text(spec)
        self.digest = hashlib.sha256(self.text.encode()).hexdigest()[:16]
        try:
            self._set = cedarpy.PolicySet.from_str(self.text)
            self.rules = _rules(self.text)
        except ValueError as error:
            raise CONFIG_INVALID(
                "The Cedar of the policy cannot be read.",
                why=_first_line(error),
                hint="skerry docs evidence",
            ) from error

    def evaluate(self, request: Request, view: View) -> Verdict:
        """Ask Cedar; a request or rule that cannot be evaluated is denied."""
        asked = {
            "principal": {"type": "Principal", "id": request.principal},
            "action": {"type": "Action", "id": request.action},
            "resource": {"type": "Place", "id": view.name},
            "context": {
                "app": request.app or "",
                "branch": request.branch or "",
                "kind": request.kind or "",
                "resource": request.resource or "",
                "encrypted": request.encrypted,
                "today": view.today,
            },
        }
        try:
            result = cedarpy.is_authorized(asked, self._set, _entities_of(view))
        except (ValueError, TypeError, RuntimeError) as error:
            return Verdict(False, (), _first_line(error))
        problems = result.diagnostics.errors
        if problems:
            return Verdict(False, (), str(problems[0]))
        return Verdict(result.allowed, tuple(self.rules[x] for x in result.diagnostics.reasons))


@lru_cache(maxsize=1024)
def compiled(spec: PolicySpec) -> Compiled:
    """Return a policy, compiled once; raise CONFIG_INVALID if its Cedar cannot be read."""
    return Compiled(spec)


def cedar_text(spec: PolicySpec) -> str:
    """Return a policy in Cedar."""
    if not spec.stated:
        return HERE
    rules = [CONFLICT]
    if spec.has_terms:
        rules += [_rule("terms", "permit", ""), *_terms(spec)]
    return "\n\n".join([*rules, spec.cedar] if spec.cedar else rules)


def _terms(spec: PolicySpec) -> Iterable[str]:
    may = "context.encrypted || " if spec.outside is Outside.ENCRYPTED_ONLY else ""
    least = spec.evidence_min.rank if spec.evidence_min else 0

    def term(name: str, holds: str) -> str:
        return _rule(name, "forbid", f"unless {{ {may}{holds} }}")

    if spec.jurisdiction:
        yield term("jurisdiction", f"resource.jurisdictions.containsAny({_set(spec.jurisdiction)})")
    if spec.exclude_reach:
        reached = f"resource.reach.containsAny({_set(spec.exclude_reach)})"
        yield term("exclude_reach", f"(resource.reach_known && !{reached})")
    if spec.owners:
        yield term("owners", f"resource.owners.containsAny({_set(spec.owners)})")
    if spec.residency_min:
        yield term("residency_min", f"resource.residency >= {spec.residency_min.rank}")
    if least:
        for name in _graded(spec):
            yield term(f"evidence_min:{name}", f"resource.{name}_evidence >= {least}")


def _graded(spec: PolicySpec) -> list[str]:
    """Return which facts must be supported well enough: those that the terms ask for."""
    asked = {
        "country": bool(spec.jurisdiction),
        "reach": bool(spec.exclude_reach),
        "owner": bool(spec.owners),
        "residency": bool(spec.residency_min),
    }
    return [name for name, wanted in asked.items() if wanted] or ["country", "owner"]


def _rule(name: str, effect: str, condition: str) -> str:
    return f'@id("{name}")\n{effect}(principal, action, resource) {condition};'.replace(" ;", ";")


def _set(values: Iterable[str]) -> str:
    """Return a Cedar set of strings; JSON's escapes that Cedar lacks are written its way."""
    return "[" + ", ".join(_string(value) for value in values) + "]"


def _string(value: str) -> str:
    out = []
    for character in value:
        plain = character.isprintable() and character.isascii() and character not in '"\\'
        out.append(character if plain else f"\\u{{{ord(character):x}}}")
    return '"' + "".join(out) + '"'


def _rules(text: str) -> dict[str, Rule]:
    """Return the rules by the names that Cedar gives them, in the order of the text."""
    document = json.loads(cedarpy.policies_to_json_str(text))
    if document["templates"]:
        raise ValueError("templates are not used here")
    found = document["staticPolicies"]
    if len(found) > CEDAR_RULES_MAX:
        raise ValueError(f"there are more than {CEDAR_RULES_MAX} rules")
    return {
        key: Rule(
            name=(rule.get("annotations") or {}).get("id") or key,
            permits=rule["effect"] == "permit",
            looks_at=tuple(dict.fromkeys(_attributes(rule["conditions"]))),
        )
        for key, rule in found.items()
    }


def _attributes(expression: Any) -> Iterable[str]:
    """Yield the attributes of the place that an expression reads (Cedar's JSON form)."""
    if isinstance(expression, list):
        for each in expression:
            yield from _attributes(each)
    elif isinstance(expression, dict):
        access = expression.get(".")
        if isinstance(access, dict) and access.get("left") == {"Var": "resource"}:
            yield str(access["attr"])
        for each in expression.values():
            yield from _attributes(each)


def _entities_of(view: View) -> cedarpy.Entities:
    """Return a place as Cedar has it, parsed once."""
    found: cedarpy.Entities | None = view.kept.get("entities")
    if found is not None:
        return found
    uid = {"type": "Place", "id": view.name}
    entity = {"uid": uid, "attrs": dict(view.attributes), "parents": []}
    found = cedarpy.Entities.from_json_str(msgspec.json.encode([entity]).decode())
    view.kept["entities"] = found
    return found


def check(spec: PolicySpec, actions: Iterable[str]) -> Compiled:
    """Compile a policy and check it against what requests and places are; raise CONFIG_INVALID."""
    made = compiled(spec)
    names = ", ".join(sorted(f'"{action}"' for action in actions))
    schema = (
        f"{_SCHEMA}action {names} appliesTo "
        "{ principal: [Principal], resource: [Place], context: Asked };"
    )
    result = cedarpy.validate_policies(made.text, schema)
    if not result.validation_passed:
        first = result.errors[0]
        rule = made.rules.get(first.policy_id)
        raise CONFIG_INVALID(
            "The Cedar of the policy asks for what there is not.",
            why=f"Rule {rule.name if rule else first.policy_id}: {_first_line(first.error)}",
            hint="skerry docs evidence",
        )
    return made


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
