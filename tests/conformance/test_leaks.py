"""The suite finds a kind with a path round the policy, whatever its manifest says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conformance.leaky.subject import LeakySubject

from skerry.kernel.manifest import read_manifests
from skerry.node.node import Node
from skerry.testing.lab import lab as make_lab
from skerry.testing.nodes import running_node
from skerry.testing.placing import TestPlace as Place

ROOT = Path(__file__).parents[2]
MANIFEST = read_manifests(["tests.conformance.leaky"])["leaky"]


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    async with running_node({"leaky": MANIFEST}) as running:
        yield running


async def test_paths_round_the_policy_are_found(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = Place().test_every_way_out_is_asked_for_before_it_is_taken
    for asks, found in (
        ("first", ""),
        ("never", "was refused, and yet it was done"),
        ("late", "was refused, and yet something left"),
    ):
        monkeypatch.setattr(LeakySubject, "asks", asks)
        async with make_lab(node, MANIFEST) as lab:
            if not found:
                await ways(lab)
                continue
            with pytest.raises(AssertionError, match=found):
                await ways(lab)
    undriven = replace(MANIFEST, leaves=("leaky:send",), subject="subject:SilentSubject")
    async with make_lab(node, undriven) as lab:
        with pytest.raises(AssertionError, match="its subject has no way out"):
            await ways(lab)
