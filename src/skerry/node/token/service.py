"""Delegated rights on every surface: mint, narrow, look, revoke."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.kernel.commands import Command, Done, Nothing, Params, about
from skerry.kernel.service import Service

Text = Annotated[str, about("the token; - reads it", positional=True, file=True)]


class Limited(Params, frozen=True, kw_only=True):
    """What a token may be limited to; without a value it is not."""

    app: Annotated[tuple[str, ...], about("only this app", repeat=True)] = ()
    branch: Annotated[tuple[str, ...], about("only this branch", repeat=True)] = ()
    resource: Annotated[tuple[str, ...], about("only this resource", repeat=True)] = ()
    verb: Annotated[
        tuple[str, ...], about("only this: branch:create, a noun (kv), or read", repeat=True)
    ] = ()
    country: Annotated[
        tuple[str, ...], about("only here, and to places in this country", repeat=True)
    ] = ()
    price: Annotated[str | None, about("only what costs at most so much")] = None


class Mint(Limited, frozen=True, kw_only=True):
    """Parameters of `token.mint`."""

    name: Annotated[str, about("who shall have it, for the audit log", positional=True)]
    until: Annotated[str, about("until when: 8h, or 2026-12-31T18:00:00Z")] = "720h"


class Narrow(Limited, frozen=True, kw_only=True):
    """Parameters of `token.narrow`."""

    token: Text
    until: Annotated[str | None, about("until when: 8h, or 2026-12-31T18:00:00Z")] = None


class Inspect(Params, frozen=True):
    """Parameters of `token.inspect`."""

    token: Text
    key: Annotated[str, about("the key of who minted it, as you trust it")] = ""


class Revoke(Params, frozen=True):
    """Parameters of `token.revoke`."""

    token: Text


class Minted(msgspec.Struct, frozen=True):
    """A token; it is a secret."""

    token: str
    key: str
    id: str

    def draw(self, columns: int) -> str:
        """Return the token alone, for a pipe or a variable."""
        return self.token


class Inspected(msgspec.Struct, frozen=True):
    """What a token says: by whom it is, and the checks of each block, the minted one first."""

    name: str
    key: str
    trusted: bool
    ids: tuple[str, ...]
    blocks: tuple[str, ...]

    def draw(self, columns: int) -> str:
        """Return it for people."""
        trust = "the key that you gave" if self.trusted else "as the token itself says: compare it"
        lines = [f"token of {self.name}", f"minted by {self.key} ({trust})"]
        for number, block in enumerate(self.blocks):
            lines.append("minted" if number == 0 else f"narrowed, id {self.ids[number][:16]}")
            lines += [f"  {line}" for line in block.splitlines()]
        return "\n".join(lines)


class RevokedInfo(msgspec.Struct, frozen=True):
    """A revoked token in a list."""

    name: str
    id: str


SERVICE = Service(
    name="token",
    summary="Give away rights that their holder can narrow",
    commands=(
        Command("token.mint", "Make a token for somebody", Mint, Minted, mutates=True),
        Command("token.narrow", "Narrow a token, offline", Narrow, Minted, local="offline:narrow"),
        Command(
            "token.inspect",
            "Say what a token allows, offline",
            Inspect,
            Inspected,
            local="offline:inspect",
        ),
        Command("token.revoke", "Refuse a token from now on", Revoke, Done, mutates=True),
        Command(
            "token.revoked",
            "List what was revoked",
            Nothing,
            list[RevokedInfo],
            empty="No token was revoked.",
        ),
    ),
    handler="handler:Handler",
)
