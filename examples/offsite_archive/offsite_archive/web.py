"""What people see: the report, a query over everything, and the drill.

/            the report: what is archived, where, how much, and what the last drill found
/query       ?metric=load1&since=2026-11-01T00:00:00Z&until=…
/drill       POST: try all that is archived now
"""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from offsite_archive import archiver, query, tables
from skerry import env


async def fetch(request: Request, env_: Any) -> Response:
    """Answer."""
    await tables.prepare(tables.hour_of(datetime.now(UTC)))
    if request.url.path == "/query":
        return await _query(request)
    if request.url.path == "/drill" and request.method == "POST":
        return JSONResponse(await archiver.drill())
    if request.url.path == "/":
        return HTMLResponse(_page(await report()))
    return Response("There is nothing here.", 404)


async def _query(request: Request) -> Response:
    now = datetime.now(UTC)
    given = request.query_params
    try:
        since = _moment(given.get("since"), now - timedelta(days=1))
        until = _moment(given.get("until"), now)
    except ValueError as error:
        return JSONResponse({"error": f"{error}"}, 400)
    return JSONResponse(await query.summaries(given.get("metric", "load1"), since, until))


def _moment(text: str | None, default: datetime) -> datetime:
    if text is None:
        return default
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def report() -> dict[str, Any]:
    """Return the figures: hours, rows and bytes in the archive, and the last drill."""
    totals = await env.db.fetchrow(
        "SELECT count(*) AS hours, coalesce(sum(rows), 0)::bigint AS rows, "
        "coalesce(sum(bytes), 0)::bigint AS bytes, count(*) FILTER (WHERE dropped) AS dropped, "
        "max(hour)::text AS newest FROM archived"
    )
    last = await env.db.fetchrow("SELECT *, at::text AS time FROM drills ORDER BY at DESC LIMIT 1")
    return {"store": env.ARCHIVE_STORE, **dict(totals), "drill": dict(last) if last else None}


def _page(found: dict[str, Any]) -> str:
    drill = found["drill"]
    verdict = "No drill has been run yet."
    if drill:
        state = "proven" if not drill["problems"] else "NOT PROVEN: " + "; ".join(drill["problems"])
        verdict = (
            f"Last drill {drill['time']}: {drill['rows']} rows of {drill['hours']} hours came back "
            f"in {drill['seconds']:.1f} s, {state}."
        )
    lines = [
        f"{found['hours']} hours with {found['rows']} rows are archived at {found['store']}, "
        f"in {found['bytes']} bytes; the newest is {found['newest']}.",
        f"{found['dropped']} of them are no longer in Postgres.",
        verdict,
    ]
    body = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return f"<!doctype html><title>Off-site archive</title><h1>Off-site archive</h1>{body}"
