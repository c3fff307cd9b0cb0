"""Peers sign each other's audit logs, and refuse a log that shows another past."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.federation.witnessing import Cosign, Cosigned, Seen, SeenAnswer
from skerry.kernel.errors import SkerryError
from skerry.node.audit.offline import verify
from skerry.node.audit.service import Verify
from skerry.testing.nodes import deploy, perform

from .conftest import running
from .test_binding import APP, bind


async def test_a_proof_has_the_signatures_of_two_other_nodes(top: Path) -> None:
    async with (
        running(top / "a", "rock") as one,
        running(top / "b", "skerry", "FR") as other,
        running(top / "c", "shoal", "DE") as third,
    ):
        await bind(one, other)
        await bind(one, third)
        await deploy(one, APP)
        await one.audit.settle()
        assert await one.witnesses.collect() == []
        found = await perform(one, "audit.prove", entry=0)
        file = top / "proof"
        file.write_text(found.text)
        witnesses = tuple(str(node.witness_desk.verifier) for node in (other, third))
        key = str(one.audit.log.verifier)
        verified = verify(Verify(str(file), key, witnesses, least=2))
        assert verified.exit_code == 0
        assert len(verified.cosigned) == 2


async def test_a_peer_speaks_of_its_own_log_only(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        federation = other.services.handler("federation")
        peer = federation.peers.find("rock")
        with pytest.raises(SkerryError, match="not the log of the node that asks"):
            await federation.calls.ask(peer, "/witness/seen", Seen("skerry/x/y"), SeenAnswer)
        with pytest.raises(SkerryError, match="not the log of the node that asks"):
            cosign = Cosign(0, (), "skerry/x/y\n1\nAA==\n\n")
            await federation.calls.ask(peer, "/witness/cosign", cosign, Cosigned)
