"""The shape of a report: what is claimed and what is evidenced, down to each criterion."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct, frozen=True):
    """A criterion: what is claimed and what is evidenced, each a number of an answer and a SEAL."""

    id: str
    title: str
    claimed: int
    claimed_seal: int
    evidenced: int
    evidenced_seal: int
    label: str
    evidence: str
    source: str
    raised_by: str


class Part(msgspec.Struct, frozen=True):
    """An objective: its levels are the lowest of its criteria, its shares those of points."""

    code: str
    title: str
    claimed_seal: int
    evidenced_seal: int
    claimed_share: float
    evidenced_share: float
    lines: tuple[Line, ...]


class Score(msgspec.Struct, frozen=True):
    """A score out of 100 under one published set of weights."""

    weights: str
    source: str
    claimed: float
    evidenced: float


class Report(msgspec.Struct, frozen=True):
    """All of it, for one subject on one day."""

    subject: str
    date: str
    framework: str
    answered: int
    criteria: int
    claimed_seal: int
    evidenced_seal: int
    scores: tuple[Score, ...]
    parts: tuple[Part, ...]
    limiting: tuple[Line, ...]
    silicon: str
    remarks: tuple[str, ...] = ()
