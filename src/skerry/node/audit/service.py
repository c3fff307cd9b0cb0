"""The audit log on every surface: what it says, proofs, and verifying without a node."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.kernel.commands import Command, Nothing, Params, about
from skerry.kernel.service import Mount, Page, Service
from skerry.node.audit.drawing import draw_entry, draw_said, draw_verdict


class Entries(Params, frozen=True):
    """Parameters of `audit.entries`."""

    app: Annotated[str | None, about("of this app only")] = None
    what: Annotated[str | None, about("of this sort only: decision, catalogue, billed, …")] = None
    lines: Annotated[int, about("how many of the last")] = 50


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


class Entry(msgspec.Struct, frozen=True):
    """An entry in a list: what it says, in a sentence."""

    entry: int
    at: str
    what: str
    said: str


class Shown(msgspec.Struct, frozen=True):
    """An entry, whole."""

    entry: int
    at: str
    what: str
    of: dict[str, Any]
    before: str

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_entry(self)


class Text(msgspec.Struct, frozen=True):
    """Text that is written as it is: a line of a log, a proof."""

    text: str

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_said(self.text)


class Key(msgspec.Struct, frozen=True):
    """The log's origin, head and key, and who else vouches for the head."""

    origin: str
    entries: int
    key: str
    witness_key: str
    cosigned: tuple[str, ...]
    refused: tuple[str, ...] = ()


class Verified(msgspec.Struct, frozen=True):
    """What verifying found. Without findings, everything that was checked holds."""

    what: str
    origin: str
    entries: int
    since: str
    until: str
    key: str
    trusted: bool
    cosigned: tuple[str, ...]
    findings: tuple[str, ...]
    record: dict[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """Return 1 if something is wrong."""
        return 1 if self.findings else 0

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_verdict(self)


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
