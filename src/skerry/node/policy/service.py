"""What may be where, and why: the words of the policy on every surface."""

from __future__ import annotations

from typing import Annotated

from skerry.kernel.commands import AppName, BranchName, Command, Done, Nothing, Params, about
from skerry.kernel.names import MAIN
from skerry.kernel.policy import Fact
from skerry.kernel.service import Page, Service
from skerry.node.policy.results import Checked, Explanation, PlaceInfo, Tested


class Check(Params, frozen=True):
    """Parameters of `policy.check`."""

    file: Annotated[
        str | None, about("a skerry.toml; without it, what runs", positional=True, file=True)
    ] = None
    app: Annotated[str | None, about("the app; by default all of them")] = None


class Explain(Params, frozen=True):
    """Parameters of `policy.explain`."""

    action: Annotated[str, about("what would happen, such as backup:send", positional=True)]
    app: AppName
    branch: BranchName = MAIN
    at: Annotated[str | None, about("a node; by default this one")] = None
    provider: Annotated[str | None, about("a provider, instead of a node")] = None
    country: Annotated[str, about("where the provider would keep it")] = ""
    host: Annotated[str, about("the endpoint's host name")] = ""
    kind: Annotated[str | None, about("the kind of the resource")] = None
    resource: Annotated[str | None, about("the resource")] = None
    principal: Annotated[str, about("who would do it")] = "operator"
    encrypted: Annotated[bool, about("only what is encrypted on this side would go")] = False


class Test(Params, frozen=True):
    """Parameters of `policy.test`."""

    file: Annotated[str, about("expected decisions (TOML)", positional=True, file=True)]
    app: AppName


class Places(Params, frozen=True):
    """Parameters of `policy.places`."""

    app: Annotated[str | None, about("say of each place whether this app may be there")] = None
    action: Annotated[str, about("what would happen there")] = "resource:replicate"


class FactsOf(Params, frozen=True):
    """Parameters of `policy.facts`."""

    subject: Annotated[str, about("node/<name> or provider/<name>", positional=True)]


SERVICE = Service(
    name="policy",
    summary="Say where apps may be, and why",
    commands=(
        Command("policy.check", "Check the policies of apps, or of an app file", Check, Checked),
        Command("policy.explain", "Explain one decision", Explain, Explanation),
        Command("policy.test", "Try expected decisions", Test, Tested),
        Command("policy.places", "List what is known of places", Places, list[PlaceInfo]),
        Command(
            "policy.facts",
            "List the facts about a place with their evidence",
            FactsOf,
            list[Fact],
            empty="Nothing is known of it.",
        ),
        Command("policy.reload", "Read facts.toml again", Nothing, Done, mutates=True),
    ),
    handler="handler:Handler",
    pages=(Page("/policy", "Policy", "page:view", "policy.html", menu="Policy"),),
)
