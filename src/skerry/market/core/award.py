"""Award an order: screen every provider, score the bids, and say of each how it fared."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from skerry.kernel.money import Rate
from skerry.market.core import prices
from skerry.market.core.board import places
from skerry.market.core.clearing import Offer, Outcome, clear, screen
from skerry.market.core.entities import Order, Verdict
from skerry.market.core.messages import PriceList
from skerry.market.core.needs import need
from skerry.market.core.state import State
from skerry.market.core.states import BidState
from skerry.market.core.terms import Rule
from skerry.market.sdl.model import GroupSpec

GIB = 1 << 30
PRICES_MAX = 1000
PAID_THE_LIMIT = "won: paid the limit, as nobody else bid"


def award(state: State, order: Order, at: int) -> tuple[Outcome, tuple[Verdict, ...]]:
    """Return the outcome of an order's rule now, and a verdict for every provider."""
    terms, board = order.group.terms, state.board
    filters = board.filters(order.group, state.bond)
    left, reasons = screen(board, filters, board.everybody())
    if terms.clearing is Rule.POSTED:
        offers = _posted(state, order, left, at)
    else:
        offers = _bids(state, order, left, at)
    reserve = prices.times(order.limit, Fraction(terms.reserve_ppm, 1_000_000))
    outcome = clear(terms.clearing, offers, order.limit, terms.reputation_weight, reserve)
    reasons |= outcome.reasons
    declined, scores, winner = order.declined, outcome.scores, outcome.winner
    manual = terms.clearing is Rule.MANUAL
    verdicts = []
    for provider in board.providers:
        name = provider.address
        score = scores.get(name)
        if name == winner:
            reason = _how_it_won(terms.clearing, outcome, order.limit, reserve)
        elif name in declined:
            reason = "; ".join(declined[name])
        elif manual and score is not None:
            reason = "open: the tenant chooses"
        else:
            reason = reasons.get(name) or "no bid came within the window"
        verdicts.append(_refused(name, reason) if score is None else Verdict(name, reason, score))
    return outcome, tuple(verdicts)


@lru_cache(maxsize=16_384)
def _refused(name: str, reason: str) -> Verdict:
    """Return the verdict on who was not scored: most orders have the same to say of most."""
    return Verdict(name, reason)


def _how_it_won(rule: Rule, outcome: Outcome, limit: Rate, reserve: Rate) -> str:
    """Return that an offer won, and what its price came from."""
    if rule is not Rule.SECOND_SCORE:
        return "won: paid what it asked"
    if len(outcome.scores) > 1:
        return "won: paid what ties the next"
    if outcome.price == limit:
        return PAID_THE_LIMIT
    paid = "the reserve" if outcome.price == reserve else "what it asked"
    return f"won: paid {paid}, as nobody else bid"


def _bids(state: State, order: Order, left: int, at: int) -> list[Offer]:
    allowed = {state.board.providers[place].address for place in places(left)}
    found = []
    for name in order.bids:
        bid = state.bids[name]
        if bid.state is BidState.OPEN and name.provider in allowed:
            reputation = state.providers[name.provider].record.score(at)
            found.append(Offer(name.provider, bid.price, reputation))
    return found


def _posted(state: State, order: Order, left: int, at: int) -> list[Offer]:
    found = []
    spec = order.group.spec
    wanted = need(spec)
    known = _prices(spec)
    for place in places(left):
        provider = state.board.providers[place]
        if provider.posted is not None and wanted.fits(provider.capacity):
            price = known.get(provider.posted)
            if price is None:
                if len(known) >= PRICES_MAX:
                    known.clear()
                price = known[provider.posted] = posted_price(provider.posted, spec)
            found.append(Offer(provider.address, price, provider.record.score(at)))
    return found


@lru_cache(maxsize=256)
def _prices(_spec: GroupSpec) -> dict[PriceList, Rate]:
    """Return where the prices of a group are kept: many orders ask for the same."""
    return {}


def posted_price(posted: PriceList, spec: GroupSpec) -> Rate:
    """Return what a group costs at standing prices."""
    hourly = Fraction(0)
    for unit in spec.resources:
        resources = unit.resources
        one = Fraction(resources.cpu_milli * posted.cpu, 1000)
        one += Fraction(resources.memory_bytes * posted.memory_gib, GIB)
        storage = sum(volume.size_bytes for volume in resources.storage)
        one += Fraction(storage * posted.storage_gib, GIB)
        one += resources.gpu_units * posted.gpu
        hourly += one * unit.count
    return prices.rate(hourly / prices.HOUR_MILLISECONDS)
