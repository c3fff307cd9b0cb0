"""Leases in a real etcd, by its JSON gateway."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.ports import free_port

from skerry.federation.bus.etcd import EtcdRegister
from skerry.kernel.clock import BootClock
from skerry.kernel.errors import CONFLICT, FENCED, STORE_UNREACHABLE, SkerryError
from skerry.kernel.lease import RegisterLeases

from .conftest import until

pytestmark = pytest.mark.skipif(
    shutil.which("etcd") is None, reason="NOT TRIED: there is no etcd (apt-get install etcd-server)"
)


@contextlib.asynccontextmanager
async def etcd(folder: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    process = await asyncio.create_subprocess_exec(
        "etcd",
        *("--data-dir", str(folder)),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"default={peer}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:

        async def ready() -> bool:
            try:
                await EtcdRegister([client]).read("x")
            except SkerryError:
                return False
            return True

        await until(ready)
        yield client, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_leases_in_etcd_are_as_everywhere(tmp_path: Path) -> None:
    async with etcd(tmp_path) as (url, process):
        nobody = f"http://127.0.0.1:{free_port()}"
        one, other = (
            RegisterLeases(EtcdRegister(urls), BootClock()) for urls in ([nobody, url], [url])
        )
        with contextlib.suppress(SkerryError):
            await one.current("shop")  # finds the member that answers
        lease = await one.acquire("shop", "se-1", 30, ("fi-1",))
        with pytest.raises(SkerryError, match="se-1 holds shop") as held:
            await other.acquire("shop", "fi-1", 30)
        assert held.value.problem is CONFLICT
        lease = await one.renew(lease, 30)
        watch = other.watch()
        assert (await anext(watch)).holder == "se-1"
        await one.release(lease)
        taken = await other.acquire("shop", "fi-1", 30)
        assert taken.epoch == lease.epoch + 1
        async for each in watch:
            if each.holder == "fi-1":
                break
        with pytest.raises(SkerryError) as fenced:
            await one.renew(lease, 30)
        assert fenced.value.problem is FENCED
        taken_at_once = await asyncio.gather(
            *(leases.acquire("race", name, 30) for leases, name in ((one, "a"), (other, "b"))),
            return_exceptions=True,
        )
        assert sum(not isinstance(each, Exception) for each in taken_at_once) == 1
        process.send_signal(signal.SIGKILL)
        await process.wait()
        with pytest.raises(SkerryError) as gone:
            await other.current("shop")
        assert gone.value.problem is STORE_UNREACHABLE


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SkerryError, match="no address of etcd"):
        EtcdRegister(["localhost:2379"])
