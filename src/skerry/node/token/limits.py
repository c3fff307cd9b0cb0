"""What a token may be limited to, and the same in the words of biscuit (Datalog checks).

A block of checks is added by whoever mints and by every holder who narrows; all blocks must hold,
so that a token only ever allows less. A limit asks for a fact about the request: what a request
does not tell, no limited token allows.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation

import msgspec

from skerry.kernel.app import parse_duration
from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import INVALID
from skerry.kernel.names import is_name
from skerry.kernel.territory import COUNTRIES, meant

READ = "read"
"""The verb of every command that changes nothing and tells no credential."""

VALUES_MAX = 50
_VERB = re.compile(r"[a-z][a-z-]*(:[a-z][a-z.-]*)?")
_MICRO = 1_000_000
_PRICE_MAX = 10**9


class Limits(msgspec.Struct, frozen=True):
    """What a block of a token is limited to; what is empty is not limited.

    `price` is in micro-units of the node's money, `until` in seconds since 1970 (UTC).
    """

    app: tuple[str, ...] = ()
    branch: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    verb: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    price: int | None = None
    until: int | None = None

    def datalog(self) -> str:
        """Return the checks of a block."""
        lines = []
        for name in ("app", "resource", "verb", "country"):
            values = getattr(self, name)
            if values:
                lines.append(f"check if {name}($x), {_set(values)}.contains($x);")
        if self.branch:
            lines.append(f"check all branch($x), {_set(self.branch)}.contains($x);")
        if self.price is not None:
            lines.append(f"check if price($x), $x <= {self.price};")
        if self.until is not None:
            lines.append(f"check if time($x), $x < {moment(self.until)};")
        return "\n".join(lines)


def _set(values: Iterable[str]) -> str:
    return "{" + ", ".join(f'"{value}"' for value in values) + "}"


def moment(seconds: int) -> str:
    """Return a time as Datalog has it (RFC 3339)."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def make(
    now: int,
    *,
    app: tuple[str, ...] = (),
    branch: tuple[str, ...] = (),
    resource: tuple[str, ...] = (),
    verb: tuple[str, ...] = (),
    country: tuple[str, ...] = (),
    price: str | None = None,
    until: str | None = None,
) -> Limits:
    """Return limits from the words of a command line; `now` is in nanoseconds. Raises INVALID."""
    for values, what in ((app, "an app"), (branch, "a branch"), (resource, "a resource")):
        _each(values, is_name, what)
    _each(verb, lambda text: _VERB.fullmatch(text) is not None, "a verb: branch:create, kv or read")
    for each in country:
        if each not in COUNTRIES:
            raise INVALID(f"{each[:40]!r} is no country code.", why=meant(each[:40]))
    micro = None if price is None else _price(price)
    seconds = None if until is None else _until(until, now)
    return Limits(app, branch, resource, verb, country, micro, seconds)


def _each(values: tuple[str, ...], right: Callable[[str], bool], what: str) -> None:
    if len(values) > VALUES_MAX:
        raise INVALID(f"At most {VALUES_MAX} can be named.")
    for value in values:
        if not right(value):
            raise INVALID(f"{value[:40]!r} cannot name {what}.")


def _price(text: str) -> int:
    try:
        number = Decimal(text.strip())
    except InvalidOperation as error:
        raise INVALID(f"{text[:40]!r} is no amount.", why="Write 5 or 0.25.") from error
    if not number.is_finite() or not 0 <= number <= _PRICE_MAX:
        raise INVALID(f"{text[:40]!r} is no amount.", why=f"It is 0 to {_PRICE_MAX}.")
    return int(number * _MICRO)


def _until(text: str, now: int) -> int:
    seconds = now // NANOSECONDS
    try:
        return seconds + int(parse_duration(text))
    except ValueError:
        pass
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise INVALID(
            f"{text[:40]!r} is no moment.", why="Write 2026-12-31T18:00:00Z, or 8h for from now on."
        ) from error
    return int(found.replace(tzinfo=found.tzinfo or datetime.UTC).timestamp())
