"""Drills on every surface: one command each."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from skerry.kernel.commands import Command, Nothing, Params, about
from skerry.kernel.service import Page, Service
from skerry.node.drill.verdict import Step, Verdict


class Drill(NamedTuple):
    """A drill: what it shows, and the criteria of BSI C3A 1.0 (or others) that it runs."""

    name: str
    summary: str
    criteria: str
    run: str


DRILLS = (
    Drill("location", "Show where every byte lies", "C3A SOV-3-01-C1", "where:location"),
    Drill("residence", "Show that terms keep apps inside", "C3A SOV-3-01-C3", "where:residence"),
    Drill("keys", "Show who holds the keys", "C3A SOV-3-02-C", "secrecy:keys"),
    Drill("identity", "Show whose word counts", "C3A SOV-3-03-C", "secrecy:identity"),
    Drill("logs", "Show that acts are logged", "C3A SOV-3-04-C, AC1, AC2", "life:logs"),
    Drill("access", "Show from where it is run", "C3A SOV-4-02-C1", "where:access"),
    Drill("exchange", "List what goes to others", "C3A SOV-4-07-C, SOV-4-08-C", "where:exchange"),
    Drill("disconnect", "Run without a network", "C3A SOV-4-09-C", "cut:disconnect"),
    Drill("reconnect", "Run again 90 days later", "C3A SOV-4-10-C", "cut:reconnect"),
    Drill("software", "List the software", "C3A SOV-5-01-C", "inventory:software"),
    Drill("hardware", "List the hardware", "C3A SOV-5-02-C", "inventory:hardware"),
    Drill("services", "Compare connections with the log", "C3A SOV-5-03-C", "where:services"),
    Drill("source", "Show that source is here", "C3A SOV-6-01-C", "inventory:source"),
    Drill("export", "Export, import, compare", "CSF SOV-4, Data Act art. 25", "life:export"),
    Drill("deletion", "Delete and look for what is left", "CSF SOV-3", "life:deletion"),
)


class Asked(Params, frozen=True):
    """Parameters of a drill."""

    app: Annotated[str | None, about("with this app only")] = None


class Drilled(msgspec.Struct, frozen=True):
    """What a drill came to, and the entry of the audit log that says so."""

    drill: str
    criteria: str
    verdict: Verdict
    steps: tuple[Step, ...]
    lacking: tuple[str, ...]
    why: str
    entry: int
    until: str
    answers: dict[str, int] = {}

    @property
    def exit_code(self) -> int:
        """Return 1 if it was not met, 8 if it could not be tried."""
        return {Verdict.NOT_MET: 1, Verdict.NOT_TRIED: 8}.get(self.verdict, 0)

    def draw(self, columns: int) -> str:
        """Return it for people."""
        lines = [f"{self.drill} ({self.criteria}): {self.verdict}"]
        lines += [f"  {'ok  ' if step.ok else 'FAIL'} {step.text}" for step in self.steps]
        lines += [f"  not shown: {each}" for each in self.lacking]
        lines += [f"  {self.why}"] if self.why else []
        lines.append(f"  entry {self.entry} of the audit log, counts until {self.until}")
        return "\n".join(lines)


class Last(msgspec.Struct, frozen=True):
    """A drill in a list, with how it went last."""

    drill: str
    criteria: str
    shows: str
    verdict: str
    at: str
    entry: int | None = None


SERVICE = Service(
    name="drill",
    summary="Run criteria, and keep their verdicts",
    commands=(
        Command("drill.list", "List the drills, and how each went last", Nothing, list[Last]),
        Command("drill.all", "Run every drill", Asked, list[Last]),
        *(
            Command(f"drill.{each.name}", each.summary, Asked, Drilled, mutates=True)
            for each in DRILLS
        ),
    ),
    handler="handler:Handler",
    pages=(Page("/drills", "Drills", "page:view", "drills.html"),),
)
