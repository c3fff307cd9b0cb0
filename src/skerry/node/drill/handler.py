"""Runs drills one at a time, and keeps their verdicts: in the audit log, and as measured facts."""

from __future__ import annotations

import asyncio
import datetime
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from skerry.kernel.commands import Nothing
from skerry.kernel.errors import CONFLICT
from skerry.kernel.policy import Evidence, Fact, Request
from skerry.node.audit.entries import Record, decode
from skerry.node.audit.log import AuditLog
from skerry.node.drill.service import DRILLS, Asked, Drill, Drilled, Last
from skerry.node.drill.verdict import Outcome, Verdict
from skerry.node.node import Node
from skerry.node.sovereignty.framework import PREFIX
from skerry.node.words import Progress

COUNTS_DAYS = 365
"""A verdict counts for a year: C3A asks for the tests once a year."""

AS_COUNTRY = frozenset({"sov-3.4", "sov-6.5", "sov-7.4"})
"""Answers that are no better supported than the country in which the node lies."""

Run = Callable[[Node, str | None], Awaitable[Outcome]]


class Handler:
    """Carries out the words of drills; `do_<drill>` is made for each."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = asyncio.Lock()
        for drill in DRILLS:
            setattr(self, f"do_{drill.name}", self._word(drill))

    async def start(self) -> None:
        """Let the verdicts in the audit log count as measured facts again."""
        records: Mapping[str, Record] = await self._node.audit.ask(_last)
        for record in records.values():
            self._learn(record.of["drill"], record.of["answers"], record.n, record.of["until"])

    def _word(self, drill: Drill) -> Callable[[Asked, Progress], Awaitable[Drilled]]:
        async def word(params: Asked, progress: Progress) -> Drilled:
            return await self._run(drill, params.app, progress)

        return word

    async def _run(self, drill: Drill, app: str | None, progress: Progress) -> Drilled:
        node = self._node
        if app is not None:
            node.catalogue.app(app)
        if self._lock.locked():
            raise CONFLICT("A drill is running already.", hint="skerry drill list")
        async with self._lock:
            progress(0, 0, drill.summary)
            outcome = await _load(drill)(node, app)
            return await self._keep(drill, app, outcome)

    async def _keep(self, drill: Drill, app: str | None, outcome: Outcome) -> Drilled:
        """Write the verdict into the audit log, and let it count."""
        today = datetime.date.fromisoformat(self._node.placement.today)
        until = (today + datetime.timedelta(days=COUNTS_DAYS)).isoformat()
        answers = outcome.answers if outcome.verdict in (Verdict.MET, Verdict.PARTLY) else {}
        if outcome.verdict is Verdict.NOT_MET:
            answers = {key: value for key, value in outcome.answers.items() if value == 1}
        said: dict[str, Any] = {
            "drill": drill.name,
            "criteria": drill.criteria,
            "verdict": str(outcome.verdict),
            "steps": [[step.text[:500], step.ok] for step in outcome.steps[:100]],
            "lacking": [each[:500] for each in outcome.lacking[:100]],
            "answers": answers,
            "until": until,
        }
        if app is not None:
            said["app"] = app
        if outcome.not_tried:
            said["why"] = outcome.not_tried
        said["detail"] = _short(outcome.detail)
        entry = await self._node.audit.add("drill", said)
        self._learn(drill.name, answers, entry, until)
        return Drilled(
            drill=drill.name,
            criteria=drill.criteria,
            verdict=outcome.verdict,
            steps=tuple(outcome.steps),
            lacking=tuple(outcome.lacking),
            why=outcome.not_tried,
            entry=entry,
            until=until,
            answers=answers,
        )

    def _learn(self, name: str, answers: Mapping[str, int], entry: int, until: str) -> None:
        engine = self._node.placement
        view = engine.view(Request("drill", "drill:list", self._node.name))
        known = view.facts.get("country", ())
        rank = min((each.evidence.rank for each in known), default=1)
        facts = []
        for criterion, answer in answers.items():
            evidence = Evidence.MEASURED
            if criterion in AS_COUNTRY and rank < Evidence.DOCUMENTED.rank:
                evidence = Evidence.DECLARED
            facts.append(
                Fact(
                    subject=f"node/{self._node.name}",
                    name=PREFIX + criterion,
                    value=str(answer),
                    evidence=evidence,
                    source=f"drill {name}",
                    date=engine.today,
                    expires=until,
                    index=entry,
                )
            )
        engine.learn(f"drill/{name}", facts)

    async def do_list(self, params: Nothing, progress: Progress) -> list[Last]:
        """See `drill.list`."""
        await self._node.audit.settle()
        records: Mapping[str, Record] = await self._node.audit.ask(_last)
        return [_as_last(drill, records.get(drill.name)) for drill in DRILLS]

    async def do_all(self, params: Asked, progress: Progress) -> list[Last]:
        """See `drill.all`."""
        for number, drill in enumerate(DRILLS):
            progress(number, len(DRILLS), drill.summary)
            await self._run(drill, params.app, lambda *_: None)
        return await self.do_list(Nothing(), progress)


def _load(drill: Drill) -> Run:
    module, _, name = drill.run.partition(":")
    found: Run = getattr(importlib.import_module(f"skerry.node.drill.{module}"), name)
    return found


def _last(log: AuditLog) -> dict[str, Record]:
    """Return the last verdict of each drill."""
    found = {}
    for data in log.entries():
        record = decode(data)
        if record.what == "drill":
            found[str(record.of["drill"])] = record
    return found


def _as_last(drill: Drill, record: Record | None) -> Last:
    if record is None:
        return Last(drill.name, drill.criteria, drill.summary, "never run", "")
    verdict = str(record.of["verdict"])
    return Last(drill.name, drill.criteria, drill.summary, verdict, record.at, record.n)


def _short(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return what fits into an entry: long lists are cut, and say so."""
    found: dict[str, Any] = {}
    for key, value in detail.items():
        if isinstance(value, list) and len(value) > 50:
            found[key] = value[:50]
            found[f"{key}_more"] = len(value) - 50
        else:
            found[key] = value
    return found
