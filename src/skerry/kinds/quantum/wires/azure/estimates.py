"""Jobs of `microsoft.estimator`: done when they are sent, and kept as papers, for nothing runs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, SkerryError
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.wires.azure import blobs, jobs, names, programs
from skerry.kinds.quantum.wires.azure.blobs import Blob
from skerry.kinds.quantum.wires.azure.filters import Item
from skerry.kinds.quantum.wires.frame import Call, Reply

FORMAT = "microsoft.resource-estimates.v1"
KEPT_MAX = 1000
"""How many estimates are kept; the oldest go beyond that, and are made again by another job."""

ITEMS_MAX = 100
_SORT = "estimate"
_PARAMETERS = (
    "errorBudget",
    "qubitParams",
    "qecScheme",
    "distillationUnitSpecifications",
    "constraints",
    "estimateType",
)


class Estimate(msgspec.Struct, frozen=True):
    """An estimate as it is kept."""

    id: str
    name: str
    created: int
    ended: int
    native: dict[str, Any]
    outcome: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Estimate)


async def create(call: Call, job_id: str, asked: jobs.Asked) -> Reply:
    """Estimate what a program needs; raise what is wrong with it, and keep nothing then."""
    jobs.same_priority(asked.priority)
    wanted = names.identity(job_id)
    if asked.input_data_format != "qir.v1":
        raise INVALID("The estimator takes programs in qir.v1.")
    if asked.output_data_format not in (None, FORMAT):
        raise INVALID(f"Estimates are written as {FORMAT}.")
    if await jobs.has(call, wanted):
        raise INVALID(f"There is a job {wanted} already.")
    begun = call.desk.context.clock.now()
    blob, place = await jobs.input_of(call, asked)
    source = programs.text(await programs.source(call, blob))
    found = [await call.desk.estimate(source, each) for each in _items(asked.input_params or {})]
    made = Estimate(
        wanted,
        names.shown(asked.name),
        begun,
        call.desk.context.clock.now(),
        jobs.native_of(asked, place, FORMAT),
        msgspec.json.encode(found[0] if len(found) == 1 else found),
    )
    body = await asyncio.to_thread(_encoder.encode, made)
    await call.desk.stored(Store.keep_paper, names.WIRE, _SORT, wanted, body, KEPT_MAX)
    return Reply(told(call, made), 201)


def _items(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of every estimate that is asked for: those of items, or of the job."""
    items = params.get("items") or [{}]
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise INVALID("The items are a list of objects.")
    if len(items) > ITEMS_MAX:
        raise INVALID(f"A job has at most {ITEMS_MAX} items.")
    merged = [{**params, **each} for each in items]
    return [{name: each[name] for name in _PARAMETERS if name in each} for each in merged]


async def find(call: Call, job_id: str) -> Estimate | None:
    """Return an estimate, or None if the id is none of one."""
    try:
        body = await call.desk.stored(Store.paper, names.WIRE, _SORT, job_id.lower())
    except SkerryError as error:
        if error.problem is not NOT_FOUND:
            raise
        return None
    return _decoder.decode(body)


async def every(call: Call) -> list[Estimate]:
    """Return all estimates that are kept."""
    found = await call.desk.stored(Store.papers, names.WIRE, _SORT)
    return [_decoder.decode(body) for body in found]


async def output(call: Call, job_id: str) -> Blob | None:
    """Return the blob of an estimate, or None if the id is none of one."""
    found = await find(call, job_id)
    return None if found is None else blobs.unbounded(names.OUTPUT, found.outcome, found.ended)


async def delete(call: Call, job_id: str) -> Reply:
    """Drop an estimate with its blobs."""
    await call.desk.stored(Store.drop_paper, names.WIRE, _SORT, job_id.lower())
    await call.desk.stored(blobs.remove, names.container_of(job_id.lower()))
    return Reply(status=204)


def item(call: Call, found: Estimate) -> Item:
    """Return an estimate for a listing."""
    native = found.native
    fields = {
        "name": found.name,
        "itemType": "Job",
        "jobType": "QuantumComputing",
        "providerId": native["provider"],
        "target": native["target"],
        "status": "Succeeded",
        "creationTime": names.moment(found.created),
    }
    return Item(fields, partial(told, call, found))


def told(call: Call, found: Estimate) -> dict[str, Any]:
    """Return an estimate as a job in Azure's shape."""
    nature = "an estimate by Microsoft's qdk; nothing was run"
    return jobs.row(call, found.id, found.native, nature) | {
        "name": found.name,
        "status": "Succeeded",
        "creationTime": names.moment(found.created),
        "lastUpdatedTime": names.moment(found.ended),
        "beginExecutionTime": names.moment(found.created),
        "endExecutionTime": names.moment(found.ended),
    }
