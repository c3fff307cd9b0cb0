"""Carries out the words of the policy. Nothing here places anything or is recorded."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from skerry.kernel.app import parse
from skerry.kernel.commands import Done, Nothing
from skerry.kernel.errors import INVALID, NOT_FOUND
from skerry.kernel.names import did_you_mean, nearest
from skerry.kernel.policy import Decision, Evidence, Fact, Place, Request
from skerry.kernel.terms import PolicySpec
from skerry.node.node import Node
from skerry.node.policy import results as r
from skerry.node.policy import service as s
from skerry.node.policy.facts import counted, read_facts
from skerry.node.policy.places import View
from skerry.node.words import Progress

CASES_MAX = 1000


class _Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An expected decision, as `policy.test` reads it."""

    action: str
    expect: Literal["allow", "refuse"]
    name: str = ""
    rule: str = ""
    branch: str = "main"
    at: str | None = None
    provider: str | None = None
    country: str = ""
    host: str = ""
    kind: str | None = None
    resource: str | None = None
    principal: str = "operator"
    encrypted: bool = False


class _Cases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    case: list[_Case]


class Handler:
    """Answers from the engine that decides."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._engine = node.placement

    async def do_check(self, params: s.Check, progress: Progress) -> r.Checked:
        """See `policy.check`."""
        if params.file is not None:
            return await asyncio.to_thread(self._check_file, params.file)
        apps = self._node.catalogue.apps
        if params.app is not None:
            self._node.catalogue.app(params.app)
        findings = [
            self._finding(name, branch, self._engine.terms(name, branch))
            for name, app in apps.items()
            if params.app in (None, name)
            for branch in app.branches
        ]
        return r.Checked(tuple(findings), self._conflicts())

    def _check_file(self, text: str) -> r.Checked:
        """Read an app file as a deploy would, without its folder."""
        spec = parse(text, self._node.manifests, self._node.services.declared)
        if spec.policy.cedar_file:
            raise INVALID(
                "The policy's Cedar is in a file of its own, which is not here.",
                hint="Run skerry deploy, which checks it.",
            )
        if not spec.policy.stated:
            finding = self._finding(spec.name, "main", (spec.policy,))
            return r.Checked((finding,), self._conflicts())
        from skerry.node.policy.compiled import check  # noqa: PLC0415 (heavy: not without terms)

        made = check(spec.policy, self._engine.actions)
        finding = self._finding(spec.name, "main", (spec.policy,))
        return r.Checked((finding,), self._conflicts(), made.text)

    def _finding(self, app: str, branch: str, terms: tuple[PolicySpec, ...]) -> r.Finding:
        request = Request("operator", "resource:wake", self._node.name, app, branch)
        decision = self._engine.decide_under(terms, request)
        return r.Finding(
            app=app,
            branch=branch,
            allowed=decision.allowed,
            rule=decision.rule,
            reason=decision.reason,
            evidence=_weakest(decision.facts),
            providers=tuple(self._providers(terms, app, branch)),
        )

    def _providers(self, terms: tuple[PolicySpec, ...], app: str, branch: str) -> Iterator[str]:
        """Yield the sites of known providers where the terms allow what is not encrypted."""
        for name, provider in self._engine.atlas.providers.items():
            for country in provider.sites:
                place = Place(name, country)
                asked = Request("operator", "backup:send", str(place), app, branch, place=place)
                if self._engine.decide_under(terms, asked).allowed:
                    yield str(place)

    def _conflicts(self) -> tuple[Fact, ...]:
        """Return the facts about this node that are contradicted."""
        request = Request("operator", "resource:wake", self._node.name)
        return self._engine.view(request).conflicts

    async def do_explain(self, params: s.Explain, progress: Progress) -> r.Explanation:
        """See `policy.explain`."""
        self._node.catalogue.branch(params.app, params.branch)
        if params.provider is None and (params.country or params.host):
            raise INVALID("Say which provider it is.", hint="--provider <name>")
        request = self._request(params, params.app)
        return self._explanation(request, self._engine.decide(request))

    def _request(self, asked: s.Explain | _Case, app: str) -> Request:
        place = None
        if asked.provider is not None:
            place = Place(asked.provider, asked.country, asked.host)
        return Request(
            principal=asked.principal,
            action=asked.action,
            where=str(place) if place else asked.at or self._node.name,
            app=app,
            branch=asked.branch,
            kind=asked.kind,
            resource=asked.resource,
            place=place,
            encrypted=asked.encrypted,
        )

    def _explanation(self, request: Request, decision: Decision) -> r.Explanation:
        view: View = self._engine.view(request)
        known: dict[str, Any] = dict(view.attributes)
        country = known["country"]
        basis = self._engine.atlas.transfer_basis(country, view.today) if country else "not known"
        return r.Explanation(
            place=view.name,
            decision=decision,
            country=country,
            jurisdictions=tuple(known["jurisdictions"]),
            owners=tuple(known["owners"]),
            reach=tuple(known["reach"]),
            residency=f"R{known['residency']}",
            transfer_basis=basis,
            conflicts=view.conflicts,
            atlas=self._engine.atlas.version,
            note=self._unknown(request.action),
        )

    def _unknown(self, action: str) -> str:
        """Return a note on an action that nothing asks for; code of apps may ask for any."""
        if action in self._engine.actions:
            return ""
        meant = nearest(action, sorted(self._engine.actions))
        guess = f" Did you mean {meant}?" if meant else ""
        return f"Nothing but code of apps asks for {action}.{guess}"

    async def do_test(self, params: s.Test, progress: Progress) -> r.Tested:
        """See `policy.test`."""
        app = self._node.catalogue.app(params.app)
        try:
            cases = msgspec.convert(tomllib.loads(params.file), _Cases).case
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise INVALID(
                f"The cases cannot be read: {error}.", hint="skerry docs evidence"
            ) from error
        if not cases or len(cases) > CASES_MAX:
            raise INVALID(f"There must be 1 to {CASES_MAX} cases; there are {len(cases)}.")
        return r.Tested(tuple(self._outcome(case, app.name) for case in cases))

    def _outcome(self, case: _Case, app: str) -> r.Outcome:
        self._node.catalogue.branch(app, case.branch)
        request = self._request(case, app)
        decision = self._engine.decide(request)
        right = decision.allowed == (case.expect == "allow")
        named = not case.rule or case.rule in (decision.rule, *decision.rules)
        answer = "allow" if decision.allowed else "refuse"
        unknown = self._unknown(case.action)
        note = f" ({unknown})" if unknown else ""
        return r.Outcome(
            case=case.name or f"{case.action} at {request.where}",
            expected=f"{case.expect} by {case.rule}" if case.rule else case.expect,
            got=f"{answer} by {', '.join(decision.rules) or decision.rule}{note}",
            ok=right and named,
            reason=decision.reason,
        )

    async def do_places(self, params: s.Places, progress: Progress) -> list[r.PlaceInfo]:
        """See `policy.places`."""
        if params.app is not None:
            self._node.catalogue.app(params.app)
        requests = [
            Request("operator", params.action, name, params.app) for name in self._engine.nodes()
        ]
        for name in self._engine.providers():
            place = Place(name)
            requests.append(Request("operator", params.action, name, params.app, place=place))
        return [self._info(request, params.app) for request in requests]

    def _info(self, request: Request, app: str | None) -> r.PlaceInfo:
        view = self._engine.view(request)
        facts = self._engine.known(view.name)
        sites = [fact.value for fact in facts if fact.name == "sites"]
        where = view.attributes["country"] or ", ".join(sites[0] if sites else ())
        may = "" if app is None else self._may(request, sites[0] if sites else ())
        return r.PlaceInfo(
            place=view.name,
            owner=view.attributes["owner"],
            sites=where,
            reach=", ".join(view.attributes["reach"]),
            evidence=_weakest(facts),
            may=may,
        )

    def _may(self, request: Request, sites: str | tuple[str, ...]) -> str:
        """Say whether an app may be at a place, or at which of a provider's sites."""
        decision = self._engine.decide(request)
        if decision.allowed:
            return "yes"
        allowed = [
            country
            for country in (sites if request.place and not isinstance(sites, str) else ())
            if self._engine.decide(
                msgspec.structs.replace(request, place=Place(request.where, country))
            ).allowed
        ]
        if allowed:
            return f"in {', '.join(allowed)}"
        return f"no: {', '.join(decision.rules) or decision.rule}"

    async def do_facts(self, params: s.FactsOf, progress: Progress) -> list[Fact]:
        """See `policy.facts`."""
        facts = self._engine.known(params.subject)
        if not facts:
            subjects = [f"provider/{name}" for name in self._engine.providers()]
            subjects += [f"node/{name}" for name in self._engine.nodes()]
            if params.subject not in subjects:
                why = did_you_mean(params.subject, subjects)
                raise NOT_FOUND(f"Nothing is known of {params.subject}.", why=why)
        return [counted(fact, self._engine.today) for fact in facts]

    async def do_reload(self, params: Nothing, progress: Progress) -> Done:
        """See `policy.reload`."""
        facts = await asyncio.to_thread(read_facts, self._node.home.facts)
        self._engine.state(facts)
        return Done(f"{len(facts)} facts are in force.", next="skerry policy check")


def _weakest(facts: Iterable[Fact]) -> str:
    """Return the weakest evidence of facts, with how many there are of it."""
    ranks = [fact.evidence.rank for fact in facts]
    if not ranks:
        return "none asked for"
    weakest = list(Evidence)[min(ranks) - 1]
    return f"{weakest} ({ranks.count(min(ranks))} of {len(ranks)} facts)"
