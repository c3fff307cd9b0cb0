"""What may be where, and why: the words of the policy on every surface."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.kernel.commands import AppName, BranchName, Command, Done, Nothing, Params, about
from skerry.kernel.names import MAIN
from skerry.kernel.policy import Decision, Fact
from skerry.kernel.service import Page, Service
from skerry.node.policy.drawing import draw_checked, draw_explanation, draw_tested


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


class Finding(msgspec.Struct, frozen=True):
    """An app on this node: whether its terms allow it here, and why."""

    app: str
    branch: str
    allowed: bool
    rule: str
    reason: str
    evidence: str
    providers: tuple[str, ...]


class Checked(msgspec.Struct, frozen=True):
    """What `policy.check` found."""

    findings: tuple[Finding, ...]
    conflicts: tuple[Fact, ...]
    cedar: str = ""

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_checked(self)

    @property
    def exit_code(self) -> int:
        """Return 4 if an app is where it may not be."""
        return 0 if all(each.allowed for each in self.findings) else 4


class Explanation(msgspec.Struct, frozen=True):
    """A decision that was not acted on, with everything that is known of the place."""

    place: str
    decision: Decision
    country: str
    jurisdictions: tuple[str, ...]
    owners: tuple[str, ...]
    reach: tuple[str, ...]
    residency: str
    transfer_basis: str
    conflicts: tuple[Fact, ...]
    atlas: str

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_explanation(self)

    @property
    def exit_code(self) -> int:
        """Return 4 if it is not allowed."""
        return 0 if self.decision.allowed else 4


class Outcome(msgspec.Struct, frozen=True):
    """One expected decision, and what was decided."""

    case: str
    expected: str
    got: str
    ok: bool
    reason: str


class Tested(msgspec.Struct, frozen=True):
    """All expected decisions."""

    outcomes: tuple[Outcome, ...]

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_tested(self)

    @property
    def exit_code(self) -> int:
        """Return 1 if one came out otherwise."""
        return 0 if all(each.ok for each in self.outcomes) else 1


class PlaceInfo(msgspec.Struct, frozen=True):
    """A place in a list. `sites` are countries; `reach` whose laws reach it, as derived."""

    place: str
    owner: str
    sites: str
    reach: str
    evidence: str
    may: str = ""


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
