"""Searches of Braket's API: conditions on what is told of tasks and jobs, and the newest first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from skerry.kernel.errors import INVALID

PAGE_MAX = 100
ORDERED = ("LT", "LTE", "EQUAL", "GT", "GTE", "BETWEEN")


class Filter(msgspec.Struct, frozen=True):
    """One condition of a search."""

    name: str
    values: list[str]
    operator: str = "EQUAL"


class Asked(Protocol):
    """The body of a search."""

    @property
    def filters(self) -> list[Filter]:
        """All of them must hold."""
        ...

    @property
    def max_results(self) -> int:
        """How many rows are wanted, at most `PAGE_MAX`."""
        ...

    @property
    def next_token(self) -> str:
        """After which the search goes on, or nothing."""
        ...


class _Kept(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Kept)


def check(
    filters: Sequence[Filter], what: str, fields: Collection[str], operators: Sequence[str]
) -> None:
    """Raise INVALID unless every condition is on a known field, by a known operator."""
    for each in filters:
        if each.name not in fields:
            raise INVALID(f"{what} cannot be searched by {each.name[:60]}.")
        if each.operator not in operators or not each.values:
            raise INVALID(f"A filter has values and one of {', '.join(operators)}.")


async def newest(
    asked: Asked,
    page: Callable[[int, str], Awaitable[Sequence[T]]],
    row: Callable[[T], dict[str, Any] | None],
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the rows that are wanted, the newest first, and the token that goes on, if any does.

    `page` returns so many that are older than one; `row` what is told of one, None of a stranger's.
    """
    found: list[dict[str, Any]] = []
    before, more = asked.next_token, True
    while more and len(found) < asked.max_results:
        kept = await page(PAGE_MAX, before)
        more = len(kept) == PAGE_MAX
        for each in kept:
            before = each.id
            told = row(each)
            if told is not None and all(holds(one, told) for one in asked.filters):
                found.append(told)
            if len(found) == asked.max_results:
                more = True
                break
    return found, {"nextToken": before} if more else {}


def holds(each: Filter, row: dict[str, Any]) -> bool:
    """Tell whether a row meets a condition; times compare as the texts that they are."""
    value, first, last = str(row.get(each.name, "")), each.values[0], each.values[-1]
    return {
        "CONTAINS": first in value,
        "EQUAL": value in each.values,
        "LT": value < first,
        "LTE": value <= first,
        "GT": value > first,
        "GTE": value >= first,
        "BETWEEN": first <= value <= last,
    }[each.operator]
