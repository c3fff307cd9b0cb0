"""Every kind that can be placed is found whole on the other node, by its own clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.app import kinds
from skerry.kernel.manifest import Verb
from skerry.testing.lab import Lab
from skerry.testing.nodes import perform

from .conftest import running
from .test_binding import bind

CREDENTIALS = ("user", "password", "token", "access_key", "secret_key", "database", "id")
PLACED = {
    name: each
    for name, each in kinds().items()
    if each.subject and each.able(Verb.PLACE) and each.keeps_state
}


@pytest.mark.parametrize("kind", PLACED)
async def test_a_resource_is_whole_on_the_other_node(top: Path, kind: str) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        here, there = Lab(one, PLACED[kind]), Lab(other, PLACED[kind])
        app = await here.app(policy='jurisdiction = ["EU"]')
        subject = await here.subject(app)
        for number in range(5):
            await subject.put(f"key-{number}", f"value {number}")
        written = await subject.get()
        assert len(written) >= 5
        fields = subject.place.fields
        await here.close()

        await perform(one, "federation.place", app=app, to="skerry")

        subject = await there.subject(app)
        kept = [name for name in CREDENTIALS if name in fields]
        assert {name: subject.place.fields[name] for name in kept} == {
            name: fields[name] for name in kept
        }
        assert await subject.get() == written
        await subject.put("after", "the move")
        assert "after" in await subject.get()
        await there.close()
