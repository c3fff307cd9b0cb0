"""CloudWatch Logs, as far as the SDK reads a hybrid job's lines and metrics by it.

A job has one stream, `<name>/<id>/algo-1`, in the group of all of Braket's jobs. Of queries, those
for metrics are answered: the one that `job.metrics()` sends.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kinds.quantum.hybrid import reading
from skerry.kinds.quantum.hybrid.contract import HybridJob, Line
from skerry.kinds.quantum.wires.braket import jobs, names
from skerry.kinds.quantum.wires.frame import Call, Reply

GROUP = "/aws/braket/jobs"
TARGET = "Logs_20140328."
EVENTS_MAX = 10_000
ANSWER_BYTES_MAX = 1 << 20
_KIND = "application/x-amz-json-1.1"
_STREAM = "algo-1"
_QUERY = re.compile(
    r"fields @timestamp, @message \| filter @logStream like /\^(.{1,200})\\//"
    r" \| filter @message like /Metrics - /"
)
_QUERY_ID = re.compile(r"([0-9a-f-]{36})\.(\d{1,12})\.(\d{1,12})")


class Streams(msgspec.Struct, frozen=True, rename="camel"):
    """The body of DescribeLogStreams."""

    log_group_name: str
    log_stream_name_prefix: str = ""


class Events(msgspec.Struct, frozen=True, rename="camel"):
    """The body of GetLogEvents."""

    log_group_name: str
    log_stream_name: str
    start_time: int = 0
    end_time: int = 1 << 62
    start_from_head: bool = False
    next_token: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_MAX)] = EVENTS_MAX


class Query(msgspec.Struct, frozen=True, rename="camel"):
    """The body of StartQuery; times are seconds."""

    log_group_name: str
    query_string: str
    start_time: Annotated[int, msgspec.Meta(ge=0)]
    end_time: Annotated[int, msgspec.Meta(ge=0)]


class Results(msgspec.Struct, frozen=True, rename="camel"):
    """The body of GetQueryResults."""

    query_id: str


async def answer(call: Call) -> Reply:
    """Answer one request."""
    action = call.headers.get("x-amz-target", "").removeprefix(TARGET)
    handler = _CALLS.get(action)
    if handler is None:
        raise UNSUPPORTED(f"The action {action[:60]!r} of CloudWatch Logs is not here.")
    return Reply(await handler(call, await call.json()), kind=_KIND)


def _check_group(name: str) -> None:
    if name != GROUP:
        raise NOT_FOUND(f"There is no group {name[:200]}; {GROUP} is.")


async def _streams(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    asked = msgspec.convert(body, Streams)
    _check_group(asked.log_group_name)
    try:
        job = await jobs.of_log(call.desk, asked.log_stream_name_prefix)
    except SkerryError as error:
        if error.problem is not NOT_FOUND:
            raise
        return {"logStreams": []}
    told = await call.desk.hybrid.lines(job.id)
    stream = f"{job.request.name}/{job.id}/{_STREAM}"
    if not told or not stream.startswith(asked.log_stream_name_prefix):
        return {"logStreams": []}
    found = {
        "logStreamName": stream,
        "creationTime": job.created // 1_000_000,
        "firstEventTimestamp": told[0].at,
        "lastEventTimestamp": told[-1].at,
        "lastIngestionTime": told[-1].at,
        "arn": _arn(call, job, stream),
        "storedBytes": 0,
    }
    return {"logStreams": [found]}


def _arn(call: Call, job: HybridJob, stream: str) -> str:
    owner = names.account(call.desk.context.id)
    region = job.request.native.get("region", "")
    return f"arn:aws:logs:{region}:{owner}:log-group:{GROUP}:log-stream:{stream}"


async def _events(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    asked = msgspec.convert(body, Events)
    _check_group(asked.log_group_name)
    job = await jobs.of_log(call.desk, asked.log_stream_name)
    told = await call.desk.hybrid.lines(job.id)
    told = [each for each in told if asked.start_time <= each.at < asked.end_time]
    first = _begin(asked, len(told))
    events: list[dict[str, Any]] = []
    size = 0
    for line in told[first : first + asked.limit]:
        size += len(line.text.encode()) + 26
        if size > ANSWER_BYTES_MAX and events:
            break
        events.append(_event(line))
    return {
        "events": events,
        "nextForwardToken": f"f/{first + len(events)}",
        "nextBackwardToken": f"b/{first}",
    }


def _begin(asked: Events, count: int) -> int:
    """Return the number of the first event of an answer; raise INVALID for a token of others."""
    if not asked.next_token:
        return 0 if asked.start_from_head else max(0, count - asked.limit)
    side, _, number = asked.next_token.partition("/")
    if side not in ("f", "b") or not re.fullmatch("[0-9]{1,12}", number):
        raise INVALID("The nextToken is none that was given.")
    return min(int(number), count) if side == "f" else max(0, int(number) - asked.limit)


def _event(line: Line) -> dict[str, Any]:
    # An event has at least one character.
    return {"timestamp": line.at, "message": line.text or " ", "ingestionTime": line.at}


async def _start(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    asked = msgspec.convert(body, Query)
    _check_group(asked.log_group_name)
    found = _QUERY.fullmatch(asked.query_string.strip())
    if found is None:
        raise INVALID("Of queries, only that for the metrics of a hybrid job is answered here.")
    job = await jobs.of_log(call.desk, found[1].replace("\\/", "/"))
    return {"queryId": f"{job.id}.{asked.start_time}.{asked.end_time}"}


async def _results(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    asked = _QUERY_ID.fullmatch(msgspec.convert(body, Results).query_id)
    if asked is None:
        raise NOT_FOUND("There is no such query.")
    job, first, last = asked[1], int(asked[2]) * 1000, (int(asked[3]) + 1) * 1000
    told = await call.desk.hybrid.lines(job)
    rows = [
        [
            {"field": "@timestamp", "value": _moment(each.at)},
            {"field": "@message", "value": each.text},
        ]
        for each in told
        if reading.MARK in each.text and first <= each.at < last
    ]
    return {"results": rows[:EVENTS_MAX], "status": "Complete", "statistics": {}}


def _moment(milliseconds: int) -> str:
    found = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return found.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


_Handler = Callable[[Call, dict[str, Any]], Awaitable[dict[str, Any]]]
_CALLS: dict[str, _Handler] = {
    "DescribeLogStreams": _streams,
    "GetLogEvents": _events,
    "StartQuery": _start,
    "GetQueryResults": _results,
}
