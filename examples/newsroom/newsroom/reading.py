"""The pages that readers see."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from newsroom import (
    articles,
    charts,
    comments,
    markdown,
    pictures,
    search,
    sessions,
    site,
    telemetry,
    views,
)
from newsroom.site import found, page, redirect

FRONT_STORIES = 24
FRONT_PICTURES = 5
PAGE_STORIES = 30
COMMENTS_A_WHILE = 5
SAMPLES_A_MINUTE = 20

SPANS = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last day", timedelta(days=1)),
    "week": ("Last week", timedelta(days=7)),
}
CHARTS = (("cpu", "CPU"), ("memory", "Memory"), ("disk", "Disk"), ("load", "Load per CPU"))

_PICTURE_HEADERS = {
    "cache-control": "public, max-age=31536000, immutable",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
"""A picture's name tells its content; one that is SVG may not run scripts."""


async def front(request: Request) -> Response:
    """The front page: a lead, more stories, the sections, what is read most."""
    stories = await articles.latest(FRONT_STORIES)
    lead = next((each for each in stories if each["picture"]), stories[0] if stories else None)
    pictured = [each for each in stories if each["picture"] and each is not lead]
    plain = [each for each in stories if not each["picture"] and each is not lead]
    seconds = [*pictured[:1], *plain[:2]]
    menu = await articles.sections()
    references = [
        (each, await articles.in_section(each["slug"], 6))
        for each in menu
        if each["form"] == "reference"
    ]
    return await page(
        request,
        "front.html",
        lead=lead,
        seconds=seconds,
        more=pictured[1 : 1 + FRONT_PICTURES],
        brief=[*pictured[1 + FRONT_PICTURES :], *plain[2:]],
        references=references,
        most_read=_most_read(stories),
        machine=await telemetry.newest(),
    )


def _most_read(stories: list[Any]) -> list[tuple[Any, int]]:
    counts = views.of([each["id"] for each in stories])
    ranked = sorted(stories, key=lambda each: -counts[each["id"]])
    return [(each, counts[each["id"]]) for each in ranked[:5] if counts[each["id"]]]


async def section(request: Request) -> Response:
    """A section: its stories by date, or its reference pages in order."""
    shown = found(await articles.section(request.path_params["slug"]))
    number = _page_number(request)
    size = 1000 if shown["form"] == "reference" else PAGE_STORIES
    stories = await articles.in_section(shown["slug"], size + 1, number * size)
    return await page(
        request,
        "section.html",
        section=shown,
        stories=stories[:size],
        number=number,
        more=len(stories) > size,
    )


async def author(request: Request) -> Response:
    """What an author has written."""
    shown = found(await articles.author(request.path_params["slug"]))
    stories = await articles.by_author(shown["slug"], 100)
    return await page(request, "author.html", author=shown, stories=stories)


async def article(request: Request) -> Response:
    """An article with its comments; a draft is shown to the editor only."""
    shown = await _article(request)
    if shown["published"] is not None and request.method == "GET":
        views.count(shown["id"])
    before = after = None
    if shown["form"] == "reference" and shown["source"]:
        before, after = await articles.neighbours(shown)
    return await page(
        request,
        "article.html",
        article=shown,
        body=await markdown.render(shown["body"], site.urls(request), shown["source"]),
        comments=await comments.shown(shown["id"]),
        views=views.of([shown["id"]])[shown["id"]],
        before=before,
        after=after,
        notice=request.query_params.get("comment", ""),
        name_max=comments.NAME_MAX,
        body_max=comments.BODY_MAX,
    )


async def comment(request: Request) -> Response:
    """Take a comment; it waits for the editor."""
    shown = await _article(request)
    form = await site.form(request)
    name, body = form.text("name", comments.NAME_MAX), form.long_text("body", comments.BODY_MAX)
    who, outcome = site.client(request), "waiting"
    if not name or not body:
        outcome = "empty"
    elif form.text("website"):
        outcome = "waiting"  # Only robots see and fill that field; they are told nothing.
    elif not sessions.may("comment", who, COMMENTS_A_WHILE):
        outcome = "often"
    else:
        await sessions.count("comment", who, 600)
        if not await comments.add(shown["id"], name, body):
            outcome = "full"
    return redirect(request, "article", f"?comment={outcome}#comments", slug=shown["slug"])


async def find(request: Request) -> Response:
    """Full-text search."""
    query = request.query_params.get("q", "")[:200].strip()
    hits = await search.find(query)
    return await page(request, "search.html", query=query, hits=hits)


async def picture(request: Request) -> Response:
    """A picture from the bucket."""
    kind, data = found(await pictures.read(request.path_params["key"]))
    tag = f'"{request.path_params["key"][:16]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag, **_PICTURE_HEADERS})
    return Response(data, media_type=kind, headers={"etag": tag, **_PICTURE_HEADERS})


async def machine(request: Request) -> Response:
    """The telemetry of the machine that serves this page, as charts."""
    chosen = request.query_params.get("span", "hour")
    chosen = chosen if chosen in SPANS else "hour"
    span = SPANS[chosen][1]
    rows, now = await telemetry.series(span), datetime.now(UTC)
    drawn = []
    for column, title in CHARTS:
        points = [charts.Point(row["time"], row[column]) for row in rows if row[column] is not None]
        chart = charts.line_chart(title, points, now, span)
        drawn.append((title, points[-1].value if points else None, chart))
    return await page(
        request,
        "machine.html",
        charts=drawn,
        spans=SPANS,
        chosen=chosen,
        newest=await telemetry.newest(),
        count=await telemetry.count(),
        rows=rows[-12:][::-1],
    )


async def sample(request: Request) -> Response:
    """Take a sample of the machine now."""
    await site.form(request)
    who = site.client(request)
    if sessions.may("sample", who, SAMPLES_A_MINUTE):
        await asyncio.gather(telemetry.sample(), sessions.count("sample", who, 60))
    return redirect(request, "machine")


def _page_number(request: Request) -> int:
    text = request.query_params.get("page", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0


async def _article(request: Request) -> Any:
    shown = found(await articles.by_slug(request.path_params["slug"]))
    is_public = shown["published"] is not None and shown["published"] <= datetime.now(UTC)
    return found(shown if is_public or site.is_editor(request) else None)


ROUTES = [
    Route("/", front, name="front"),
    Route("/section/{slug}", section, name="section"),
    Route("/author/{slug}", author, name="author"),
    Route("/article/{slug}", article, name="article"),
    Route("/article/{slug}/comments", comment, name="comment", methods=["POST"]),
    Route("/find", find, name="find"),
    Route("/picture/{key}", picture, name="picture"),
    Route("/machine", machine, name="machine"),
    Route("/machine/sample", sample, name="sample", methods=["POST"]),
]
