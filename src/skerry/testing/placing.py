"""The group `place` of the conformance suite: no verb of any kind has a way round the policy."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import msgspec
import pytest

from skerry.kernel.commands import WordCall
from skerry.kernel.errors import DENIED, SkerryError
from skerry.kernel.manifest import Verb
from skerry.kernel.policy import Decision, Fact, Place, Request
from skerry.kernel.subject import LeavingSubject
from skerry.node.cell.spec import PermitCall
from skerry.node.dispatcher import Dispatcher
from skerry.node.policy.engine import administers
from skerry.testing.asking import need
from skerry.testing.lab import RESOURCE, Lab
from skerry.testing.nodes import perform
from skerry.testing.outside import Outside, watched

LEAVING_SECONDS = 60.0


class TestPlace:
    """The decision comes before the first byte."""

    async def test_a_refusal_moves_nothing(self, lab: Lab) -> None:
        need(lab, Verb.PLACE, state=False)
        app = await lab.app()
        await perform(lab.node, "branch.sleep", app=app, branch="main")
        workshop, policy = lab.node.workshop, lab.node.policy
        names = lab.node.volume.names()
        refuse = _Refuse()
        lab.node.policy = workshop.policy = refuse
        try:
            with pytest.raises(SkerryError) as refused:
                await lab.node.supervisor.wake(app, "main", RESOURCE)
            assert refused.value.problem is DENIED
            for command in ("branch.create", "resource.export"):
                with pytest.raises(SkerryError) as refused:
                    await perform(lab.node, command, app=app, name="elsewhere")
                assert refused.value.problem is DENIED
        finally:
            lab.node.policy = workshop.policy = policy
        assert lab.process(app) is None
        assert lab.node.volume.names() == names
        assert {each.app for each in refuse.asked} == {app}

    async def test_where_the_terms_fail_no_verb_brings_it_there(self, lab: Lab) -> None:
        """Every command that has to do with the app is refused, but for those that take it away."""
        need(lab, Verb.PLACE, state=False)
        engine = lab.node.placement
        engine.learn("test", [Fact(f"node/{lab.node.name}", "country", "SE")])
        try:
            app = await lab.app(policy='jurisdiction = ["EU"]')
            subject = await lab.subject(app)
            await subject.get()
            await perform(lab.node, "branch.sleep", app=app, branch="main")
            engine.learn("test", [Fact(f"node/{lab.node.name}", "country", "US")])
            names = lab.node.volume.names()
            for refused in await _all_commands(lab, app):
                assert refused.problem is DENIED
                assert "jurisdiction" in refused.why
            with pytest.raises(Exception):  # noqa: B017 (whatever the client raises)
                await subject.get()
            assert lab.process(app) is None
            assert lab.node.volume.names() == names
        finally:
            engine.forget("test")

    async def test_what_would_leave_is_asked_for_and_refused(self, lab: Lab) -> None:
        """Whatever a resource does: by the terms, by default, and encrypted or not."""
        need(lab, Verb.PLACE, state=False)
        engine = lab.node.placement
        engine.learn("test", [Fact(f"node/{lab.node.name}", "country", "SE")])
        try:
            confined = await lab.app(policy='jurisdiction = ["EU"]')
            silent = await lab.app()
            for app, rule in ((confined, "jurisdiction"), (silent, "here-only")):
                branch = lab.node.catalogue.branch(app, "main")
                for action in (*lab.manifest.leaves, "resource:replicate", "backup:send"):
                    for place in (Place("somewhere", "US"), Place("somewhere")):
                        asked = PermitCall(RESOURCE, action, place, encrypted=True)
                        with pytest.raises(SkerryError) as refused:
                            lab.node.workshop.permit(branch, asked)
                        assert refused.value.problem is DENIED and rule in refused.value.why
            branch = lab.node.catalogue.branch(confined, "main")
            inside = PermitCall(RESOURCE, "backup:send", Place("somewhere", "FI"))
            assert lab.node.workshop.permit(branch, inside).allowed
        finally:
            engine.forget("test")

    async def test_every_way_out_is_asked_for_before_it_is_taken(self, lab: Lab) -> None:
        """Each is really taken where the policy lets it, so that it would be seen where it not."""
        need(lab, Verb.PLACE, state=False)
        for action in lab.manifest.leaves:
            async with watched() as shut, watched() as open_to_all:
                asked = await _leave(lab, action, shut, f"{_ANYWHERE} {_not(action)}")
                assert not asked.left, f"{action} was refused, and yet it was done"
                assert action in asked.refused, f"nobody was asked for {action}"
                asked = await _leave(lab, action, open_to_all, _ANYWHERE)
                assert asked.left, f"{action} was allowed, and yet it was refused"
                await open_to_all.reached(LEAVING_SECONDS)
                assert action in asked.allowed, f"nobody was asked for {action}"
                assert shut.connections == 0, f"{action} was refused, and yet something left"

    async def test_a_branch_has_the_terms_of_main(self, lab: Lab) -> None:
        need(lab, Verb.PLACE, Verb.BRANCH, state=False)
        engine = lab.node.placement
        engine.learn("test", [Fact(f"node/{lab.node.name}", "country", "SE")])
        try:
            app = await lab.app(policy='jurisdiction = ["EU"]')
            await perform(lab.node, "branch.create", app=app, name="copy")
            copy = lab.node.catalogue.branch(app, "copy")
            asked = PermitCall(RESOURCE, "backup:send", Place("somewhere", "US"))
            with pytest.raises(SkerryError):
                lab.node.workshop.permit(copy, asked)
            engine.learn("test", [Fact(f"node/{lab.node.name}", "country", "US")])
            with pytest.raises(SkerryError) as refused:
                await lab.node.supervisor.wake(app, "copy", RESOURCE)
            assert refused.value.problem is DENIED
        finally:
            engine.forget("test")

    async def test_terms_that_fail_are_not_deployed(self, lab: Lab) -> None:
        need(lab, Verb.PLACE, state=False)
        before = set(lab.node.catalogue.apps)
        with pytest.raises(SkerryError) as refused:
            await lab.app(policy='owners = ["somebody else"]')
        assert refused.value.problem is DENIED
        assert set(lab.node.catalogue.apps) == before


async def _all_commands(lab: Lab, app: str) -> list[SkerryError]:
    """Carry out every command about the app that could bring something of it somewhere."""
    dispatcher = Dispatcher(lab.node)
    raised = []
    for command in dispatcher.commands.values():
        about_app = command.kind or "app" in command.params.__struct_fields__
        other_kind = command.kind and command.kind != lab.manifest.name
        if not about_app or other_kind or administers(command.action):
            continue
        params: msgspec.Struct = WordCall(name=RESOURCE, app=app, params={})
        if not command.kind:
            fields = msgspec.structs.fields(command.params)
            given = {each.name: "other" for each in fields if each.required}
            params = msgspec.convert({**given, "app": app}, command.params)
        with pytest.raises(SkerryError) as refused:
            if command.streams:
                await anext(aiter(dispatcher.stream(command, params)))
            else:
                await dispatcher.perform(command, params)
        raised.append(refused.value)
    assert raised
    return raised


_ANYWHERE = "permit(principal, action, resource);"


def _not(action: str) -> str:
    return f'forbid(principal, action == Action::"{action}", resource);'


@dataclass
class _Asked:
    """Whether something left, and what the decision point was asked for meanwhile."""

    left: bool = False
    allowed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


async def _leave(lab: Lab, action: str, outside: Outside, rules: str) -> _Asked:
    """Drive a kind's way out under rules, towards a place that is watched."""
    shape = lab.subject_type
    way = shape.way_out(action, outside.address) if issubclass(shape, LeavingSubject) else None
    assert way is not None, f"{lab.manifest.name} leaves by {action}; its subject has no way out"
    app = await lab.app(policy=f"cedar = {json.dumps(rules)}", way=way)
    found = _Asked()
    recorder = lab.node.placement.recorder

    def record(request: Request, decision: Decision) -> None:
        if request.app == app:
            (found.allowed if decision.allowed else found.refused).add(request.action)
        recorder(request, decision)

    lab.node.placement.recorder = record
    try:
        subject = await lab.subject(app)
        assert isinstance(subject, LeavingSubject)
        found.left = await subject.leave(action)
    finally:
        lab.node.placement.recorder = recorder
    return found


class _Refuse:
    def __init__(self) -> None:
        self.asked: list[Request] = []

    def decide(self, request: Request) -> Decision:
        self.asked.append(request)
        return Decision(False, "test", "nothing may go anywhere")

    def record(self, request: Request, decision: Decision) -> None:
        assert not decision.allowed
