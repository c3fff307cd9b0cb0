"""Jobs on hardware in the ledger: posted as estimated when they are sent, corrected at their end.

Counters only grow, so that what is given back is a unit of its own, whose price is negative. What
is posted is never above the job's ceiling, and is written down with the job before it is counted.
"""

from __future__ import annotations

import msgspec

from skerry.kernel.money import show
from skerry.kinds.quantum import pricing
from skerry.kinds.quantum.contract import Budget, Cost, Job
from skerry.kinds.quantum.providers.interface import Seen
from skerry.kinds.quantum.runner import Bench
from skerry.kinds.quantum.store import Store

UNIT, BACK = "micro_eur", "micro_eur_back"


async def post(desk: Bench, job: Job) -> Job:
    """Bring what the ledger holds of a job to what it costs as far as is known."""
    if job.cost is None:
        return job
    wanted = _euro(desk, job.cost)
    for ceiling in _ceilings(desk, job):
        wanted = min(wanted, ceiling)
    growth = wanted - job.cost.posted
    cost = msgspec.structs.replace(job.cost, posted=wanted, here=job.cost.hardware or 0)
    job = await desk.stored(Store.change, job.id, None, "", cost=cost)
    if growth > 0:
        desk.context.meter.add(UNIT, growth)
    elif growth < 0:
        desk.context.meter.add(BACK, -growth)
    return job


async def settle(desk: Bench, job: Job, shots: int, seen: Seen) -> Job:
    """Correct a job's cost to what was run, or to what the vendor says, and post it."""
    if job.cost is None:
        return job
    planned = job.request.all_shots
    cost = job.cost
    if seen.charge is not None:
        micro = pricing.exchanged(*seen.charge, cost.currency, desk.rates())
        said = f"{job.request.provider} says {show(seen.charge.micro, seen.charge.currency)}."
        cost = _corrected(cost, micro, said)
    elif not shots:
        cost = _corrected(cost, 0, "Nothing was run.")
    elif shots != planned or seen.seconds is not None:
        found = await desk.priced(job.request, shots, seen.seconds)
        if found.hardware is not None and found.hardware != cost.hardware:
            said = f"{shots} of {planned} shots were run."
            if seen.seconds is not None:
                said = f"{seen.seconds:g} s on the machine, {said}"
            cost = _corrected(cost, found.hardware, *found.lines, said)
    if cost == job.cost and cost.here == (cost.hardware or 0):
        return await post(desk, job)
    job = await desk.stored(Store.change, job.id, None, "", cost=cost)
    return await post(desk, job)


def _corrected(cost: Cost, micro: int, *lines: str) -> Cost:
    before = "" if cost.hardware is None else show(cost.hardware, cost.currency)
    told = f"Estimated as {before} before it was sent."
    return msgspec.structs.replace(cost, hardware=micro, lines=(*lines, told))


def _ceilings(desk: Bench, job: Job) -> list[int]:
    """Return the ceilings of a job and of its resource, in micro-euro."""
    config, found = desk.config, []
    if job.request.budget is not None:
        found.append(job.request.budget)
    if config.budget:
        found.append(Budget(config.budget, config.currency))
    return [
        pricing.exchanged(
            each.currency, pricing.micro(pricing.amount(each.amount)), "EUR", desk.rates()
        )
        for each in found
    ]


def _euro(desk: Bench, cost: Cost) -> int:
    return pricing.exchanged(cost.currency, cost.hardware or 0, "EUR", desk.rates())
