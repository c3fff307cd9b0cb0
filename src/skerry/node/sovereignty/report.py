"""The report: claimed and evidenced levels, scores, what limits them, and what would raise them.

An answer is *claimed* if any fact states it, and *evidenced* if the best evidence for it is a
document, an attestation or a measurement that counts today. What nobody answered counts as the
lowest answer. The overall level is the lowest level of all criteria: the framework averages
nothing. Scores are sums over objectives of points, as a share of the most, times the weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from skerry.kernel.policy import Evidence, Fact
from skerry.node.policy.facts import counted, settle
from skerry.node.sovereignty.framework import PREFIX, Criterion, Framework, Objective
from skerry.node.sovereignty.shape import Line, Part, Report, Score


def assess(
    subject: str,
    places: Sequence[Sequence[Fact]],
    data: Framework,
    today: str,
    silicon: str,
    remarks: Iterable[str] = (),
) -> Report:
    """Assess a subject from the facts of each of its places; of several, the weakest counts."""
    parts = tuple(_part(each, places, today) for each in data.objective)
    lines = [line for part in parts for line in part.lines]
    evidenced = min(line.evidenced_seal for line in lines)
    return Report(
        subject=subject,
        date=today,
        framework=data.version,
        answered=sum(line.claimed > 0 for line in lines),
        criteria=len(lines),
        claimed_seal=min(line.claimed_seal for line in lines),
        evidenced_seal=evidenced,
        scores=tuple(
            Score(
                weights=each.name,
                source=each.source,
                claimed=_score(each.of, [part.claimed_share for part in parts]),
                evidenced=_score(each.of, [part.evidenced_share for part in parts]),
            )
            for each in data.weights
        ),
        parts=parts,
        limiting=tuple(line for line in lines if line.evidenced_seal == evidenced),
        silicon=silicon,
        remarks=tuple(remarks),
    )


def _score(weights: Sequence[int], shares: Sequence[float]) -> float:
    return round(sum(w * share for w, share in zip(weights, shares, strict=True)), 1)


def _part(objective: Objective, places: Sequence[Sequence[Fact]], today: str) -> Part:
    lines = [_weakest(criterion, places, today) for criterion in objective.criterion]
    pairs = list(zip(objective.criterion, lines, strict=True))
    claimed = sum(_points(criterion, line.claimed) for criterion, line in pairs)
    evidenced = sum(_points(criterion, line.evidenced) for criterion, line in pairs)
    return Part(
        code=objective.code,
        title=objective.title,
        claimed_seal=min(line.claimed_seal for line in lines),
        evidenced_seal=min(line.evidenced_seal for line in lines),
        claimed_share=round(claimed / objective.points_max, 4),
        evidenced_share=round(evidenced / objective.points_max, 4),
        lines=tuple(lines),
    )


def _points(criterion: Criterion, answer: int) -> float:
    return criterion.answers[answer - 1].points if answer else 0.0


def _weakest(criterion: Criterion, places: Sequence[Sequence[Fact]], today: str) -> Line:
    lines = [_line(criterion, facts, today) for facts in places]
    return min(lines, key=lambda line: (line.evidenced_seal, line.claimed_seal, line.claimed))


def _line(criterion: Criterion, facts: Sequence[Fact], today: str) -> Line:
    name = PREFIX + criterion.id
    said = [fact for fact in facts if fact.name == name and _answer(criterion, fact)]
    claimed = max((_answer(criterion, fact) for fact in said), default=0)
    best = None
    evidenced = 0
    if said:
        best = settle(said, today).fact
        good = [counted(fact, today) for fact in said]
        good = [fact for fact in good if fact.evidence.rank >= Evidence.DOCUMENTED.rank]
        top = max((fact.evidence.rank for fact in good), default=0)
        evidenced = min(
            (_answer(criterion, fact) for fact in good if fact.evidence.rank == top), default=0
        )
    shown = criterion.answers[(evidenced or claimed or 1) - 1].label
    return Line(
        id=criterion.id,
        title=criterion.title,
        claimed=claimed,
        claimed_seal=_seal(criterion, claimed),
        evidenced=evidenced,
        evidenced_seal=_seal(criterion, evidenced),
        label=shown if said else "not answered",
        evidence=str(best.evidence) if best else "",
        source=best.source if best else "",
        raised_by=_raised_by(criterion, claimed, evidenced),
    )


def _answer(criterion: Criterion, fact: Fact) -> int:
    """Return the number of the answer that a fact gives; 0 if it is none."""
    value = fact.value if isinstance(fact.value, str) else ""
    number = int(value) if value.isascii() and value.isdigit() else 0
    return number if 1 <= number <= len(criterion.answers) else 0


def _seal(criterion: Criterion, answer: int) -> int:
    """Return the level that an answer allows; what is not answered counts as the lowest."""
    return criterion.answers[max(answer, 1) - 1].seal


_SHOWN: Mapping[str, str] = {
    "measure": "a drill, or a document",
    "document": "a document with its address, SHA-256 and expiry",
    "auditor": "an auditor's report or certificate",
}


def _raised_by(criterion: Criterion, claimed: int, evidenced: int) -> str:
    """Say what would raise the level of a criterion."""
    here = _seal(criterion, evidenced)
    how = _SHOWN[criterion.shown_by]
    if claimed > evidenced and _seal(criterion, claimed) > here:
        label = criterion.answers[claimed - 1].label
        return f"SEAL-{_seal(criterion, claimed)} by {how} for “{label}”"
    better = next((option for option in criterion.answers if option.seal > here), None)
    if better is None:
        return ""
    return f"SEAL-{better.seal} by “{better.label}”, shown by {how}"
