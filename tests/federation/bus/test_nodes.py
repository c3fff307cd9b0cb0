"""The bus as nodes run it: opt-in, permitted by policy, audited, and gone for who is revoked."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from skerry.federation import messages as m
from skerry.federation.bus import node_bus
from skerry.federation.bus.held import Connection, Held, HeldStream
from skerry.federation.bus.residency import Asked, breaches
from skerry.kernel.errors import CONFIG_INVALID, CONFLICT, DENIED, STORE_UNREACHABLE, SkerryError
from skerry.kernel.lease import Leases
from skerry.kernel.policy import Decision, Request
from skerry.node.node import Node
from skerry.testing.nodes import deploy, open_directory, perform

from ..conftest import running, top
from ..test_binding import bind
from .conftest import until

__all__ = ["top"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BUS = "[federation]\nbus = true\n"


def app(name: str, policy: str) -> dict[str, str]:
    return {"skerry.toml": f'[app]\nname = "{name}"\n\n{policy}\n[kv.sessions]\n'}


def federation(node: Node) -> Any:
    return node.services.handler("federation")


def leases(node: Node) -> Leases:
    found: Leases | None = federation(node).leases
    assert found is not None
    return found


async def acquired(node: Node, name: str) -> int:
    """Take a lease as soon as the bus is ready; return its epoch."""
    epoch = 0

    async def take() -> bool:
        nonlocal epoch
        try:
            epoch = (await leases(node).acquire(name, node.name, 60)).epoch
        except SkerryError as error:
            assert error.problem.temporary, error.as_dict()
            return False
        return True

    await until(take, 90)
    return epoch


async def heard(node: Node, other: Node, apps: list[str]) -> None:
    """Wait until a node has heard which apps another one has."""

    async def check() -> bool:
        told = federation(node)._bus.hearing.of(federation(other).identity.id)
        return [each.app for each in told] == apps

    await until(check)


async def is_settled(node: Node) -> bool:
    return bool(federation(node)._bus.bus.settled)


async def nothing_lies_on(asking: Node, name: str) -> bool:
    audited = await perform(asking, "federation.audit")
    [held] = [each for each in audited.nodes if each.node == name]
    return not held.apps


async def test_nodes_share_leases_where_policy_lets_them(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_bus, "SPEAK_SECONDS", 0.2)
    async with (
        running(top / "a", "rock", "SE", BUS) as one,
        running(top / "b", "skerry", "FI", BUS) as other,
        running(top / "c", "shoal", "US", BUS) as third,
    ):
        assert federation(one)._bus.bus.server is None, "a node by itself runs no server"
        with pytest.raises(SkerryError) as alone:
            await leases(one).current("shop")
        assert alone.value.problem is STORE_UNREACHABLE
        for each in (other, third):
            await bind(one, each)
        await bind(other, third)
        await deploy(one, app("shop", '[policy]\njurisdiction = ["EU"]\n'))
        await deploy(one, app("home", ""))
        await deploy(one, app("here", '[policy]\njurisdiction = ["SE"]\n'))

        assert await acquired(one, "shop") == 1
        for name in ("home", "here"):
            with pytest.raises(SkerryError, match="resource:replicate") as refused:
                await leases(one).acquire(name, "rock", 60)
            assert refused.value.problem is DENIED
        await until(lambda: is_settled(other))
        with pytest.raises(SkerryError, match="no other has led it"):
            await leases(other).acquire("unknown", "skerry", 60)
        seen = await leases(other).current("shop")
        assert seen is not None
        assert seen.holder == "rock"

        audited = await perform(one, "federation.audit")
        assert isinstance(audited, m.Audited)
        held = {each.node: each for each in audited.nodes}
        assert set(held) == {"rock", "skerry", "shoal"}
        assert (audited.breaches, audited.missing, audited.exit_code) == ((), (), 0)
        assert held["skerry"].apps == {"shop"}
        assert (held["shoal"].bytes, held["shoal"].streams) == (0, ())
        assert "Nothing of an app" in audited.draw(80)

        await heard(other, one, ["shop"])
        told = federation(other)._heard_of(federation(other).peers.find("rock"))
        assert [(each.app, each.kinds) for each in told.holds] == [("shop", ("kv",))]

        server = federation(one)._bus.bus.server
        os.kill(server.pid, signal.SIGSTOP)
        await deploy(one, app("desk", '[policy]\njurisdiction = ["EU"]\n'))
        os.kill(server.pid, signal.SIGCONT)
        await heard(other, one, ["shop", "desk"])

        await deploy(one, app("shop", '[policy]\njurisdiction = ["SE"]\n'))
        await heard(other, one, ["desk"])
        await perform(one, "app.delete", app="desk")
        await heard(other, one, [])
        await until(lambda: nothing_lies_on(one, "skerry"))

        await perform(one, "federation.revoke", name="skerry")
        with pytest.raises(SkerryError) as gone:
            await leases(one).current("shop")
        assert gone.value.problem is STORE_UNREACHABLE
        await perform(one, "federation.revoke", name="shoal")
        assert federation(one)._bus.bus.server is None


async def test_a_node_without_a_bus_says_how_to_have_one(top: Path) -> None:
    async with running(top / "a", "rock") as one:
        assert federation(one).leases is None
        with pytest.raises(SkerryError, match="rock has no bus") as none:
            await perform(one, "federation.audit")
        assert none.value.problem is CONFLICT


async def test_a_bus_needs_a_country() -> None:
    with open_directory() as made, pytest.raises(SkerryError) as nowhere:
        async with running(made / "a", "rock", "", BUS):
            pass
    assert nowhere.value.problem is CONFIG_INVALID


def test_an_audit_names_bytes_and_connections_where_they_may_not_be() -> None:
    class EuropeOnly:
        def decide(self, request: Request) -> Decision:
            allowed = request.where != "us-1" or request.app != "shop"
            return Decision(allowed, "jurisdiction", "us-1 is in US.")

        def record(self, request: Request, decision: Decision) -> None:
            raise AssertionError("an audit acts on nothing")

    def held(node: str, apps: tuple[str, ...], *connected: tuple[str, str]) -> Held:
        stream = HeldStream("KV_leases", 10, 1, (node,), apps)
        connections = (Connection("member", name, "", carries, 0, 0) for name, carries in connected)
        return Held(node, "EU", 10, (stream,) if apps else (), tuple(connections))

    asked = Asked(EuropeOnly(), ("shop", "free"), "se-1")
    good = [
        held("se-1", ("shop",), ("fi-1", "inside"), ("us-1", "between")),
        held("fi-1", ("shop", "theirs"), ("se-1", "inside")),
        held("us-1", ("free",), ("se-1", "between")),
    ]
    assert list(breaches(good, asked)) == []
    [byte] = breaches([*good[:2], held("us-1", ("shop",))], asked)
    assert byte.startswith("us-1 holds something of shop: rule jurisdiction")
    [connection] = breaches([held("se-1", ("shop",), ("us-1", "inside"))], asked)
    assert connection.startswith("us-1 is connected to where shop is told of")
