"""What a tenant asks of whoever serves an order, beyond resources: Akash's words and our own.

In an SDL file our own stand among a placement's attributes, where every Akash tool accepts them:

    attributes:
      skerry/clearing: second-score
      skerry/countries: FI, SE, DE
      skerry/isolation: bwrap
      skerry/verification: audit(0.05)
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from fractions import Fraction

import msgspec

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kernel.names import did_you_mean
from skerry.market.sdl.model import Attribute

PREFIX = "skerry/"
WINDOW_MILLISECONDS = 250
WINDOW_MILLISECONDS_MAX = 300_000
REPLICAS_MAX = 9


class Rule(enum.StrEnum):
    """How an order finds its provider."""

    MANUAL = "manual"
    FIRST_SCORE = "first-score"
    SECOND_SCORE = "second-score"
    POSTED = "posted"


class Verification(msgspec.Struct, frozen=True):
    """How work is checked: not, by probes, by repeating a part of it, or by repeating all."""

    level: str = "none"
    share_ppm: int = 0
    replicas: int = 1

    def __str__(self) -> str:
        if self.level == "audit":
            return f"audit({self.share_ppm / 1_000_000:g})"
        return f"replicate({self.replicas})" if self.level == "replicate" else self.level


LEVELS = ("none", "probe", "audit", "replicate")


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The terms of an order.

    `refused` are providers that a policy refuses, and why. `reserve_ppm` is the share of the limit,
    in millionths, that is paid by the second score to whoever bids alone, unless more was asked.
    """

    clearing: Rule = Rule.SECOND_SCORE
    window_ms: int = WINDOW_MILLISECONDS
    countries: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    isolation: str = ""
    verification: Verification = Verification()
    bond: int = 0
    reputation_weight: int = 1
    reclamation_seconds: int = 0
    not_providers: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    reserve_ppm: int = 1_000_000


def parse_verification(text: str) -> Verification:
    """Read `none`, `probe`, `audit(0.05)` or `replicate(3)`; raise INVALID if it is none."""
    found = re.fullmatch(r"(none|probe|audit|replicate)(?:\(([0-9.]{1,12})\))?", text.strip())
    if not found:
        raise INVALID(
            f"{text!r} is no level of verification.",
            why="The levels are none, probe, audit(share) and replicate(count).",
        )
    level, argument = found.groups()
    if level in ("none", "probe"):
        return Verification(level)
    if level == "audit":
        try:
            share = Fraction(argument or "0.05")
        except ValueError:
            share = Fraction(0)
        if not 0 < share <= 1:
            raise INVALID(f"{text!r} audits no share.", why="Write a share above 0 and up to 1.")
        return Verification(level, share_ppm=int(share * 1_000_000))
    count = int(argument) if argument and argument.isdigit() else 0 if argument else 2
    if not 2 <= count <= REPLICAS_MAX:
        raise INVALID(f"{text!r} is out of bounds.", why=f"Replicas are 2 to {REPLICAS_MAX}.")
    return Verification(level, replicas=count)


def parse_reserve(text: str) -> int:
    """Read `60%` as millionths; raise INVALID if it is no share of the limit."""
    number = text.strip().removesuffix("%").strip()
    if not (number.isascii() and number.isdigit()) or int(number) > 100:
        raise INVALID(f"{text!r} is no reserve.", why="It is a share of the limit, 0% to 100%.")
    return int(number) * 10_000


def _words(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def _whole(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise INVALID(f"{text!r} is not a whole number up to {most}.")
    return int(text)


_FIELDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "clearing": ("clearing", lambda text: Rule(text.strip())),
    "window-ms": ("window_ms", lambda text: _whole(text, WINDOW_MILLISECONDS_MAX)),
    "countries": ("countries", lambda text: tuple(each.upper() for each in _words(text))),
    "owners": ("owners", _words),
    "isolation": ("isolation", lambda text: text.strip()),
    "verification": ("verification", parse_verification),
    "bond": ("bond", lambda text: _whole(text, 10**15)),
    "reserve": ("reserve_ppm", parse_reserve),
    "reputation-weight": ("reputation_weight", lambda text: _whole(text, 4)),
}


def read_terms(
    attributes: tuple[Attribute, ...], base: Terms
) -> tuple[Terms, tuple[Attribute, ...]]:
    """Split a placement's attributes into our terms and what is matched as Akash matches."""
    plain: list[Attribute] = []
    changes: dict[str, object] = {}
    for attribute in attributes:
        if not attribute.key.startswith(PREFIX):
            plain.append(attribute)
            continue
        name = attribute.key.removeprefix(PREFIX)
        if name not in _FIELDS:
            raise INVALID(f"{attribute.key} is not known.", why=did_you_mean(name, _FIELDS))
        field, read = _FIELDS[name]
        try:
            changes[field] = read(attribute.value)
        except SkerryError:
            raise
        except ValueError as error:
            raise INVALID(
                f"{attribute.value!r} is not known for {attribute.key}.",
                why=did_you_mean(attribute.value, list(Rule)),
            ) from error
    return msgspec.structs.replace(base, **changes), tuple(plain)
