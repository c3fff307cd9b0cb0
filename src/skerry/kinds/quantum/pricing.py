"""What a job costs on the machine, at dated price lists, before it is sent and years after.

Amounts are micro-units of a currency, computed in decimals and rounded up, so that a ceiling holds.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from skerry.kernel.errors import DENIED, INVALID
from skerry.kernel.money import MICRO, show
from skerry.kinds.quantum.catalogue.model import Device, Price
from skerry.kinds.quantum.contract import Budget, Cost, CostItem

CURRENCIES = ("EUR", "USD")
_HQC_BASE, _HQC_DIVISOR = 5, 5000
HQC = "HQC"
"""The dimension of Quantinuum's credits, which have no price in money for a job."""


class Use(NamedTuple):
    """What prices are asked for: programs as they run, and how often."""

    tasks: int
    shots: int
    one_qubit_gates: int
    two_qubit_gates: int
    measurements: int
    seconds: float = 0.0


class Rates(msgspec.Struct, frozen=True):
    """What a euro is worth in dollars, as a decimal number, and since when that is assumed."""

    usd_per_eur: str
    as_of: str


def amount(text: str) -> Decimal:
    """Return a decimal number of 0 or more; raise INVALID."""
    try:
        found = Decimal(text)
    except InvalidOperation as error:
        raise INVALID(f"{text[:40]!r} is not an amount of money.") from error
    if not found.is_finite() or found < 0 or found > 10**9:
        raise INVALID(f"{text[:40]!r} is not an amount of money.")
    return found


class Way(NamedTuple):
    """By whom a job would go: the provider, its channel in price lists, and what was agreed."""

    provider: str = ""
    channel: str = ""
    agreed: Price | None = None
    as_of: str = ""


ANY = Way()


def cost(device: Device, use: Use, currency: str, rates: Rates, way: Way = ANY) -> Cost:
    """Return the cost on the cheapest channel that has a price; `hardware` is None without one.

    A `way` has its own price; where the catalogue knows none, the dearest channel stands for it.
    """
    if currency not in CURRENCIES:
        raise INVALID(f"Prices are in {' or '.join(CURRENCIES)}, not {currency[:10]}.")
    if device.status == "local":
        return Cost(currency, 0, lines=("A simulator of this node.",))
    if way.agreed is not None:
        return _agreed(way, way.agreed, use, currency, rates)
    own = [each for each in device.prices if each.channel == way.channel]
    offers = [_offer(device, price, use, currency, rates) for price in own or device.prices]
    priced = [each for each in offers if each.hardware is not None]
    if priced and way.provider and not own:
        found = max(priced, key=lambda each: each.hardware or 0)
        said = f"What {way.provider} itself asks is not known; this is the dearest price known."
        return msgspec.structs.replace(found, lines=(*found.lines, said))
    if priced:
        return min(priced, key=lambda each: each.hardware or 0)
    if offers:
        return offers[0]
    return Cost(currency, None, lines=("No price of it is published in what was read.",))


def _agreed(way: Way, price: Price, use: Use, currency: str, rates: Rates) -> Cost:
    """Return the cost by the resource's own contract, which may be free."""
    items, lines = _items(price, use)
    if Decimal(price.per_second) and not use.seconds:
        return Cost(currency, None, lines=("How long it takes on the machine is not known.",))
    items = _converted(items, price, currency, rates, lines)
    return Cost(
        currency,
        micro(_total(items)),
        lines=tuple(lines) or ("It is free by the contract.",),
        channel=way.provider,
        prices="the resource's own contract (skerry.toml)",
        as_of=way.as_of,
        items=_told(items),
    )


def exchanged(currency: str, amount_micro: int, wanted: str, rates: Rates) -> int:
    """Return micro-units of a currency in another one, rounded up."""
    if currency == wanted:
        return amount_micro
    found = _in(wanted, Decimal(amount_micro), rates)
    return int(found.to_integral_value(ROUND_CEILING))


def _in(currency: str, amount: Decimal, rates: Rates) -> Decimal:
    """Return an amount of the other currency in this one."""
    rate = Decimal(rates.usd_per_eur)
    return amount / rate if currency == "EUR" else amount * rate


_Item = tuple[str, Decimal, Decimal]
"""A dimension, how much of it, and what one costs."""


def _converted(
    items: list[_Item], price: Price, currency: str, rates: Rates, lines: list[str]
) -> list[_Item]:
    """Return items in the currency that is wanted, and say in `lines` at which rate."""
    if currency == price.currency:
        return items
    lines.append(f"1 EUR = {rates.usd_per_eur} USD (set on this node, {rates.as_of})")
    return [(what, count, _in(currency, each, rates)) for what, count, each in items]


def _total(items: list[_Item]) -> Decimal:
    return sum((count * each for _, count, each in items), Decimal(0))


def _told(items: list[_Item]) -> tuple[CostItem, ...]:
    return tuple(CostItem(what, str(count), str(each)) for what, count, each in items)


def _offer(device: Device, price: Price, use: Use, currency: str, rates: Rates) -> Cost:
    source = device.sources[price.source]
    if price.hqc:
        credits_used = hqc(use)
        return Cost(
            currency,
            None,
            lines=(
                f"{credits_used} HQC = 5 + shots x (N1 + 10 N2 + 5 Nm) / 5000 for each task",
                price.note,
            ),
            channel=price.channel,
            prices=source.title,
            as_of=source.as_of,
            items=(CostItem(HQC, str(credits_used), "0"),),
        )
    items, lines = _items(price, use)
    if _total(items) == 0:
        text = (f"It is paid by time: {price.per_hour} {price.currency} an hour.", price.note)
        return Cost(currency, None, lines=text, channel=price.channel, as_of=source.as_of)
    if source.recalled:
        lines.append("The price is recalled, not read.")
    if price.note:
        lines.append(price.note)
    items = _converted(items, price, currency, rates, lines)
    return Cost(
        currency,
        micro(_total(items)),
        lines=tuple(lines),
        channel=price.channel,
        prices=source.title,
        as_of=source.as_of,
        items=_told(items),
    )


def _items(price: Price, use: Use) -> tuple[list[_Item], list[str]]:
    """Return what is paid for, and the same in words; below a minimum, that alone is paid."""
    parts = (
        (price.per_task, use.tasks, "task"),
        (price.per_shot, use.shots, "shot"),
        (price.per_second, Decimal(str(round(use.seconds, 6))), "second"),
        (price.per_one_qubit_gate, use.one_qubit_gates * use.shots, "one-qubit gate and shot"),
        (price.per_two_qubit_gate, use.two_qubit_gates * use.shots, "two-qubit gate and shot"),
    )
    items: list[_Item] = []
    lines = []
    for each, count, what in parts:
        if Decimal(each) and count:
            items.append((what, Decimal(count), Decimal(each)))
            lines.append(f"{count} x {each} {price.currency} a {what}")
    if Decimal(price.minimum) * use.tasks > _total(items):
        lines.append(f"at least {price.minimum} {price.currency} a task")
        items = [("task at the minimum", Decimal(use.tasks), Decimal(price.minimum))]
    return items, lines


def unpriced(parts: list[Cost]) -> Cost:
    """Return what executions cost of which the price of one is not known; credits are summed up."""
    first = next(each for each in parts if each.hardware is None)
    amounts = [Decimal(item.amount) for each in parts for item in each.items]
    if not any(item.dimension == HQC for item in first.items):
        return first
    return msgspec.structs.replace(first, items=(CostItem(HQC, str(sum(amounts)), "0"),))


def hqc(use: Use) -> Decimal:
    """Return Quantinuum's credits of a job: 5 + C (N1 + 10 N2 + 5 Nm) / 5000 for each task."""
    weighted = use.one_qubit_gates + 10 * use.two_qubit_gates + 5 * use.measurements
    each = Decimal(use.shots) * weighted / _HQC_DIVISOR
    return (_HQC_BASE * use.tasks + each).quantize(Decimal("0.001"))


def micro(value: Decimal) -> int:
    """Return micro-units, rounded up."""
    return int((value * MICRO).to_integral_value(ROUND_CEILING))


def enforce(found: Cost, budget: Budget | None, device: Device) -> None:
    """Raise DENIED if a job costs more than its budget, or if nobody knows what it costs."""
    if budget is None:
        return
    ceiling = micro(amount(budget.amount))
    if found.hardware is None:
        raise DENIED(
            f"What the job costs on {device.name} is not known, so the budget cannot be kept.",
            why="; ".join(found.lines),
            hint="skerry quantum estimate",
        )
    if found.hardware > ceiling:
        raise DENIED(
            f"The job costs {show(found.hardware, found.currency)} on {device.name}, "
            f"and the budget is {show(ceiling, budget.currency)}.",
            why="; ".join(found.lines),
            hint="skerry quantum estimate",
        )
