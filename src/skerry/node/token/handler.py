"""Mints and revokes; both are entries of the audit log."""

from __future__ import annotations

import asyncio

from skerry.kernel.commands import Done, Nothing
from skerry.kernel.names import check_name
from skerry.node.node import Node
from skerry.node.token import biscuit
from skerry.node.token import service as s
from skerry.node.token.offline import limits_of, minted
from skerry.node.words import Progress


class Handler:
    """Carries out the words of tokens; only the operator's are let through to `mint`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def do_mint(self, params: s.Mint, progress: Progress) -> s.Minted:
        """See `token.mint`."""
        limits = limits_of(params, self._node.clock.now())
        name = check_name(params.name, "the holder of a token")
        found = minted(biscuit.mint(self._node.tokens.seed, name, limits))
        await self._tell("minted", name, found.id, limits.datalog())
        return found

    async def do_revoke(self, params: s.Revoke, progress: Progress) -> Done:
        """See `token.revoke`."""
        token = biscuit.read(params.token, self._node.tokens.public_key)
        own = await asyncio.to_thread(self._node.tokens.revoke, token)
        await self._tell("revoked", token.name, own, "")
        return Done(f"The token {token.name}, and all narrowed from it, are refused from now on.")

    async def do_revoked(self, params: Nothing, progress: Progress) -> list[s.RevokedInfo]:
        """See `token.revoked`."""
        found = self._node.tokens.revoked
        return [s.RevokedInfo(name, own[:16]) for own, name in found.items()]

    async def _tell(self, event: str, name: str, own: str, checks: str) -> None:
        said = {"event": event, "name": name, "id": own[:32], "checks": checks}
        await self._node.audit.add("token", said)
