"""Full-text search in SQLite (FTS5). The index follows Postgres and can be made anew from it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

from newsroom import articles
from skerry import env

TERMS_MAX = 12
_BEGIN, _END = "\x02", "\x03"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS indexed (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS page USING fts5("
    "title, lede, body, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')",
)
_FIND = """
SELECT rowid AS id, snippet(page, 2, char(2), char(3), ' … ', 28) AS excerpt
FROM page WHERE page MATCH ? ORDER BY bm25(page, 8.0, 3.0, 1.0) LIMIT ?
"""


async def prepare() -> None:
    """Make the index if it is new, and bring it up to what Postgres holds."""
    await env.search.aio.batch(_SCHEMA)
    rows = await env.search.aio.query("SELECT id, revision FROM indexed")
    have = {row["id"]: row["revision"] for row in rows}
    want = {row["id"]: row["revision"] for row in await articles.published()}
    stale = [number for number, revision in want.items() if have.get(number) != revision]
    for start in range(0, len(stale), 100):
        await put(await articles.with_ids(stale[start : start + 100]))
    await remove(number for number in have if number not in want)


async def follow(article: Any) -> None:
    """Bring the index up to one article that was changed, published or taken back."""
    if article["published"] is None:
        await remove([article["id"]])
    else:
        await put([article])


async def put(rows: Iterable[Any]) -> None:
    """Index articles, in one transaction."""
    await asyncio.to_thread(_put, list(rows))


def _put(rows: list[Any]) -> None:
    with env.search.transaction() as database:
        for row in rows:
            database.execute("DELETE FROM page WHERE rowid = ?", [row["id"]])
            database.execute(
                "INSERT INTO page (rowid, title, lede, body) VALUES (?, ?, ?, ?)",
                [row["id"], row["title"], row["lede"], _plain(row["body"])],
            )
            database.execute(
                "INSERT OR REPLACE INTO indexed (id, revision) VALUES (?, ?)",
                [row["id"], row["revision"]],
            )


async def remove(numbers: Iterable[int]) -> None:
    """Take articles out of the index."""
    for number in list(numbers):
        await env.search.aio.batch(
            [
                ("DELETE FROM page WHERE rowid = ?", [number]),
                ("DELETE FROM indexed WHERE id = ?", [number]),
            ]
        )


async def find(text: str, limit: int = 30) -> list[tuple[Any, Markup]]:
    """Return the articles that match best, each with an excerpt whose hits are marked."""
    query = _query(text)
    if not query:
        return []
    hits = await env.search.aio.query(_FIND, [query, limit])
    excerpts = {hit["id"]: _marked(hit["excerpt"]) for hit in hits}
    found = await articles.with_ids(list(excerpts))
    return [(article, excerpts[article["id"]]) for article in found]


def _query(text: str) -> str:
    """Return an FTS5 query: every word must be there, the last one may be unfinished."""
    words = re.findall(r"\w+", text)[:TERMS_MAX]
    return " ".join([f'"{word}"' for word in words[:-1]] + [f'"{word}"*' for word in words[-1:]])


def _marked(excerpt: str) -> Markup:
    safe = str(escape(excerpt))
    return Markup(safe.replace(_BEGIN, "<mark>").replace(_END, "</mark>"))  # noqa: S704 - escaped


def _plain(markdown: str) -> str:
    """Return Markdown without the marks that would disturb an excerpt."""
    without_targets = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return re.sub(r"[#*_`>|]+", " ", without_targets).replace(_BEGIN, "").replace(_END, "")
