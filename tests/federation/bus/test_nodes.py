"""The bus as nodes run it: opt-in, permitted by policy, audited, and gone for who is revoked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skerry.federation import messages as m
from skerry.kernel.errors import CONFIG_INVALID, CONFLICT, DENIED, STORE_UNREACHABLE, SkerryError
from skerry.kernel.lease import Leases
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


async def test_nodes_share_leases_where_policy_lets_them(top: Path) -> None:
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

        await deploy(one, app("shop", '[policy]\njurisdiction = ["SE"]\n'))
        audited = await perform(one, "federation.audit")
        assert audited.exit_code == 1
        assert any("skerry holds something of shop" in each for each in audited.breaches)
        assert any("skerry is connected" in each for each in audited.breaches)

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
