"""Hrana over HTTP: pipelines, cursors, and the stateless calls of version 1.

Source: HRANA_3_SPEC ("Hrana over HTTP"), HTTP_V2_SPEC and HTTP_V1_SPEC of tursodatabase/libsql.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.exchange import LARGE_BYTES, Exchange
from skerry.kinds.sqlite.failure import HranaError
from skerry.kinds.sqlite.hrana import (
    Answer,
    Batch,
    Condition,
    CursorRequest,
    NamedArgument,
    Pipeline,
    Request,
    Statement,
    Step,
    from_any,
)
from skerry.kinds.sqlite.stream import Steps, Stream
from skerry.kinds.sqlite.streams import Streams
from skerry.kinds.sqlite.values import from_json

REQUESTS_MAX = 10_000
CHUNK_BYTES = 64 << 10
QUICK_MAX = 4

_encoder = msgspec.json.Encoder()
_pipeline = msgspec.json.Decoder(Pipeline)
_cursor = msgspec.json.Decoder(CursorRequest)


class ExecuteBody(msgspec.Struct, frozen=True):
    """The body of `POST /v1/execute`."""

    stmt: Statement


class BatchBody(msgspec.Struct, frozen=True):
    """The body of `POST /v1/batch`."""

    batch: Batch


class Query(msgspec.Struct, frozen=True):
    """A statement of `POST /` with arguments by position or name, as plain JSON."""

    q: str
    params: list[Any] | dict[str, Any] = []


class StatementsBody(msgspec.Struct, frozen=True):
    """The body of `POST /`."""

    statements: list[str | Query]


_execute = msgspec.json.Decoder(ExecuteBody)
_batch = msgspec.json.Decoder(BatchBody)
_statements = msgspec.json.Decoder(StatementsBody)


async def pipeline(engine: SqliteEngine, exchange: Exchange) -> None:
    """Answer `POST /v2/pipeline` and `/v3/pipeline`."""
    streams = engine.streams
    body = await _decode(engine, _pipeline, await exchange.body())
    if len(body.requests) > REQUESTS_MAX:
        raise HranaError(f"A pipeline has at most {REQUESTS_MAX} requests.", "BAD_REQUEST")
    stream = await (streams.open() if body.baton is None else streams.resume(body.baton))
    closing = False
    try:
        quick = _quick(streams, body.requests)
        if quick:
            results, closing = await streams.run_quick(
                stream, lambda: _results(stream, body.requests), quick
            )
        else:
            results, closing = await streams.run(stream, _results(stream, body.requests))
        baton = None if closing else streams.park(stream)
    except BaseException:
        await streams.close(stream)
        raise
    head = _encoder.encode({"baton": baton, "base_url": None})
    if closing:
        await streams.close(stream)
    body_bytes = b'%b,"results":%b}' % (head[:-1], results)
    await exchange.raw(200, b"application/json", body_bytes)


def _quick(streams: Streams, requests: list[Request]) -> list[str]:
    """Return the texts of a pipeline that may run on the event loop, or nothing."""
    texts: list[str] = []
    for request in requests:
        if request.type == "close":
            continue
        sql = request.stmt.sql if request.stmt is not None else None
        if request.type != "execute" or sql is None or not streams.pace.quick(sql):
            return []
        texts.append(sql)
    return texts if len(texts) <= QUICK_MAX else []


def _results(stream: Stream, requests: list[Request]) -> Steps:
    """Answer each request, failed or not, up to `close`; return JSON and whether to close."""
    results: list[Answer] = []
    closing = False
    for request in requests:
        try:
            if closing:
                raise HranaError("The stream is closed.", "STREAM_CLOSED")
            if request.type == "close":
                closing = True
                answer: Answer = {"type": "close"}
            else:
                answer = yield from stream.answer(request)
        except Exception as error:
            results.append({"type": "error", "error": from_any(error).answer()})
        else:
            results.append({"type": "ok", "response": answer})
    return _encoder.encode(results), closing


async def cursor(engine: SqliteEngine, exchange: Exchange) -> None:
    """Answer `POST /v3/cursor`: a line that continues the stream, then a line for each entry."""
    streams = engine.streams
    body = await _decode(engine, _cursor, await exchange.body())
    stream = await (streams.open() if body.baton is None else streams.resume(body.baton))
    baton = streams.park(stream)
    try:
        await exchange.begin(200, b"application/x-ndjson")
        await exchange.part(_encoder.encode({"baton": baton, "base_url": None}) + b"\n")
        held = b""
        async with aclosing(streams.chunks(stream, _lines(stream, body.batch))) as chunks:
            async for chunk in chunks:
                if held:
                    await exchange.part(held)
                held = chunk
        # Only now is the stream free; clients go on with it as soon as they see the last entry.
        await exchange.part(held, last=True)
    except (HranaError, SkerryError) as error:
        await streams.close(stream)
        await exchange.part(_failed(error), last=True)
    except BaseException:
        await streams.close(stream)
        raise


def _lines(stream: Stream, batch: Batch) -> Steps:
    """Turn a cursor's lists of entries into lines."""
    try:
        for part in stream.cursor(batch, CHUNK_BYTES):
            yield _encoder.encode_lines(part) if isinstance(part, list) else part
    except Exception as error:
        yield _failed(error)


def _failed(error: Exception) -> bytes:
    """Return the entry that ends a cursor early."""
    return _encoder.encode({"type": "error", "error": from_any(error).answer()}) + b"\n"


async def execute(engine: SqliteEngine, exchange: Exchange) -> None:
    """Answer `POST /v1/execute`."""
    body = await _decode(engine, _execute, await exchange.body())
    result = await _once(engine, lambda stream: stream.execute(body.stmt))
    await exchange.json(200, {"result": result})


async def batch(engine: SqliteEngine, exchange: Exchange) -> None:
    """Answer `POST /v1/batch`."""
    body = await _decode(engine, _batch, await exchange.body())
    result = await _once(engine, lambda stream: stream.batch(body.batch))
    await exchange.json(200, {"result": result})


async def statements(engine: SqliteEngine, exchange: Exchange) -> None:
    """Answer `POST /`: statements that are one transaction, with plain JSON values."""
    body = await _decode(engine, _statements, await exchange.body())
    steps = [Step(Statement(sql="BEGIN"))]
    for each in body.statements:
        query = Query(each) if isinstance(each, str) else each
        steps.append(Step(_plain(query), Condition("ok", step=len(steps) - 1)))
    last = len(steps) - 1
    steps.append(Step(Statement(sql="COMMIT"), Condition("ok", step=last)))
    steps.append(Step(Statement(sql="ROLLBACK"), Condition("not", cond=Condition("is_autocommit"))))
    result = await _once(engine, lambda stream: stream.batch(Batch(steps)))
    await exchange.json(200, _version_1(result, len(body.statements)))


def _plain(query: Query) -> Statement:
    if isinstance(query.params, list):
        return Statement(sql=query.q, args=[from_json(each) for each in query.params])
    named = [NamedArgument(name, from_json(each)) for name, each in query.params.items()]
    return Statement(sql=query.q, named_args=named)


def _version_1(result: Answer, count: int) -> list[Answer]:
    """Return the answer of version 1: results up to the first error, which rolled all back."""
    answers: list[Answer] = []
    for number in range(1, count + 1):
        error, done = result["step_errors"][number], result["step_results"][number]
        if error is not None:
            answers.append({"error": error})
            break
        if done is None:
            break
        answers.append(
            {
                "results": {
                    "columns": [column["name"] for column in done["cols"]],
                    "rows": [[_json(item) for item in row] for row in done["rows"]],
                    "rows_read": done["rows_read"],
                    "rows_written": done["rows_written"],
                }
            }
        )
    failed = result["step_errors"][0] or result["step_errors"][count + 1]
    return (
        [{"error": failed}] if failed and not any("error" in each for each in answers) else answers
    )


def _json(item: Answer) -> Any:
    """Return a value of Hrana as plain JSON."""
    if item["type"] == "integer":
        return int(item["value"])
    return {"base64": item["base64"]} if item["type"] == "blob" else item.get("value")


async def _once(engine: SqliteEngine, work: Any) -> Any:
    """Do work on a stream of its own."""
    stream = await engine.streams.open()
    try:
        return await engine.streams.run(stream, work(stream))
    except Exception as error:
        raise from_any(error) from error
    finally:
        await engine.streams.close(stream)


async def _decode(engine: SqliteEngine, decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    if len(body) <= LARGE_BYTES:
        return decoder.decode(body)
    return await engine.streams.thread(decoder.decode, body)
