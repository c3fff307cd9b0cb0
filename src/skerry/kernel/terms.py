"""The `[policy]` table of an app: where the app may be, in plain terms, or in Cedar.

    [policy]
    jurisdiction = ["EU", "EEA"]    # a place must lie in one of these
    exclude_reach = ["US"]          # and nobody who controls it may be within reach of these laws
    owners = ["Example AB"]         # and it must belong to one of these
    evidence_min = "documented"     # and the facts that say so must be supported at least this well
    residency_min = "R1"            # and its residency graded at least so
    outside = "encrypted-only"      # what fails may still receive what is encrypted on this side
    cedar = '''forbid (…);'''       # rules of your own, which join these; or cedar_file = "…"

Without a `[policy]` an app may be on the node where it was deployed, and nowhere else.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kernel.names import did_you_mean
from skerry.kernel.policy import Evidence
from skerry.kernel.territory import COUNTRIES, is_territory, meant

LIST_MAX = 100
CEDAR_LENGTH_MAX = 64 * 1024

Fail = Callable[[str, str, str, str], SkerryError]
"""Makes the error about a key: the key, what was expected, why, and what was found."""


class Outside(enum.StrEnum):
    """What may go to a place that fails the terms."""

    REFUSED = "refused"
    ENCRYPTED_ONLY = "encrypted-only"


class Residency(enum.StrEnum):
    """How well it is shown that a place is where it says: see the concept page on evidence."""

    R0 = "R0"
    R1 = "R1"
    R2 = "R2"
    R3 = "R3"
    R4 = "R4"

    @property
    def rank(self) -> int:
        """Return 0 to 4."""
        return list(Residency).index(self)


class PolicySpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """The terms of an app; empty ones ask for nothing. See the module's docstring."""

    jurisdiction: tuple[str, ...] = ()
    exclude_reach: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    evidence_min: Evidence | None = None
    residency_min: Residency | None = None
    outside: Outside = Outside.REFUSED
    cedar: str = ""
    cedar_file: str = ""

    @property
    def stated(self) -> bool:
        """Tell whether the app has a policy at all."""
        return self != PolicySpec()

    @property
    def has_terms(self) -> bool:
        """Tell whether any plain term is stated."""
        return msgspec.structs.replace(self, cedar="", cedar_file="").stated


KEYS = tuple(field.name for field in msgspec.structs.fields(PolicySpec))


def read_policy(table: dict[str, Any], fail: Fail) -> PolicySpec:
    """Read the table; raise the error that `fail` makes for the first mistake."""
    for key in table:
        if key not in KEYS:
            raise fail(key, "a term of a policy", did_you_mean(key, KEYS), "")
    reader = _Reader(table, fail)
    spec = PolicySpec(
        jurisdiction=reader.territories("jurisdiction"),
        exclude_reach=reader.countries("exclude_reach"),
        owners=reader.texts("owners"),
        evidence_min=reader.choice("evidence_min", Evidence),
        residency_min=reader.choice("residency_min", Residency),
        outside=reader.choice("outside", Outside) or Outside.REFUSED,
        cedar=reader.text("cedar"),
        cedar_file=reader.text("cedar_file"),
    )
    if spec.cedar and spec.cedar_file:
        raise fail("cedar_file", "Cedar in one place", "cedar has some already.", "")
    return spec


class _Reader:
    """Reads the values of a table's keys."""

    def __init__(self, table: dict[str, Any], fail: Fail) -> None:
        self._table = table
        self._fail = fail

    def text(self, key: str) -> str:
        value = self._table.get(key, "")
        if not isinstance(value, str):
            raise self._fail(key, "a string", "", repr(value))
        if key in self._table and not value.strip():
            raise self._fail(key, "a string that says something", "", repr(value))
        if len(value) > CEDAR_LENGTH_MAX:
            raise self._fail(key, f"at most {CEDAR_LENGTH_MAX} characters", "", "")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        if key not in self._table:
            return ()
        value = self._table[key]
        if not isinstance(value, list) or not all(isinstance(x, str) and x for x in value):
            raise self._fail(key, "a list of strings", "", repr(value))
        if not value:
            raise self._fail(
                key,
                "at least one entry",
                "An empty list would allow nothing; leave the key out to ask for nothing.",
                "[]",
            )
        if len(value) > LIST_MAX:
            raise self._fail(key, f"at most {LIST_MAX} entries", "", str(len(value)))
        return tuple(dict.fromkeys(value))

    def territories(self, key: str) -> tuple[str, ...]:
        expected = "country codes (SE) and groups (EU)"
        return self._known(key, expected, is_territory)

    def countries(self, key: str) -> tuple[str, ...]:
        return self._known(key, "country codes (US)", COUNTRIES.__contains__)

    def _known(self, key: str, expected: str, known: Callable[[str], bool]) -> tuple[str, ...]:
        values = self.texts(key)
        for value in values:
            if not known(value):
                raise self._fail(key, expected, meant(value), repr(value))
        return values

    def choice(self, key: str, options: type[enum.StrEnum]) -> Any:
        value = self._table.get(key)
        if value is None:
            return None
        names: Iterable[str] = [str(each) for each in options]
        if value not in names:
            raise self._fail(
                key, f"one of {', '.join(names)}", did_you_mean(str(value), names), repr(value)
            )
        return options(value)
