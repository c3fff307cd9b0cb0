"""No command of any kind or service is carried out before it was decided on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import skerry
from skerry.app import kinds, services
from skerry.kernel.commands import Command, WordCall
from skerry.kernel.errors import DENIED, SkerryError
from skerry.kernel.manifest import read_manifests
from skerry.kernel.policy import Decision, Request
from skerry.node.dispatcher import Dispatcher
from skerry.node.policy.known import LEAVING, known_actions
from skerry.node.services import Services
from skerry.testing.nodes import running_node


class _Refuse:
    def __init__(self) -> None:
        self.asked: list[Request] = []

    def decide(self, request: Request) -> Decision:
        self.asked.append(request)
        return Decision(False, "test", "nothing may be done")

    def record(self, request: Request, decision: Decision) -> None:
        assert not decision.allowed


def _filled(wanted: Any) -> Any:
    """Return some value of a parameter's type."""
    values: tuple[Any, ...] = ("other", 1, 1.0, True, b"x", {}, [], {"name": "other"})
    for value in values:
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError:
            continue
    raise AssertionError(wanted)


def _params(command: Command) -> msgspec.Struct:
    if command.kind:
        return WordCall(name="thing", app="shop", params={})
    fields = msgspec.structs.fields(command.params)
    given = {each.name: _filled(each.type) for each in fields if each.required}
    return command.params(**given)


def _asked_in_source() -> set[str]:
    """Return the actions that stand in requests, calls of `permit`, or a constant `ACTION`."""
    found = set()
    for path in Path(skerry.__file__).parent.rglob("*.py"):
        if "tests" not in path.parts and "testing" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text())):
                found |= set(_actions_in(node))
    return found


def _actions_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        named = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        named = node.func.id if isinstance(node.func, ast.Name) else named
        given: list[ast.expr] = [*node.args, *(each.value for each in node.keywords)]
        values = given if named in ("Request", "permit") else []
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        values = [node.value] if node.targets[0].id in ("ACTION", "REPLICATE") else []
    else:
        values = []
    for each in values:
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and ":" in each.value:
            yield each.value


def test_what_a_rule_may_name_is_asked_for_and_what_is_asked_for_can_be_named() -> None:
    """A rule about an action that nothing asks for would look like a door that is shut."""
    manifests = kinds()
    asked = _asked_in_source()
    leaving = {action for manifest in manifests.values() for action in manifest.leaves}
    assert leaving and {*LEAVING, *leaving} <= asked
    names = known_actions(manifests.values(), services().values())
    looking = {"drill:probe", "federation:hello", "residency:show", "token:use"}
    of_no_app = {"market:shell", "workload:shell"}
    assert {each for each in asked if each not in names} <= looking | of_no_app


async def test_every_command_of_every_kind_and_service_is_decided_on_first() -> None:
    async with running_node(read_manifests(["skerry.kinds.hello"])) as node:
        node.services = Services(services())
        node.manifests = kinds()
        dispatcher = Dispatcher(node)
        refuse = _Refuse()
        node.policy = refuse
        actions = known_actions(kinds().values(), services().values())
        assert len(dispatcher.commands) > 150
        for command in dispatcher.commands.values():
            params = _params(command)
            with pytest.raises(SkerryError) as refused:
                if command.streams:
                    await anext(aiter(dispatcher.stream(command, params)))
                else:
                    await dispatcher.perform(command, params)
            assert refused.value.problem is DENIED, command.name
            asked = refuse.asked.pop()
            assert asked.action == command.action and asked.action in actions
            assert asked.app == getattr(params, "app", None)
            assert not refuse.asked, "nothing else was asked before"
        node.services, node.manifests = Services({}), read_manifests(["skerry.kinds.hello"])
