"""What the words of the audit log answer, and how each is shown to people."""

from __future__ import annotations

from typing import Any

import msgspec


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
    """What verifying found. Without findings, everything that was checked holds.

    `cosigned` are trusted witnesses that signed the head; `also` are the keys of others that did,
    as the file itself names them.
    """

    what: str
    origin: str
    entries: int
    since: str
    until: str
    key: str
    trusted: bool
    cosigned: tuple[str, ...]
    findings: tuple[str, ...]
    also: tuple[str, ...] = ()
    record: dict[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """Return 1 if something is wrong."""
        return 1 if self.findings else 0

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return draw_verdict(self)


def draw_said(text: str) -> str:
    """Return text without the line end that whoever writes it adds."""
    return text.removesuffix("\n")


def draw_entry(entry: Shown) -> str:
    """Return an entry with all that it says."""
    said = msgspec.json.format(msgspec.json.encode(entry.of), indent=2).decode()
    return f"entry {entry.entry}, {entry.at}: {entry.what}\n{said}"


def draw_verdict(found: Verified) -> str:
    """Return what verifying found."""
    good = "NOT INTACT" if found.findings else "intact"
    key = found.key if found.trusted else f"{found.key} (as the file itself says: compare it)"
    lines = [f"{found.what} of {found.origin}: {good}", f"signed by   {key}"]
    if found.entries:
        lines.append(f"entries     {found.entries}, {found.since} to {found.until}")
    if found.cosigned or not found.also:
        lines.append(f"witnesses   {', '.join(found.cosigned) or 'none'}")
    lines += [f"witness     {each} (as the file says: --witness)" for each in found.also]
    if found.record is not None:
        said = msgspec.json.format(msgspec.json.encode(found.record), indent=2)
        lines.append(said.decode())
    return "\n".join([*lines, *(f"found       {each}" for each in found.findings)])
