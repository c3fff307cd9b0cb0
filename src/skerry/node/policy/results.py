"""What the words of the policy answer, and how each is shown to people."""

from __future__ import annotations

import msgspec

from skerry.kernel.policy import Decision, Fact
from skerry.node.policy.drawing import draw_facts


class Finding(msgspec.Struct, frozen=True):
    """An app on this node: whether its terms allow it here, and why."""

    app: str
    branch: str
    allowed: bool
    rule: str
    reason: str
    evidence: str
    providers: tuple[str, ...]


class Checked(msgspec.Struct, frozen=True):
    """What `policy.check` found."""

    findings: tuple[Finding, ...]
    conflicts: tuple[Fact, ...]
    cedar: str = ""

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_checked(self)

    @property
    def exit_code(self) -> int:
        """Return 4 if an app is where it may not be."""
        return 0 if all(each.allowed for each in self.findings) else 4


class Explanation(msgspec.Struct, frozen=True):
    """A decision that was not acted on, with everything that is known of the place."""

    place: str
    decision: Decision
    country: str
    jurisdictions: tuple[str, ...]
    owners: tuple[str, ...]
    reach: tuple[str, ...]
    residency: str
    transfer_basis: str
    conflicts: tuple[Fact, ...]
    atlas: str
    note: str = ""

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_explanation(self)

    @property
    def exit_code(self) -> int:
        """Return 4 if it is not allowed."""
        return 0 if self.decision.allowed else 4


class Outcome(msgspec.Struct, frozen=True):
    """One expected decision, and what was decided."""

    case: str
    expected: str
    got: str
    ok: bool
    reason: str


class Tested(msgspec.Struct, frozen=True):
    """All expected decisions."""

    outcomes: tuple[Outcome, ...]

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_tested(self)

    @property
    def exit_code(self) -> int:
        """Return 1 if one came out otherwise."""
        return 0 if all(each.ok for each in self.outcomes) else 1


class PlaceInfo(msgspec.Struct, frozen=True):
    """A place in a list. `sites` are countries; `reach` whose laws reach it, as derived."""

    place: str
    owner: str
    sites: str
    reach: str
    evidence: str
    may: str = ""


def draw_explanation(found: Explanation) -> str:
    """Return a decision, its rule, its facts and what else is known of the place."""
    decision = found.decision
    lines = [
        f"{'allowed' if decision.allowed else 'refused'} at {found.place}",
        f"rule      {', '.join(decision.rules) or decision.rule}",
        f"why       {decision.reason}",
    ]
    if found.note:
        lines.append(f"note      {found.note}")
    if decision.facts:
        lines += ["facts", *draw_facts(decision.facts)]
    known = {
        "lies in": ", ".join(found.jurisdictions) or "not known",
        "owners": ", ".join(found.owners) or "not known",
        "reach": ", ".join(found.reach) or "not known",
        "residency": found.residency,
        "transfer": found.transfer_basis,
    }
    lines += [f"{name:<10}{value}" for name, value in known.items()]
    if found.conflicts:
        lines += ["contradicted by", *draw_facts(found.conflicts)]
    if decision.policy:
        lines.append(f"policy    {decision.policy}, atlas of {found.atlas}")
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
