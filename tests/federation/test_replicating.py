"""Asking for standbys where leases cannot be taken: refused, and the app goes on answering."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.federation.replicas.reading import Reading
from skerry.kernel.clock import BootClock
from skerry.kernel.errors import STORE_UNREACHABLE, SkerryError
from skerry.kernel.lease import RegisterLeases, Slot
from skerry.testing.leases import MemoryRegister
from skerry.testing.nodes import perform

from .conftest import running
from .test_binding import bind
from .test_placing import fetch, serve


class Silent(MemoryRegister):
    """A place for leases that never answers."""

    async def read(self, subject: str) -> Slot | None:
        raise STORE_UNREACHABLE("The bus does not answer.")


async def test_without_a_lease_nothing_changes(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await serve(one)
        federation = one.services.handler("federation")
        federation.leases = RegisterLeases(Silent(), BootClock())
        with pytest.raises(SkerryError, match="No lease can be taken for shop") as refused:
            await perform(one, "federation.place", app="shop", replicas=1, within="EU")
        assert refused.value.problem is STORE_UNREACHABLE
        assert "The bus does not answer." in refused.value.why
        assert one.catalogue.app("shop").replication is None
        assert await fetch(one, "/put/after") == (200, "ok")


async def test_what_never_started_stops(top: Path) -> None:
    async with running(top / "a", "rock") as one:
        replicas = one.services.handler("federation").replicas
        reading = Reading(one, replicas.following, replicas._ask_head)
        await reading.stop()
