"""What a drill comes to: steps that held or not, a verdict, and answers for the report."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec


class Verdict(enum.StrEnum):
    """Met: every step held. Partly: what was tried held, and something cannot be shown here. Not
    met: a step failed. Not tried: this machine or node lacks what the drill needs.
    """

    MET = "met"
    PARTLY = "partly"
    NOT_MET = "not met"
    NOT_TRIED = "not tried"


class Step(msgspec.Struct, frozen=True):
    """Something that was tried, and whether it held."""

    text: str
    ok: bool


@dataclass
class Outcome:
    """Collects what a drill finds. `answers` are (criterion of the framework, number)."""

    steps: list[Step] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)
    not_tried: str = ""

    def check(self, ok: bool, text: str) -> bool:
        """Note a step; return whether it held."""
        self.steps.append(Step(text, ok))
        return ok

    def lack(self, text: str) -> None:
        """Note what the criterion asks for and this drill cannot show."""
        self.lacking.append(text)

    @property
    def verdict(self) -> Verdict:
        """The verdict that follows."""
        if self.not_tried:
            return Verdict.NOT_TRIED
        if not self.steps or not all(step.ok for step in self.steps):
            return Verdict.NOT_MET
        return Verdict.PARTLY if self.lacking else Verdict.MET


def shortened(names: Sequence[str], most: int = 5) -> str:
    """Return a few of many names."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
