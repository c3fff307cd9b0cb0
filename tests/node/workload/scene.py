"""Workloads of a home of its own, and small programs for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.clock import SystemClock, SystemEntropy
from skerry.node.home import Home
from skerry.node.sandbox.cgroup import detect
from skerry.node.workload import State, WorkloadInfo, WorkloadSpec
from skerry.node.workload.spec import MIB, Restart
from skerry.node.workload.supervisor import Workloads

PYTHON = "/usr/bin/python3"


@contextlib.asynccontextmanager
async def open_workloads(root: Path) -> AsyncIterator[Workloads]:
    """Give the workloads of a home, as a node does; they go on when this ends."""
    home = Home(root)
    home.create(SystemEntropy())
    workloads = Workloads(home=home, cgroups=detect(), clock=SystemClock(), entropy=SystemEntropy())
    await workloads.start()
    try:
        yield workloads
    finally:
        await workloads.stop()


def shell(script: str, **fields: Any) -> WorkloadSpec:
    """Return a small workload of the host's image that runs a line of shell."""
    return program("/bin/sh", "-c", script, **fields)


def python(script: str, **fields: Any) -> WorkloadSpec:
    """Return a small workload of the host's image that runs a Python script."""
    if not Path(PYTHON).exists():
        pytest.skip("the machine's /usr has no Python for the host's image")
    return program(PYTHON, "-I", "-c", script, **fields)


def program(*command: str, **fields: Any) -> WorkloadSpec:
    defaults: dict[str, Any] = {
        "image": "host",
        "memory_bytes": 64 * MIB,
        "disk_bytes": 8 * MIB,
        "pids": 24,
        "restart": Restart.NEVER,
    }
    return WorkloadSpec(command=command, **(defaults | fields))


async def need(workloads: Workloads, isolation: str) -> None:
    """Skip where a class cannot be had."""
    found = {each.name: each for each in await workloads.classes()}[isolation]
    if not found.available:
        pytest.skip(f"class {isolation}: {found.why}")


async def until(
    workloads: Workloads, name: str, reached: Callable[[WorkloadInfo], bool], seconds: float = 30.0
) -> WorkloadInfo:
    """Wait until something holds of a workload."""
    async with asyncio.timeout(seconds):
        while not reached(info := await workloads.info(name)):
            await asyncio.sleep(0.02)
    return info


async def ended(workloads: Workloads, name: str, seconds: float = 30.0) -> WorkloadInfo:
    """Wait until a workload has ended for good."""
    return await until(workloads, name, lambda info: info.state == State.ENDED, seconds)


async def said(workloads: Workloads, name: str, stream: str = "stdout") -> list[str]:
    """Return all that a program said."""
    found = [line async for line in workloads.logs(name, lines=10_000)]
    return [line.text for line in found if line.stream == stream]


async def run_to_end(workloads: Workloads, spec: WorkloadSpec, name: str) -> WorkloadInfo:
    await workloads.run(spec, name)
    return await ended(workloads, name)
