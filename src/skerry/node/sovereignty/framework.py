"""The EU Cloud Sovereignty Framework as data: objectives, criteria, answers, sets of weights."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib import resources

import msgspec

PREFIX = "csf:"
"""Begins the name of a fact that answers a criterion; its value is the answer's number, from 1."""


class Option(msgspec.Struct, frozen=True):
    """A possible answer, its points, and the level (SEAL) that it allows at most."""

    label: str
    points: float
    seal: int


class Criterion(msgspec.Struct, frozen=True):
    """A question, and who can show its answer: a probe of ours, a document, an auditor."""

    id: str
    title: str
    shown_by: str
    answers: tuple[Option, ...]


class Objective(msgspec.Struct, frozen=True):
    """One of the eight objectives."""

    code: str
    title: str
    criterion: tuple[Criterion, ...]

    @property
    def points_max(self) -> float:
        """The points of the best answers."""
        return sum(max(each.points for each in one.answers) for one in self.criterion)


class Weights(msgspec.Struct, frozen=True):
    """A published set of weights of the objectives, in percent."""

    name: str
    source: str
    of: tuple[int, ...]


class Framework(msgspec.Struct, frozen=True):
    """All of it."""

    version: str
    weights: tuple[Weights, ...]
    objective: tuple[Objective, ...]

    def criteria(self) -> dict[str, Criterion]:
        """Return the criteria by their ids."""
        return {one.id: one for each in self.objective for one in each.criterion}


SEALS = (
    "none",
    "jurisdictional",
    "data",
    "technological",
    "full",
)
"""What the levels 0 to 4 are called."""


@lru_cache(maxsize=1)
def framework() -> Framework:
    """Return the shipped framework."""
    data = (resources.files(__package__) / "data" / "csf.toml").read_text()
    return msgspec.convert(tomllib.loads(data), Framework)
