"""Which rows of a listing are wanted, and in which order: the part of OData that clients write.

startswith(Name, 'x') and (State eq 'Succeeded' or State eq 'Failed') and CreationTime ge 2026-01-31
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.wires.frame import Call

TEXT_MAX = 4000
TERMS_MAX = 200
TOP_MAX = 1000
TOP = 100
_TOKEN = re.compile(
    r"\s*(?:(?P<mark>[(),])|'(?P<text>(?:[^']|'')*)'|(?P<word>[A-Za-z0-9_.:+-]+))\s*"
)
_FIELDS = {
    "name": "name",
    "itemtype": "itemType",
    "jobtype": "jobType",
    "providerid": "providerId",
    "target": "target",
    "state": "status",
    "status": "status",
    "creationtime": "creationTime",
}
_SIGNS: dict[str, Callable[[str, str], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}

Row = dict[str, Any]
Test = Callable[[Row], bool]


class Item(NamedTuple):
    """A row: the fields that it is found and ordered by, and how all of it is told."""

    fields: Row
    told: Callable[[], Row]


class _Token(NamedTuple):
    kind: str
    text: str


class _Reader:
    """Reads a filter; its methods raise INVALID where it is none."""

    def __init__(self, text: str) -> None:
        if len(text) > TEXT_MAX:
            raise INVALID(f"A filter has at most {TEXT_MAX} characters.")
        self._tokens: list[_Token] = []
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None or found.end() == place:
                raise INVALID(f"The filter is not understood at {text[place : place + 20]!r}.")
            kind = found.lastgroup or ""
            self._tokens.append(_Token(kind, found[kind].replace("''", "'")))
            place = found.end()
        if len(self._tokens) > TERMS_MAX * 4:
            raise INVALID(f"A filter has at most {TERMS_MAX} terms.")
        self._at = 0

    def read(self) -> Test:
        """Return what the whole filter asks of a row."""
        found = self._any_of(nested=False)
        if self._at < len(self._tokens):
            raise INVALID(f"The filter is not understood at {self._tokens[self._at].text[:20]!r}.")
        return found

    def _any_of(self, *, nested: bool) -> Test:
        tests = [self._all_of(nested=nested)]
        while self._word("or"):
            tests.append(self._all_of(nested=nested))
        return lambda row: any(test(row) for test in tests)

    def _all_of(self, *, nested: bool) -> Test:
        tests = [self._one(nested=nested)]
        while self._word("and"):
            tests.append(self._one(nested=nested))
        return lambda row: all(test(row) for test in tests)

    def _one(self, *, nested: bool) -> Test:
        if self._mark("("):
            if nested:
                raise INVALID("A filter has parentheses of one depth.")
            found = self._any_of(nested=True)
            self._expect(")")
            return found
        name = self._next("word")
        if name.lower() == "startswith":
            self._expect("(")
            field = _field(self._next("word"))
            self._expect(",")
            start = self._next("text")
            self._expect(")")
            return lambda row: str(row.get(field) or "").startswith(start)
        field = _field(name)
        sign = _SIGNS.get(self._next("word").lower())
        if sign is None:
            raise INVALID(f"A filter compares by {', '.join(_SIGNS)}.")
        wanted = self._next("text", "word")
        return lambda row: sign(*_comparable(field, str(row.get(field) or ""), wanted))

    def _next(self, *kinds: str) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at].kind not in kinds:
            raise INVALID("The filter ends too early, or misses a value.")
        self._at += 1
        return self._tokens[self._at - 1].text

    def _word(self, word: str) -> bool:
        return self._take("word", word)

    def _mark(self, mark: str) -> bool:
        return self._take("mark", mark)

    def _take(self, kind: str, text: str) -> bool:
        here = self._tokens[self._at] if self._at < len(self._tokens) else _Token("", "")
        if here.kind != kind or here.text.lower() != text:
            return False
        self._at += 1
        return True

    def _expect(self, mark: str) -> None:
        if not self._mark(mark):
            raise INVALID(f"The filter misses {mark!r}.")


def _field(name: str) -> str:
    if name.lower() not in _FIELDS:
        raise INVALID(f"Rows are not filtered by {name[:40]}.", why=f"By {', '.join(_FIELDS)}.")
    return _FIELDS[name.lower()]


def _comparable(field: str, found: str, wanted: str) -> tuple[str, str]:
    """Return two texts that compare as what they mean; a day is that of the moment."""
    if field == "creationTime":
        return found[: len(wanted)], wanted
    return found.lower(), wanted.lower()


def page(call: Call, items: list[Item]) -> dict[str, Any]:
    """Return the rows that a request asks for, and where more are."""
    query = call.query
    text = query.get("filter") or query.get("$filter", "")
    if text:
        test = _Reader(text).read()
        items = [each for each in items if test(each.fields)]
    order = (query.get("orderby") or query.get("$orderby", "")).split()
    if order:
        field = _field(order[0])
        is_last_first = order[1:] == ["desc"]
        items = sorted(
            items, key=lambda each: str(each.fields.get(field) or ""), reverse=is_last_first
        )
    skip = _number(query.get("skip") or query.get("$skip"), 0)
    top = min(_number(query.get("top") or query.get("$top"), TOP), TOP_MAX)
    found: dict[str, Any] = {"value": [each.told() for each in items[skip : skip + top]]}
    if len(items) > skip + top:
        more = {name: value for name, value in query.items() if name.lstrip("$") != "skip"}
        url = f"{call.base}{call.raw_path}?{urlencode({**more, 'skip': skip + top})}"
        found["nextLink"] = url
    return found


def _number(text: str | None, usual: int) -> int:
    if not text:
        return usual
    if not text.isdecimal() or len(text) > 9:
        raise INVALID(f"{text[:20]!r} is no count.")
    return int(text)
