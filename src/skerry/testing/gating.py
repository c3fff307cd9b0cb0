"""The group `gate` of the conformance suite: a stranger is refused, and wakes nothing by it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from hypothesis import strategies as st

from skerry.kernel.kind import ASGIApplication, Gate, Head, Resource
from skerry.kernel.subject import GatedSubject, Knocked
from skerry.testing.hosts import answered
from skerry.testing.lab import Lab
from skerry.testing.nodes import perform

ODD: tuple[bytes, ...] = (
    b"Bearer",
    b"Bearer \xff\xfe",
    b"Basic OnNlY3JldA==",
    b"AWS :",
    b"AWS4-HMAC-SHA256 Credential=/////, SignedHeaders=host;;host, Signature=",
    b"skt_" * 12_000,
)
"""What may stand in an Authorization header and opens nothing."""


class TestGate:
    """Whoever has no right credential wakes nothing, and hears what the engine would say."""

    async def test_a_wrong_credential_wakes_nothing(self, lab: Lab) -> None:
        app, subject = await _sleeping(lab)
        asleep = await subject.knock(right=False)
        assert 400 <= asleep.status < 500, asleep
        assert lab.process(app) is None, "a stranger woke it"
        assert (await subject.knock(right=True)).status < 300
        running = lab.process(app)
        assert running is not None, "the right credential wakes it"
        awake = await subject.knock(right=False)
        assert awake == asleep, "the gate says what the engine says"
        os.kill(running.child.pid, signal.SIGKILL)
        await running.child.ended
        assert await subject.knock(right=False) == asleep
        assert lab.process(app) is None, "a stranger woke what was killed"

    async def test_many_strangers_wake_nothing(self, lab: Lab) -> None:
        app, subject = await _sleeping(lab)
        heard = await asyncio.gather(*(subject.knock(right=False) for _ in range(20)))
        assert len(set(heard)) == 1
        assert lab.process(app) is None

    async def test_odd_credentials_are_refused_alike(self, lab: Lab) -> None:
        app, subject = await _sleeping(lab)
        asleep = [await _ask(lab, app, each) for each in ODD]
        assert all(400 <= each.status < 500 for each in asleep), asleep
        assert lab.process(app) is None
        await subject.knock(right=True)
        assert [await _ask(lab, app, each) for each in ODD] == asleep


def bearers(token: str) -> st.SearchStrategy[list[str]]:
    """Return Authorization headers of a request: the right one, almost right ones, and any."""
    known = [f"Bearer {token}", f"bearer  {token} ", f"Bearer {token[:-1]}", f"Basic {token}", ""]
    text = st.text(st.characters(codec="latin-1"), max_size=40)
    return st.lists(st.sampled_from(known) | text, max_size=2)


async def answer_alike(
    gate: Gate, engine: ASGIApplication, resource: Resource, asked: Head, token: str
) -> int:
    """Return the status that a gate answers, having seen that the engine's answer is the same.

    It is 0 for a request that is let in, which must present the token.
    """
    answer = gate(asked, resource, 0)
    if answer is None:
        presented = asked.header(b"authorization") or b""
        assert presented.strip().endswith(token.encode()), "a stranger was let in"
        return 0
    assert answer == await answered(engine, asked)
    return answer.status


async def _sleeping(lab: Lab) -> tuple[str, GatedSubject]:
    """Return an app that sleeps, and a client of it; skip a kind without a gate."""
    if not any(wire.gate for wire in lab.manifest.wires):
        pytest.skip(f"{lab.manifest.name}: no wire has a gate")
    app = await lab.app()
    subject = await lab.subject(app)
    assert isinstance(subject, GatedSubject), "its wire has a gate, its subject does not knock"
    await perform(lab.node, "branch.sleep", app=app, branch="main")
    return app, subject


async def _ask(lab: Lab, app: str, authorization: bytes) -> Knocked:
    """Send a request to the resource; return the status, and the type of what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.node.http_port)
    try:
        writer.write(
            b"GET /nothing HTTP/1.1\r\nHost: thing--main--%b.localhost\r\nConnection: close\r\n"
            b"Authorization: %b\r\n\r\n" % (app.encode(), authorization)
        )
        async with asyncio.timeout(20):
            head, _, _ = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    line, *headers = head.lower().split(b"\r\n")
    kinds = [each.decode() for each in headers if each.startswith(b"content-type:")]
    return Knocked(int(line.split()[1]), "".join(kinds))
