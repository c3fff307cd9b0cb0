"""Makes the report from what the policy knows of places, and from what drills measured."""

from __future__ import annotations

import asyncio

from skerry.kernel.commands import Nothing
from skerry.kernel.errors import INVALID, NOT_FOUND
from skerry.kernel.names import did_you_mean
from skerry.kernel.policy import Fact, Place, Request
from skerry.node.audit.entries import decode
from skerry.node.audit.log import AuditLog
from skerry.node.node import Node
from skerry.node.policy.places import View
from skerry.node.sovereignty import service as s
from skerry.node.sovereignty.derive import (
    place_facts,
    silicon_caps,
    silicon_facts,
    software_facts,
)
from skerry.node.sovereignty.drawing import draw_html
from skerry.node.sovereignty.framework import framework
from skerry.node.sovereignty.report import assess
from skerry.node.sovereignty.shape import Report
from skerry.node.sovereignty.silicon import read_silicon
from skerry.node.words import Progress


class Handler:
    """Carries out the words of the report."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._engine = node.placement

    async def do_report(self, params: s.Asked, progress: Progress) -> s.Shown:
        """See `sovereignty.report`."""
        if sum(each is not None for each in (params.provider, params.app, params.at)) > 1:
            raise INVALID("Ask for one of a provider, an app or a node.")
        report = await self._report(params)
        html = draw_html(report) if params.format == "html" else ""
        return s.Shown(report, params.whole, html)

    async def _report(self, params: s.Asked) -> Report:
        if params.provider is not None:
            if params.provider not in self._engine.providers():
                why = did_you_mean(params.provider, self._engine.providers())
                raise NOT_FOUND(f"Nothing is known of {params.provider}.", why=why)
            facts = self._provider_facts(Place(params.provider))
            return self._assess(f"provider/{params.provider}", [facts], "not known of a provider")
        if params.app is not None:
            self._node.catalogue.app(params.app)
            sent = await self._node.audit.ask(lambda log: _sent(log, params.app or ""))
            places = [await self._node_facts(self._node.name)]
            places += [self._provider_facts(place) for place in sent]
            names = ", ".join([f"node/{self._node.name}", *map(str, sent)])
            remarks = [f"Places: {names}."]
            silicon = await _silicon()
            return self._assess(f"app/{params.app}", places, silicon, remarks)
        name = params.at or self._node.name
        if name not in self._engine.nodes():
            why = did_you_mean(name, self._engine.nodes())
            raise NOT_FOUND(f"Nothing is known of the node {name}.", why=why)
        here = name == self._node.name
        silicon = await _silicon() if here else "not known from here"
        return self._assess(f"node/{name}", [await self._node_facts(name)], silicon)

    def _assess(
        self, subject: str, places: list[list[Fact]], silicon: str, remarks: list[str] | None = None
    ) -> Report:
        today = self._engine.today
        return assess(subject, places, framework(), today, silicon, remarks or ())

    async def _node_facts(self, name: str) -> list[Fact]:
        """Return what answers criteria for a node; of this one also what its software does."""
        subject, today = f"node/{name}", self._engine.today
        view = self._engine.view(Request("operator", "policy:explain", name))
        facts = [*self._engine.known(subject), *place_facts(view, self._engine.atlas, today)]
        if name == self._node.name:
            silicon = await asyncio.to_thread(read_silicon)
            facts += [*software_facts(subject, today), *silicon_facts(subject, silicon, today)]
        return facts

    def _provider_facts(self, place: Place) -> list[Fact]:
        request = Request("operator", "policy:explain", str(place), place=place)
        view: View = self._engine.view(request)
        known = self._engine.known(f"provider/{place.provider}")
        return [*known, *place_facts(view, self._engine.atlas, self._engine.today)]

    async def do_criteria(self, params: Nothing, progress: Progress) -> list[s.Question]:
        """See `sovereignty.criteria`."""
        return [
            s.Question(
                id=each.id,
                title=each.title,
                answers="; ".join(
                    f"{number} {option.label} (SEAL-{option.seal})"
                    for number, option in enumerate(each.answers, start=1)
                ),
                shown_by=each.shown_by,
            )
            for each in framework().criteria().values()
        ]


async def _silicon() -> str:
    """Return the silicon of this machine, with the levels to which its makers limit criteria."""
    found = await asyncio.to_thread(read_silicon)
    return f"{found}{silicon_caps(found, framework().criteria())}"


def _sent(log: AuditLog, app: str) -> list[Place]:
    """Return the places to which something of an app was allowed to go, from the audit log."""
    found = {}
    for data in log.entries():
        record = decode(data)
        of = record.of
        if record.what == "decision" and of.get("app") == app and of["allowed"]:
            provider = of.get("provider")
            if provider:
                place = Place(provider, of["country"], of["host"])
                found[place] = place
    return list(found)
