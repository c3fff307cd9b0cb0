"""The audit log on every surface: what it says, proofs, and verifying without a node."""

from __future__ import annotations

from typing import Annotated

from skerry.kernel.commands import Command, Nothing, Params, about
from skerry.kernel.service import Mount, Page, Service
from skerry.node.audit.results import Entry, Key, Shown, Text, Verified


class Entries(Params, frozen=True):
    """Parameters of `audit.entries`."""

    app: Annotated[str | None, about("of this app only")] = None
    what: Annotated[str | None, about("of this sort only: decision, catalogue, billed, …")] = None
    lines: Annotated[int, about("how many of the last")] = 50


class Receipts(Params, frozen=True):
    """Parameters of `audit.receipts`."""

    app: Annotated[str | None, about("of this app only")] = None


class At(Params, frozen=True):
    """Parameters of `audit.show` and `audit.prove`."""

    entry: Annotated[int, about("the number of the entry", positional=True)]


class Verify(Params, frozen=True):
    """Parameters of `audit.verify`."""

    file: Annotated[str, about("a log, a proof, or a log's folder", positional=True)]
    key: Annotated[str | None, about("the log's verifier key, as you trust it")] = None
    witness: Annotated[tuple[str, ...], about("a witness's verifier key")] = ()
    least: Annotated[int, about("how many of these witnesses must have signed")] = 0
    known: Annotated[str | None, about("a signed head that you kept", file=True)] = None


SERVICE = Service(
    name="audit",
    summary="See, prove and verify what was decided, placed, billed and deleted",
    commands=(
        Command(
            "audit.entries",
            "List the last entries",
            Entries,
            list[Entry],
            empty="Nothing was written yet.",
        ),
        Command(
            "audit.receipts",
            "List receipts: what was placed and what is gone",
            Receipts,
            list[Entry],
            empty="Nothing was placed or deleted yet.",
        ),
        Command("audit.show", "Show an entry", At, Shown),
        Command("audit.prove", "Write a proof of an entry, checked offline", At, Text),
        Command("audit.export", "Write the whole log as lines", Nothing, Text, streams=True),
        Command("audit.key", "Show the key that the log is signed with", Nothing, Key),
        Command("audit.witness", "Collect signatures of other nodes", Nothing, Key, mutates=True),
        Command(
            "audit.verify",
            "Verify a log or a proof in a file",
            Verify,
            Verified,
            local="offline:verify",
        ),
    ),
    handler="handler:Handler",
    mounts=(Mount("/audit/log", "wire:make"),),
    pages=(
        Page("/audit", "Audit log", "page:view", "audit.html", menu="Audit"),
        Page("/audit/{entry}", "Audit log", "page:view_entry", "entry.html"),
    ),
)
