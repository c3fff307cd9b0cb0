"""A branch as of a past moment that cannot be reached disturbs nothing."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.app import kinds
from skerry.kernel.errors import SkerryError
from skerry.kernel.manifest import Verb
from skerry.testing.nodes import deploy, perform, running_node

ABLE = {
    name: kind
    for name, kind in kinds().items()
    if kind.able(Verb.BRANCH_AT) and kind.immutable and kind.journal
}
"""Kinds that go back in time by copies that they make while they run."""


async def test_a_moment_out_of_reach_is_refused_before_anything_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = next(iter(ABLE.values()))
    async with running_node({manifest.name: manifest}, volume_driver="copy") as node:
        await deploy(node, {"skerry.toml": f'[app]\nname = "news"\n[{manifest.name}.main]\n'})
        await perform(node, "branch.wake", app="news")
        copied: list[Any] = []

        def clone(*words: Any, **_: Any) -> None:
            copied.append(words)

        monkeypatch.setattr(node.volume, "clone", clone)
        with pytest.raises(SkerryError, match="cannot go back") as caught:
            await perform(node, "branch.create", app="news", name="old", at="1h")
        assert caught.value.code == "CONFLICT"
        assert copied == []
        assert list(node.catalogue.app("news").branches) == ["main"]


async def test_a_moment_to_come_is_called_so() -> None:
    hello = kinds()["hello"]
    async with running_node({"hello": hello}, volume_driver="copy") as node:
        await deploy(node, {"skerry.toml": '[app]\nname = "news"\n[hello.guests]\n'})
        with pytest.raises(SkerryError, match="is in the future") as caught:
            await perform(node, "branch.create", app="news", name="new", at="2999-01-01T00:00:00Z")
        assert caught.value.code == "INVALID"
        assert "now" in caught.value.why
        assert caught.value.hint
