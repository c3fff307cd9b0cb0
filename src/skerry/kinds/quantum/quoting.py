"""Quotes: what a program would be on every device that policy allows, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kernel.money import show
from skerry.kinds.quantum import pricing, timing, twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.checks import FORMATS
from skerry.kinds.quantum.contract import JobRequest
from skerry.kinds.quantum.desk import Desk, Plan, use
from skerry.kinds.quantum.messages import Quote
from skerry.kinds.quantum.results import nature

Progress = Callable[[int, int, str], None]


async def quotes(
    desk: Desk, request: JobRequest, names: tuple[str, ...], currency: str, progress: Progress
) -> list[Quote]:
    """Return a quote for each device, the best expected fidelity first.

    Devices are those that take programs of its sort: gates, analog ones, or linear optics. Those
    that are above the budget, or whose price is not known, do not fit. Raises what is wrong with a
    circuit itself.
    """
    written = request.programs[0].format
    paradigm = next((name for name, known in FORMATS.items() if written in known), "gate")
    if paradigm == "gate":
        await desk.parse(request.programs[0])
    chosen = [load.find(name) for name in names] or [
        each for each in load.devices().values() if each.paradigm == paradigm
    ]
    allowed = [
        each
        for each in chosen
        if load.is_in(each.country, desk.config.countries)
        and load.is_in(each.country, request.where)
    ]
    found = []
    for number, device in enumerate(allowed):
        progress(number, len(allowed), f"compiling for {device.name}")
        found.append(await _quote(desk, device, request, currency))
    if request.budget is not None:
        ceiling = pricing.micro(pricing.amount(request.budget.amount))
        found = [_within(each, ceiling) for each in found]
    return sorted(found, key=lambda each: (not each.fits, -(each.fidelity or 0.0), each.device))


def _within(quote: Quote, ceiling: int) -> Quote:
    """Return a quote that fits only where the job is known to cost no more than a ceiling."""
    if not quote.fits or quote.cost is None:
        return quote
    cost = quote.cost.hardware
    if cost is None:
        why = "What it costs is not known, so that the budget cannot be kept."
    elif cost > ceiling:
        why = f"It costs {show(cost, quote.cost.currency)}, which is above the budget."
    else:
        return quote
    return msgspec.structs.replace(quote, fits=False, why=why)


async def _quote(desk: Desk, device: Device, request: JobRequest, currency: str) -> Quote:
    asked = msgspec.structs.replace(request, device=device.id, budget=None)
    shape: dict[str, Any] = {
        "device": device.id,
        "country": device.country,
        "status": device.status.value,
        "waiting": desk.runner.waiting,
        "nature": nature(device, asked),
        "as_of": device.as_of,
    }
    if not twins.is_runnable(device):
        why = device.note or "It has no twin here: too little is published."
        return Quote(fits=False, why=why, **shape)
    try:
        plan = await desk.plan(asked)
    except SkerryError as error:
        return Quote(fits=False, why=f"{error.what} {error.why}".strip(), **shape)
    return Quote(
        fits=True,
        qubits=plan.qubits,
        two_qubit_gates=plan.two_qubit_gates,
        fidelity=None if twins.is_limited(device) else plan.fidelity,
        cost=desk.cost(device, [use(asked, plan)], currency),
        seconds=_seconds(desk, device, plan, request.shots),
        **shape,
    )


def _seconds(desk: Desk, device: Device, plan: Plan, shots: int) -> float | None:
    """Return the time on the machine: depth times its gate time, and reading, for every shot.

    Where the vendor says how many shots a second it takes, that is used. None without figures.
    """
    _, calibration, _ = desk.device(device.id)
    each = timing.shot_seconds(device, calibration, plan.depth)
    return None if each is None else shots * each
