"""The policy in force on a node: it knows the apps' terms and the places, and decides.

An app's terms are those of the version that a branch serves. A branch holds a copy of main's data,
so main's terms hold for it too: a branch may narrow them and never widen them.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.names import MAIN
from skerry.kernel.policy import Decision, Fact, Request, refusal
from skerry.kernel.terms import PolicySpec
from skerry.node.policy import reasons
from skerry.node.policy.atlas import Atlas, atlas
from skerry.node.policy.places import View, facts_of_place, view_of
from skerry.node.token import rights

VIEWS_MAX = 4096
EXPLAINED_MAX = 1024

ADMINISTRATION = frozenset(
    {
        "app:delete",
        "app:deploy",
        "app:list",
        "app:rollback",
        "branch:delete",
        "branch:list",
        "branch:sleep",
        "resource:connect",
        "resource:list",
        "secret:delete",
        "secret:list",
    }
)
"""What brings no data of an app to a place where it is not: it stays possible on this node when the
app may be here no longer. A deploy is decided on with the terms that it brings."""

ADMINISTERING = frozenset({"audit", "drill", "node", "policy", "sovereignty"})
"""Nouns all of whose actions on this node are administration."""

NOTHING_ASKED = PolicySpec()

Recorder = Callable[[Request, Decision], None]


class Engine:
    """Implements the kernel's `Policy`."""

    def __init__(
        self,
        node: str,
        catalogue: Catalogue,
        clock: Clock,
        facts: Iterable[Fact] = (),
        actions: Iterable[str] = (),
        shipped: Atlas | None = None,
    ) -> None:
        self.node = node
        self.atlas = shipped or atlas()
        self.recorder: Recorder = _forget
        self.actions: frozenset[str] = frozenset(actions)
        self._catalogue = catalogue
        self._clock = clock
        self._stated: list[Fact] = list(facts)
        self._learnt: dict[str, list[Fact]] = {}
        self._views: OrderedDict[Any, View] = OrderedDict()
        self._day = (0, "")

    # ---- facts ---------------------------------------------------------------------------------

    def learn(self, origin: str, facts: Iterable[Fact]) -> None:
        """Take facts from an origin (a probe, another node), in place of what it said before."""
        self._learnt[origin] = list(facts)
        self._views.clear()

    def forget(self, origin: str) -> None:
        """Forget what an origin said."""
        self._learnt.pop(origin, None)
        self._views.clear()

    def state(self, facts: Iterable[Fact]) -> None:
        """Take the operator's facts, in place of those before."""
        self._stated = list(facts)
        self._views.clear()

    def known(self, subject: str) -> list[Fact]:
        """Return all facts about a subject. The operator's word stands in for the atlas's."""
        kind, _, name = subject.partition("/")
        shipped = self.atlas.facts(name) if kind == "provider" else []
        by_name = {fact.name: fact for fact in shipped}
        stated = [fact for fact in self._stated if fact.subject == subject]
        facts = [_beside(fact, by_name.get(fact.name)) for fact in stated]
        facts += [
            fact for each in self._learnt.values() for fact in each if fact.subject == subject
        ]
        said = {fact.name for fact in stated}
        return facts + [fact for fact in shipped if fact.name not in said]

    def nodes(self) -> list[str]:
        """Return the names of the nodes of which something is known, this one first."""
        facts = [*self._stated, *(fact for each in self._learnt.values() for fact in each)]
        found = {fact.subject.split("/")[1] for fact in facts if fact.subject.startswith("node/")}
        return [self.node, *sorted(found - {self.node})]

    def providers(self) -> list[str]:
        """Return the names of the providers of which something is known."""
        stated = {
            fact.subject.split("/")[1]
            for fact in self._stated
            if fact.subject.startswith("provider/")
        }
        return sorted(stated | set(self.atlas.providers))

    def is_within(self, node: str, territory: str) -> bool:
        """Tell whether a node is, as far as it is known, in a country or a group of countries."""
        view = self.view(Request("operator", "resource:replicate", where=node))
        return territory in view.attributes["jurisdictions"]

    @property
    def today(self) -> str:
        """The date (UTC), as evidence is counted."""
        day = self._clock.now() // (86400 * NANOSECONDS)
        if day != self._day[0]:
            date = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
            self._day = (day, date.isoformat())
            self._views.clear()
        return self._day[1]

    def view(self, request: Request) -> View:
        """Return what is known of the place that a request is about."""
        today = self.today
        key = request.place or request.where
        view = self._views.get(key)
        if view is None:
            if request.place is not None:
                name = f"provider/{request.place.provider}"
                facts = facts_of_place(request.place, self.known, self.atlas, today)
                view = view_of(name, facts, today, self.atlas, here=False)
            else:
                name = f"node/{request.where}"
                here = request.where == self.node
                view = view_of(name, self.known(name), today, self.atlas, here=here)
            self._views[key] = view
            if len(self._views) > VIEWS_MAX:
                self._views.popitem(last=False)
        return view

    # ---- decisions -----------------------------------------------------------------------------

    def decide(self, request: Request) -> Decision:
        """See `Policy.decide`."""
        here = request.place is None and request.where == self.node
        if here and (request.app is None or administers(request.action)):
            return Decision(True, "administration", f"{request.where} is this node.")
        decision = self.decide_under(self.terms(request.app, request.branch), request)
        return self._within_rights(request, decision)

    def _within_rights(self, request: Request, decision: Decision) -> Decision:
        """Refuse what the token does not allow under which this is carried out, if one is."""
        used = rights.current()
        if used is None or not decision.allowed:
            return decision
        country = self.view(request).attributes["country"]
        failed = used.allows_place(request.app, country)
        if not failed:
            return decision
        why = f"The token {used.token.name} does not allow it in {country or 'an unknown country'}"
        return Decision(False, "token", f"{why}: {failed}.")

    def terms(self, app: str | None, branch: str | None) -> tuple[PolicySpec, ...]:
        """Return the terms that hold for a branch: its own, and main's."""
        found = self._catalogue.known(app) if app else None
        if found is None:
            return (NOTHING_ASKED,)
        specs = []
        for name in dict.fromkeys((branch or MAIN, MAIN)):
            each = found.branches.get(name)
            version = found.versions.get(each.version) if each else None
            if version is not None and version.spec.policy not in specs:
                specs.append(version.spec.policy)
        stated = tuple(spec for spec in specs if spec.stated)
        return stated or (NOTHING_ASKED,)

    def decide_under(self, terms: tuple[PolicySpec, ...], request: Request) -> Decision:
        """Decide under terms that are not (or not yet) an app's: all of them must allow it."""
        view = self.view(request)
        decision = _NO_TERMS
        for spec in terms:
            decision = self._decide(spec, request, view)
            if not decision.allowed:
                break
        grade = f"R{view.attributes['residency']}"
        return msgspec.structs.replace(decision, residency=grade)

    def _decide(self, spec: PolicySpec, request: Request, view: View) -> Decision:
        if not spec.stated:
            return _here_only(view)
        from skerry.node.policy.compiled import compiled  # noqa: PLC0415 (heavy: not without terms)

        policy = compiled(spec)
        verdict = policy.evaluate(request, view)
        if verdict.error:
            return Decision(False, "error", verdict.error, policy=policy.digest)
        key = (policy.digest, verdict.allowed, verdict.rules, request.encrypted)
        decision: Decision | None = view.kept.get(key)
        if decision is None:
            decision = reasons.explain(policy, verdict, view, encrypted=request.encrypted)
            if len(view.kept) < EXPLAINED_MAX:
                view.kept[key] = decision
        return decision

    def admit(self, spec: PolicySpec, app: str, branch: str) -> None:
        """Decide whether an app with these terms may be on this node; raise DENIED if not.

        Raises CONFIG_INVALID if the terms hold Cedar that cannot be read or asks for what there is
        not. Main's terms hold for the other branches too.
        """
        if spec.stated:
            from skerry.node.policy.compiled import check  # noqa: PLC0415 (heavy)

            check(spec, self.actions)
        terms = (spec,) if branch == MAIN else (spec, *self.terms(app, MAIN))
        request = Request(
            principal="operator",
            action="app:place",
            where=self.node,
            app=app,
            branch=branch,
        )
        decision = self.decide_under(terms, request)
        self.record(request, decision)
        if not decision.allowed:
            raise refusal(request, decision, hint="skerry policy check skerry.toml")

    def record(self, request: Request, decision: Decision) -> None:
        """See `Policy.record`."""
        self.recorder(request, decision)


_NO_TERMS = Decision(False, "default", "Nothing permits it.")


def _beside(stated: Fact, shipped: Fact | None) -> Fact:
    """Return the operator's fact with a note of what the atlas says instead."""
    if shipped is None or shipped.value == stated.value:
        return stated
    value = shipped.value if isinstance(shipped.value, str) else ", ".join(shipped.value)
    note = f"the atlas says {value}"
    return msgspec.structs.replace(stated, note=f"{stated.note}; {note}" if stated.note else note)


def administers(action: str) -> bool:
    """Tell whether an action brings no data of an app to a place where it is not."""
    return action in ADMINISTRATION or action.partition(":")[0] in ADMINISTERING


def _here_only(view: View) -> Decision:
    """Decide for an app without a policy."""
    if view.attributes["here"]:
        return Decision(True, "here-only", f"{view.name} is this node.")
    why = f"{view.name} is not this node, and the app has no policy that allows other places."
    return Decision(False, "here-only", why)


def _forget(request: Request, decision: Decision) -> None:
    """Keep nothing: the recorder before there is an audit log."""
