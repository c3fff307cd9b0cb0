"""Logging in by an identity provider, on every surface: who may, and whether it answers."""

from __future__ import annotations

import msgspec

from skerry.kernel.commands import Command, Nothing
from skerry.kernel.service import Service


class GroupInfo(msgspec.Struct, frozen=True):
    """A group whose members may log in, and the checks of their tokens."""

    group: str
    checks: str


class Shown(msgspec.Struct, frozen=True):
    """What is configured, and whether the provider answers now; `problem` says why not."""

    issuer: str
    client: str
    redirect: str
    session_seconds: int
    answers: bool
    problem: str
    groups: tuple[GroupInfo, ...]

    def draw(self, columns: int) -> str:
        """Return it for people."""
        if not self.issuer:
            return "No identity provider: the operator's token, and tokens minted by it, let in."
        answers = "answers" if self.answers else f"does not answer: {self.problem}"
        lines = [
            f"{self.issuer} {answers}",
            f"known there as {self.client}, log-ins last {self.session_seconds // 60} min",
            f"redirects to {self.redirect}",
        ]
        for each in self.groups:
            checks = each.checks.replace("\n", " ") or "everything but tokens and recovery keys"
            lines.append(f"  {each.group}: {checks}")
        return "\n".join(lines)


SERVICE = Service(
    name="identity",
    summary="Log people in by an identity provider of your own",
    commands=(Command("identity.show", "Show whose word counts, and for what", Nothing, Shown),),
    handler="handler:Handler",
)
