"""No command of any kind or service is carried out before it was decided on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from skerry.app import kinds, services
from skerry.kernel.commands import Command, WordCall
from skerry.kernel.errors import DENIED, SkerryError
from skerry.kernel.manifest import read_manifests
from skerry.kernel.policy import Decision, Request
from skerry.node.dispatcher import Dispatcher
from skerry.node.policy.known import known_actions
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
