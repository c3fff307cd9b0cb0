"""`[identity]` of `config.toml`: whose word counts for who somebody is, and what groups may do."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.kernel.commands import about


class GroupConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[identity.groups.<name>]`: what its members may; what is left out is not limited."""

    app: Annotated[tuple[str, ...], about("only these apps")] = ()
    branch: Annotated[tuple[str, ...], about("only these branches")] = ()
    resource: Annotated[tuple[str, ...], about("only these resources")] = ()
    verb: Annotated[tuple[str, ...], about("only this: branch:create, a noun (kv), or read")] = ()
    country: Annotated[tuple[str, ...], about("only here, and to places in these countries")] = ()
    price: Annotated[str | None, about("only what costs at most so much")] = None


class IdentityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """`[identity]`: an OpenID Connect provider whose people may log in here."""

    issuer: Annotated[str, about("the provider's address, as its own discovery names it")] = ""
    client_id: Annotated[str, about("as what the provider knows this node")] = ""
    client_secret_file: Annotated[
        str, about("a file with the secret that the provider gave, if it gave one")
    ] = ""
    ca_file: Annotated[str, about("the authority of the provider's certificate")] = ""
    redirect: Annotated[
        str, about("the address of this node's /login/callback, if it is not the one in use")
    ] = ""
    scopes: Annotated[tuple[str, ...], about("what is asked for")] = ("openid", "profile", "email")
    groups_claim: Annotated[
        str, about("where groups stand; dots lead inwards: realm_access.roles")
    ] = "groups"
    session: Annotated[str, about("how long a log-in lasts; at most 7d")] = "8h"
    groups: Annotated[
        dict[str, GroupConfig],
        about("who may log in, and what they may: the first group that somebody is in counts"),
    ] = {}
