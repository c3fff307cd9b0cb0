"""Mints and revokes; both are entries of the audit log."""

from __future__ import annotations

import asyncio

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.commands import Check, Done, Nothing
from skerry.kernel.names import check_name
from skerry.node.node import Node
from skerry.node.token import biscuit
from skerry.node.token import service as s
from skerry.node.token.limits import moment
from skerry.node.token.offline import limits_of, minted
from skerry.node.token.registry import Kept
from skerry.node.words import Progress

SOON_SECONDS = 72 * 3600
"""A token that ends sooner than this is told of."""


class Handler:
    """Carries out the words of tokens; only the operator's are let through to `mint`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def examine(self) -> list[Check]:
        """Say for `skerry doctor` how many tokens can be used, and which one ends next."""
        now = self._node.clock.now() // NANOSECONDS
        there = sorted(
            (each.until, each.name)
            for each in self._node.tokens.minted.values()
            if each.until > now
        )
        if not there:
            return [Check("tokens", True, "none that was minted here can be used")]
        until, name = there[0]
        detail = f"{len(there)} can be used; the next to end is {name}, at {moment(until)}"
        soon = until - now < SOON_SECONDS
        return [Check("tokens", not soon, detail, f"skerry token mint {name}" if soon else "")]

    async def do_mint(self, params: s.Mint, progress: Progress) -> s.Minted:
        """See `token.mint`."""
        limits = limits_of(params, self._node.clock.now())
        name = check_name(params.name, "the holder of a token")
        found = minted(biscuit.mint(self._node.tokens.seed, name, limits))
        if limits.until is not None:
            kept, now = Kept(name, limits.until), self._node.clock.now() // NANOSECONDS
            await asyncio.to_thread(self._node.tokens.keep, found.id, kept, now)
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
