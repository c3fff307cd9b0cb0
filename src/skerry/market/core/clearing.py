"""Clearing: which bid gets an order, at what price, and why every other did not.

A score is the price divided by the reputation to the order's power; lower is better. Scores are
integers (billionths, rounded down), so that they compare the same everywhere; the earlier bid wins
a tie. `first-score` pays what the winner asked. `second-score` pays the price at which the winner's
score would tie the runner-up's, so that nobody gains by asking more than the work costs them (Che,
1993). With no runner-up that is the order's reserve: a share of its limit, by default all of it,
but never less than was asked. `manual` leaves the choice to the tenant,
as Akash does. `posted` takes the best of the standing prices, which is also what is paid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from skerry.kernel.money import Rate
from skerry.market.core import prices
from skerry.market.core.board import Board, Filter, places
from skerry.market.core.reputation import FULL
from skerry.market.core.terms import Rule

SCALE = 1_000_000_000


class Offer(NamedTuple):
    """A bid as the rules see it: who, what it asks, and its reputation."""

    provider: str
    price: Rate
    reputation: int


class Outcome(NamedTuple):
    """Who won and what it is paid; nobody if no bid is left."""

    winner: str | None
    price: Rate | None
    scores: dict[str, int]
    reasons: dict[str, str]


def score(price: Rate, reputation: int, weight: int) -> int:
    """Return an offer's score."""
    best: int = FULL**weight
    own: int = reputation**weight
    return price.micro * SCALE * best // (price.per * own)


def clear(
    rule: Rule, offers: Sequence[Offer], limit: Rate, weight: int, reserve: Rate | None = None
) -> Outcome:
    """Apply a rule to the offers, which are in the order in which they came.

    `reserve` is what a lone bidder is paid by the second score, the limit if it is not told.
    """
    scale = SCALE * FULL**weight
    powers: dict[int, int] = {}
    ranked: list[tuple[int, int]] = []
    reasons: dict[str, str] = {}
    for index, (provider, price, reputation) in enumerate(offers):
        if price.micro * limit.per > limit.micro * price.per:
            reasons[provider] = "price: it asked more than the order's limit"
            continue
        power = powers.get(reputation)
        if power is None:
            power = powers[reputation] = reputation**weight
        ranked.append((price.micro * scale // (price.per * power), index))
    scores = {offers[index].provider: value for value, index in ranked}
    if rule is Rule.MANUAL:
        return Outcome(None, None, scores, reasons)
    if not ranked:
        return Outcome(None, None, scores, reasons)
    best = min(ranked)
    winner = offers[best[1]]
    price = winner.price
    if rule is Rule.SECOND_SCORE:
        price = _second_price(ranked, best, winner, (limit, reserve or limit), weight)
    for value, index in ranked:
        if index != best[1]:
            tie = "score: it tied, and came later" if value == best[0] else "score: it was worse"
            reasons[offers[index].provider] = tie
    return Outcome(winner.provider, price, scores, reasons)


def _second_price(
    ranked: list[tuple[int, int]],
    best: tuple[int, int],
    winner: Offer,
    bounds: tuple[Rate, Rate],
    weight: int,
) -> Rate:
    """Return the price at which the winner would tie the runner-up: at most the limit.

    `bounds` are the limit, and the reserve for one without a runner-up.
    """
    limit, reserve = bounds
    second = min((each for each in ranked if each[1] != best[1]), default=None)
    lowest = prices.fraction_of(winner.price)
    if second is None:
        tie = prices.fraction_of(reserve)
    else:
        tie = Fraction(second[0] * winner.reputation**weight, SCALE * FULL**weight)
    return prices.rate(min(prices.fraction_of(limit), max(lowest, tie)))


def screen(board: Board, filters: Sequence[Filter], present: int) -> tuple[int, dict[str, str]]:
    """Return the bits of those who pass every filter, and the first reason of each other."""
    left = present
    reasons: dict[str, str] = {}
    for reason, passing in filters:
        failing = left & ~passing
        if failing:
            for place in places(failing):
                reasons[board.providers[place].address] = reason
            left &= passing
    return left, reasons


def all_obstacles(
    board: Board, filters: Sequence[Filter], also: Callable[[str], list[str]]
) -> dict[str, list[str]]:
    """Return for every provider all that stands between it and an order, for a dry run."""
    found: dict[str, list[str]] = {}
    for place, provider in enumerate(board.providers):
        reasons = [reason for reason, passing in filters if not passing >> place & 1]
        found[provider.address] = reasons + also(provider.address)
    return found
