"""D1's query API: `POST /client/v4/accounts/{account}/d1/database/{database}/query` and `/raw`.

The account is not looked at: the bearer token alone decides. Statements separated by semicolons are
one transaction, and so is a `batch`. Source: https://developers.cloudflare.com/api (D1, query).
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kinds.sqlite.claim import database_id
from skerry.kinds.sqlite.engine import SqliteEngine
from skerry.kinds.sqlite.exchange import BodyTooLargeError, Exchange
from skerry.kinds.sqlite.failure import HranaError
from skerry.kinds.sqlite.gate import d1_failure
from skerry.kinds.sqlite.hrana import Answer, Statement, from_any
from skerry.kinds.sqlite.stream import Steps, Stream
from skerry.kinds.sqlite.values import bytes_of, from_json

NOT_FOUND, BAD_QUERY = 7404, 7500
BATCH_MAX = 1000


class Query(msgspec.Struct, frozen=True):
    """One text of SQL and the values of its parameters."""

    sql: str
    params: list[Any] | None = None


class Body(msgspec.Struct, frozen=True):
    """A query, or a batch of them."""

    sql: str | None = None
    params: list[Any] | None = None
    batch: list[Query] | None = None


_decoder = msgspec.json.Decoder(Body)


async def query(engine: SqliteEngine, exchange: Exchange, database: str, *, raw: bool) -> None:
    """Answer a query whose token was right; `raw` asks for rows as lists instead of objects."""
    if database.replace("-", "").lower() != database_id(engine.context.id).replace("-", ""):
        await _refuse(exchange, 404, NOT_FOUND, "The database does not exist.")
        return
    streams = engine.streams
    try:
        body = _decoder.decode(await exchange.body())
        queries = body.batch or ([Query(body.sql, body.params)] if body.sql is not None else [])
        if not 0 < len(queries) <= BATCH_MAX:
            raise HranaError("The body holds no query, or too many.", "BAD_REQUEST")
        stream = await streams.open()
        try:
            results = await streams.run(stream, _transaction(stream, queries, raw=raw))
        finally:
            await streams.close(stream)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        await _refuse(exchange, 400, BAD_QUERY, f"The body is not a query: {error}")
    except BodyTooLargeError as error:
        await _refuse(exchange, 413, BAD_QUERY, str(error))
    except SkerryError as error:
        await _refuse(exchange, error.problem.http, BAD_QUERY, error.what)
    except Exception as error:
        shape = from_any(error)
        code = shape.extended or shape.code
        await _refuse(exchange, 400, BAD_QUERY, f"{shape.message}: {code}")
    else:
        await exchange.json(200, {"success": True, "errors": [], "messages": [], "result": results})


def _transaction(stream: Stream, queries: list[Query], *, raw: bool) -> Steps:
    """Run every statement, in one transaction if there are several; return D1's results."""
    results: list[Answer] = []
    several = len(queries) > 1 or bool(stream.first(queries[0].sql)[1].strip())
    try:
        if several:
            yield from stream.execute(Statement(sql="BEGIN IMMEDIATE"))
        for each in queries:
            args = [from_json(item) for item in each.params or []]
            rest = each.sql
            while rest:
                text, rest = stream.first(rest)
                if args and rest.strip():
                    raise HranaError("Parameters need a single statement.", "SQL_MANY_STATEMENTS")
                if len(results) >= BATCH_MAX:
                    raise HranaError(f"A batch has at most {BATCH_MAX} statements.", "TOO_LARGE")
                if text:
                    result = yield from stream.execute(Statement(sql=text, args=args))
                    results.append(_result(result, raw=raw))
        if several:
            yield from stream.execute(Statement(sql="COMMIT"))
    finally:
        stream.rollback()
    if not results:
        raise HranaError("The text holds no SQL statement.", "SQL_NO_STATEMENT")
    size = stream.connection.pragma("page_count") * stream.connection.pragma("page_size")
    for each_result in results:
        each_result["meta"]["size_after"] = size
    return results


def _result(result: Answer, *, raw: bool) -> Answer:
    names = [column["name"] for column in result["cols"]]
    rows = [[_plain(item) for item in row] for row in result["rows"]]
    shape: Any = {"columns": names, "rows": rows}
    if not raw:
        shape = [dict(zip(names, row, strict=True)) for row in rows]
    last = result["last_insert_rowid"]
    return {
        "results": shape,
        "success": True,
        "meta": {
            "served_by": "skerry",
            "duration": result["query_duration_ms"],
            "changes": result["affected_row_count"],
            "last_row_id": int(last) if last is not None else 0,
            "changed_db": result["rows_written"] > 0,
            "rows_read": result["rows_read"],
            "rows_written": result["rows_written"],
        },
    }


def _plain(item: Answer) -> Any:
    """Return a value as D1 writes it in JSON: a blob is a list of its bytes."""
    if item["type"] == "integer":
        return int(item["value"])
    if item["type"] == "blob":
        return list(bytes_of(item))
    return item.get("value")


async def _refuse(exchange: Exchange, status: int, code: int, message: str) -> None:
    await exchange.respond(d1_failure(status, code, message))
