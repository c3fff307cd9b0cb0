"""Quotes: what a program would be on every device that policy allows, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kinds.quantum import pricing, timing, twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import JobRequest
from skerry.kinds.quantum.desk import Desk, Plan, use
from skerry.kinds.quantum.messages import Quote
from skerry.kinds.quantum.results import nature

Progress = Callable[[int, int, str], None]


async def quotes(
    desk: Desk, request: JobRequest, names: tuple[str, ...], currency: str, progress: Progress
) -> list[Quote]:
    """Return a quote for each device, the best expected fidelity first.

    Only devices of gates are quoted. Raises what is wrong with the program itself.
    """
    await desk.parse(request.programs[0])
    chosen = [load.find(name) for name in names] or [
        each for each in load.devices().values() if each.paradigm == "gate"
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
        found = [each for each in found if _within(each, ceiling)]
    return sorted(found, key=lambda each: (not each.fits, -(each.fidelity or 0.0), each.device))


def _within(quote: Quote, ceiling: int) -> bool:
    """Tell whether a job is known to cost no more than a ceiling."""
    known = quote.cost is not None and quote.cost.hardware is not None
    return known and quote.cost is not None and (quote.cost.hardware or 0) <= ceiling


async def _quote(desk: Desk, device: Device, request: JobRequest, currency: str) -> Quote:
    asked = msgspec.structs.replace(request, device=device.id, budget=None)
    shape: dict[str, Any] = {
        "device": device.id,
        "country": device.country,
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
        fidelity=plan.fidelity,
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
