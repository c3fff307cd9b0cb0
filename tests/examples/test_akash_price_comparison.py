"""The price comparison, as its reader runs it: on a node with a market."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest
from tests.market.nodes import do, market_of, running

from skerry.market.sdl.parse import parse
from skerry.testing.nodes import open_directory

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "akash_price_comparison"


def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("price_comparison", EXAMPLE / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lists_are_dated_and_have_sources() -> None:
    found = compare().price_lists()
    assert [each["name"] for each in found] == ["Akash", "Modal", "RunPod"]
    for each in found:
        assert each["source"].startswith("https://")
        assert len(each["seen"]) == 10
        assert each["note"]


def test_a_list_prices_what_the_file_asks_for() -> None:
    module = compare()
    unit = parse((EXAMPLE / "deploy.yaml").read_text()).groups[0].resources[0].resources
    assert Decimal(unit.cpu_milli) / 1000 == module.CORES
    assert Decimal(unit.memory_bytes) / 2**30 == module.MEMORY_GIB
    assert Decimal(unit.storage[0].size_bytes) / 2**30 == module.STORAGE_GIB
    akash, modal, runpod = module.price_lists()
    total, missing = module.hourly(akash)
    assert missing == []
    wanted = Decimal("0.5") * Decimal("1.60") + Decimal("0.25") * Decimal("0.80")
    assert abs(total * 730 - (wanted + Decimal("0.01"))) < Decimal("1e-9")
    total, missing = module.hourly(modal)
    assert missing == []
    assert abs(total - 3600 * (Decimal("0.00000655") + Decimal("0.000000555"))) < Decimal("1e-9")
    assert module.hourly(runpod)[1] == ["cpu_core", "memory_gib"]
    assert module.gpu_hourly(runpod, "h100") == Decimal("4.176")


@pytest.mark.slow
async def test_it_runs_the_workload_and_compares() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="10")
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(EXAMPLE / "compare.py"),
                "--usd-per-eur",
                "1.1",
                "--gpu",
                "h100",
                env={**os.environ, "SKERRY_HOME": str(node.home.root)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            output, errors = await process.communicate()
            text = output.decode()
            assert process.returncode == 0, errors.decode()
            assert "warmest hour" in text
            assert "times" in text
            assert "incomplete: no price for cpu_core, memory_gib" in text
            assert "here" in text
            assert market_of(node).exchange.state.running == {}
