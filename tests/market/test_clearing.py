"""Clearing: the rules, their prices, the reasons, and that bidding the truth is best."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.market.scene import OPERATOR, SECOND, TENANT, Scene, group

from skerry.kernel.errors import SkerryError
from skerry.kernel.money import Rate
from skerry.market.core import messages as m
from skerry.market.core import prices
from skerry.market.core.clearing import Offer, clear
from skerry.market.core.names import OrderId
from skerry.market.core.reputation import FULL
from skerry.market.core.states import OrderState
from skerry.market.core.terms import Rule, Terms, parse_reserve
from skerry.market.sdl.model import Attribute

LIMIT = Rate(1000, 1)
PRICE = st.integers(1, 1200)
REPUTATION = st.integers(1, FULL)
OFFERS = st.lists(st.tuples(PRICE, REPUTATION), min_size=1, max_size=12)


def offers(found: list[tuple[int, int]]) -> list[Offer]:
    return [Offer(f"p{n:02}", Rate(price, 1), rep) for n, (price, rep) in enumerate(found)]


@pytest.mark.parametrize(("reserve", "paid"), [(None, 500), (300, 300), (150, 200), (0, 200)])
def test_a_lone_bidder_is_paid_the_reserve_and_never_less_than_it_asked(
    reserve: int | None, paid: int
) -> None:
    held = None if reserve is None else Rate(reserve, 1)
    outcome = clear(Rule.SECOND_SCORE, [Offer("a", Rate(200, 1), 100)], Rate(500, 1), 1, held)
    assert outcome.price is not None
    assert (outcome.price.micro, outcome.price.per) == (paid, 1)
    two = [Offer("a", Rate(200, 1), 100), Offer("b", Rate(400, 1), 100)]
    tied = clear(Rule.SECOND_SCORE, two, Rate(500, 1), 1, held)
    assert tied.price is not None
    assert abs(tied.price.micro / tied.price.per - 400) < 0.01


@pytest.mark.parametrize("text", ["", "x", "-1", "101%", "1.5"])
def test_what_is_no_reserve(text: str) -> None:
    with pytest.raises(SkerryError):
        parse_reserve(text)
    assert parse_reserve(" 60% ") == 600_000


def test_the_lowest_score_wins_and_second_score_pays_the_tie() -> None:
    bids = [Offer("a", Rate(100, 1), FULL), Offer("b", Rate(90, 1), FULL // 2)]
    first = clear(Rule.FIRST_SCORE, bids, LIMIT, 1)
    assert (first.winner, first.price) == ("a", Rate(100, 1))
    second = clear(Rule.SECOND_SCORE, bids, LIMIT, 1)
    assert second.winner == "a"
    assert second.price is not None
    assert abs(second.price.micro / second.price.per - 180) < 0.01
    assert second.reasons == {"b": "score: it was worse"}


def test_without_a_rival_the_limit_is_paid() -> None:
    assert clear(Rule.SECOND_SCORE, [Offer("a", Rate(1, 1), FULL)], LIMIT, 1).price == LIMIT


def test_reputation_may_count_for_nothing_or_double() -> None:
    bids = [Offer("good", Rate(100, 1), FULL), Offer("cheap", Rate(60, 1), FULL // 2)]
    assert clear(Rule.FIRST_SCORE, bids, LIMIT, 0).winner == "cheap"
    assert clear(Rule.FIRST_SCORE, bids, LIMIT, 1).winner == "good"


def test_the_earlier_wins_a_tie() -> None:
    bids = [Offer("a", Rate(5, 1), FULL), Offer("b", Rate(5, 1), FULL)]
    outcome = clear(Rule.SECOND_SCORE, bids, LIMIT, 1)
    assert (outcome.winner, outcome.price) == ("a", Rate(5, 1))
    assert outcome.reasons == {"b": "score: it tied, and came later"}


def test_manual_leaves_the_choice() -> None:
    outcome = clear(Rule.MANUAL, offers([(5, FULL), (2000, FULL)]), LIMIT, 1)
    assert outcome.winner is None
    assert set(outcome.scores) == {"p00"}
    assert "limit" in outcome.reasons["p01"]


@given(OFFERS, st.sampled_from([Rule.FIRST_SCORE, Rule.SECOND_SCORE]), st.integers(0, 3))
def test_everybody_but_the_winner_has_a_reason(
    found: list[tuple[int, int]], rule: Rule, weight: int
) -> None:
    bids = offers(found)
    outcome = clear(rule, bids, LIMIT, weight)
    names = {bid.provider for bid in bids}
    assert set(outcome.reasons) == names - {outcome.winner}
    if outcome.winner is None:
        assert all(price > 1000 for price, _ in found)
        return
    winner = next(bid for bid in bids if bid.provider == outcome.winner)
    assert outcome.price is not None
    paid = prices.fraction_of(outcome.price)
    assert prices.fraction_of(winner.price) <= paid <= prices.fraction_of(LIMIT)
    assert outcome.scores[outcome.winner] == min(outcome.scores.values())


@given(OFFERS, st.integers(1, 1000), REPUTATION, st.integers(1, 1200))
def test_nobody_gains_by_not_bidding_the_truth(
    others: list[tuple[int, int]], cost: int, reputation: int, lie: int
) -> None:
    assume(lie != cost)

    def gain(asked: int) -> Fraction:
        bids = [*offers(others), Offer("me", Rate(asked, 1), reputation)]
        outcome = clear(Rule.SECOND_SCORE, bids, LIMIT, 1)
        if outcome.winner != "me" or outcome.price is None:
            return Fraction(0)
        return prices.fraction_of(outcome.price) - cost

    # Scores are whole billionths, so a tie may be off by a rounding of the price.
    assert gain(cost) >= gain(lie) - Fraction(1, 100_000)


def crowd(count: int) -> Scene:
    """Return a market of providers that differ in country, sandbox and tier."""
    scene = Scene(providers=0)
    for number in range(count):
        scene.add_provider(
            f"p{number:03}",
            country=("FI", "DE")[number % 2],
            isolation=(("bwrap",), ("wasm",))[number // 2 % 2],
            attributes={"tier": "ab"[number // 4 % 2]},
        )
    return scene


@pytest.mark.parametrize("count", [1, 40, 200])
def test_the_board_gives_every_provider_a_verdict(count: int) -> None:
    scene = crowd(count)
    wanted = group(attributes=(Attribute("tier", "a"),))
    terms = Terms(countries=("FI",), isolation="bwrap", refused=(("p008", "rule x: no"),))
    order = OrderId(*scene.deploy(wanted, terms=terms), 1, 1)
    fitting = [f"p{number:03}" for number in range(0, count, 8) if number != 8]
    for place, name in enumerate(fitting[:3]):
        scene.bid(order, name, 100 + place)
    for name in fitting[3:4]:
        scene.send(name, m.Decline(order, name, ("capacity: 1m free",)))
    scene.send(OPERATOR, m.Clear(order))
    found = {each.provider: each.reason for each in scene.state.orders[order].verdicts}
    winner = "won: paid what ties the next"
    if count < 16:
        winner = "won: paid the limit, as nobody else bid"
    expected = dict.fromkeys(fitting, "no bid came within the window")
    expected |= dict.fromkeys(fitting[1:3], "score: it was worse")
    expected |= dict.fromkeys(fitting[3:4], "capacity: 1m free") | {"p000": winner}
    for number in range(count):
        failing = (
            "policy: its country is not FI"
            if number % 2
            else "policy: rule x: no"
            if number == 8
            else "isolation: it does not offer bwrap"
            if number // 2 % 2
            else "attribute: tier is not a"
            if number // 4 % 2
            else ""
        )
        if failing:
            expected[f"p{number:03}"] = failing
    assert found == expected


def test_posted_prices_need_no_bids() -> None:
    scene = Scene(providers=0)
    scene.add_provider("dear", posted=m.PriceList(20_000, 5000, 50))
    scene.add_provider("cheap", posted=m.PriceList(10_000, 5000, 50))
    scene.add_provider("none")
    order = OrderId(*scene.deploy(group("100"), terms=Terms(clearing=Rule.POSTED)), 1, 1)
    scene.send(OPERATOR, m.Clear(order))
    state = scene.state
    assert state.orders[order].winner == "cheap"
    (lease,) = state.leases.values()
    hourly = 10_000 * 0.5 + 5000 * 0.5 + 50
    assert lease.price.cost(3_600_000) == int(hourly)


def test_an_order_without_bids_stays_open() -> None:
    scene = Scene(providers=1)
    order = OrderId(*scene.deploy(), 1, 1)
    scene.send(OPERATOR, m.Clear(order))
    assert scene.state.orders[order].state is OrderState.OPEN
    scene.bid(order, "p0", 100)
    scene.send(OPERATOR, m.Clear(order), later=SECOND)
    assert scene.state.orders[order].winner == "p0"
    assert (
        scene.refused(TENANT, m.CreateLease(scene.state.orders[order].bids[0])).code == "CONFLICT"
    )


def test_prices_are_converted_once_and_exactly() -> None:
    assert prices.per_block("6000") == Rate(1, 1)
    assert prices.per_block("0.5") == Rate(1, 12_000)
    assert prices.decimal_per_block(prices.per_block("12.5")) == "12.500000000000000000"
    assert prices.dearer(Rate(2, 3), Rate(1, 2))
    for text in ("", "x", "-1", "NaN", "Infinity", "1" * 50):
        with pytest.raises(Exception, match="amount"):
            prices.per_block(text)
