"""Articles, their sections and authors, in Postgres."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from skerry import env

Row = Any
"""A row of asyncpg: read by column name."""

_SEEN = """
SELECT article.*, section.name AS section_name, section.form AS form, author.name AS author_name
FROM article JOIN section ON section.slug = article.section
             JOIN author ON author.slug = article.author
"""

_ORDER = """
regexp_replace(article.source, '(^|/)(index|readme)[.][a-z]+$', E'\\\\1', 'i') COLLATE "C"
"""
"""The order of reference pages: as their files, but a folder's own page first."""

_NEIGHBOURS = f"""
SELECT * FROM (
    SELECT id, lag(slug) OVER line AS before_slug, lag(title) OVER line AS before_title,
           lead(slug) OVER line AS after_slug, lead(title) OVER line AS after_title
    FROM article WHERE section = $1 AND published <= now()
    WINDOW line AS (ORDER BY {_ORDER}, id)) AS page
WHERE id = $2
"""  # noqa: S608 - the order is written above


class ConflictError(Exception):
    """Somebody else changed the article since it was opened."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What an editor writes, or what an import finds in a file."""

    title: str
    body: str
    lede: str = ""
    section: str = "News"
    author: str = "The editors"
    picture: str | None = None
    caption: str = ""
    published: datetime | None = None


def slugify(text: str, fallback: str = "page") -> str:
    """Return a name for URLs: lower-case ASCII letters, digits and hyphens, 80 at most."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80].strip("-") or fallback


async def latest(limit: int, offset: int = 0) -> list[Row]:
    """Return published news, newest first."""
    where = "WHERE published <= now() AND section.form = 'news'"
    order = "ORDER BY published DESC, id DESC LIMIT $1 OFFSET $2"
    rows: list[Row] = await env.db.fetch(f"{_SEEN} {where} {order}", limit, offset)
    return rows


async def in_section(section: str, limit: int, offset: int = 0) -> list[Row]:
    """Return what is published in a section: news by date, reference pages in their order."""
    order = f"""
    ORDER BY CASE WHEN section.form = 'reference' THEN {_ORDER} END,
             published DESC, id DESC LIMIT $2 OFFSET $3
    """
    where = "WHERE published <= now() AND section = $1"
    rows: list[Row] = await env.db.fetch(f"{_SEEN} {where} {order}", section, limit, offset)
    return rows


async def by_author(author: str, limit: int) -> list[Row]:
    """Return what an author has published, newest first."""
    where = "WHERE published <= now() AND author = $1 ORDER BY published DESC LIMIT $2"
    rows: list[Row] = await env.db.fetch(f"{_SEEN} {where}", author, limit)
    return rows


async def everything(limit: int) -> list[Row]:
    """Return all articles for the editor, drafts first, then by the last change."""
    order = "ORDER BY published IS NOT NULL, updated DESC, id DESC LIMIT $1"
    rows: list[Row] = await env.db.fetch(f"{_SEEN} {order}", limit)
    return rows


async def published() -> list[Row]:
    """Return slug, time of the last change, id and revision of everything that is published."""
    rows: list[Row] = await env.db.fetch(
        "SELECT id, slug, revision, updated FROM article WHERE published <= now() ORDER BY id"
    )
    return rows


async def with_ids(ids: list[int]) -> list[Row]:
    """Return published articles by their ids, in that order."""
    where = "WHERE published <= now() AND id = ANY($1) ORDER BY array_position($1, id)"
    rows: list[Row] = await env.db.fetch(f"{_SEEN} {where}", ids)
    return rows


async def by_slug(slug: str) -> Row | None:
    """Return an article, published or not."""
    return await env.db.fetchrow(f"{_SEEN} WHERE article.slug = $1", slug)


async def by_id(number: int) -> Row | None:
    """Return an article, published or not."""
    return await env.db.fetchrow(f"{_SEEN} WHERE article.id = $1", number)


async def neighbours(article: Row) -> tuple[Row | None, Row | None]:
    """Return the pages before and after one of a reference section."""
    row = await env.db.fetchrow(_NEIGHBOURS, article["section"], article["id"])
    if row is None:
        return None, None
    before, after = (
        {"slug": row[f"{which}_slug"], "title": row[f"{which}_title"]}
        if row[f"{which}_slug"]
        else None
        for which in ("before", "after")
    )
    return before, after


async def sources(paths: list[str]) -> dict[str, str]:
    """Return the slugs of the articles that were imported from these files."""
    rows = await env.db.fetch("SELECT source, slug FROM article WHERE source = ANY($1)", paths)
    return {row["source"]: row["slug"] for row in rows}


async def sections() -> list[Row]:
    """Return the sections that have something to read, in the order of the menu."""
    rows: list[Row] = await env.db.fetch(
        "SELECT * FROM section WHERE EXISTS (SELECT 1 FROM article WHERE section = section.slug "
        "AND published <= now()) ORDER BY form, place, name"
    )
    return rows


async def all_sections() -> list[Row]:
    """Return every section, for the editor."""
    rows: list[Row] = await env.db.fetch("SELECT * FROM section ORDER BY form, place, name")
    return rows


async def section(slug: str) -> Row | None:
    """Return a section."""
    return await env.db.fetchrow("SELECT * FROM section WHERE slug = $1", slug)


async def authors() -> list[Row]:
    """Return every author by name."""
    rows: list[Row] = await env.db.fetch("SELECT * FROM author ORDER BY name")
    return rows


async def author(slug: str) -> Row | None:
    """Return an author."""
    return await env.db.fetchrow("SELECT * FROM author WHERE slug = $1", slug)


async def count() -> int:
    """Return how many articles there are, drafts included."""
    return int(await env.db.fetchval("SELECT count(*) FROM article"))


async def create(draft: Draft) -> Row:
    """Keep a new article; return it."""
    async with env.db.transaction() as connection:
        number = await insert(connection, draft, slugify(draft.title, "article"), None)
    return await by_id(number)


async def change(number: int, revision: int, draft: Draft) -> Row:
    """Replace what an article says. Raises ConflictError if it is not at that revision any more."""
    async with env.db.transaction() as connection:
        names = await name(connection, draft, "news")
        changed = await connection.fetchval(
            "UPDATE article SET title = $3, lede = $4, body = $5, section = $6, author = $7, "
            "picture = $8, caption = $9, updated = now(), revision = revision + 1 "
            "WHERE id = $1 AND revision = $2 RETURNING id",
            number,
            revision,
            draft.title,
            draft.lede,
            draft.body,
            *names,
            draft.picture,
            draft.caption,
        )
        if changed is None:
            raise ConflictError
    return await by_id(number)


async def publish(number: int, *, public: bool) -> Row | None:
    """Publish an article, or take it back; one that was published keeps its date."""
    await env.db.execute(
        "UPDATE article SET revision = revision + 1, updated = now(), "
        "published = CASE WHEN $2 THEN coalesce(published, now()) END WHERE id = $1",
        number,
        public,
    )
    return await by_id(number)


async def delete(number: int) -> None:
    """Delete an article with its comments."""
    await env.db.execute("DELETE FROM article WHERE id = $1", number)


async def insert(connection: Any, draft: Draft, wish: str, source: str | None) -> int:
    """Insert an article under the slug that it wishes, or that with a number."""
    for attempt in range(1, 1000):
        number = await connection.fetchval(
            "INSERT INTO article (slug, title, lede, body, section, author, picture, caption, "
            "source, published) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
            "ON CONFLICT (slug) DO NOTHING RETURNING id",
            wish if attempt == 1 else f"{wish}-{attempt}",
            draft.title,
            draft.lede,
            draft.body,
            *await name(connection, draft, "news"),
            draft.picture,
            draft.caption,
            source,
            draft.published,
        )
        if number is not None:
            return int(number)
    raise ConflictError(f"a thousand articles are called {wish}")


async def name(connection: Any, draft: Draft, form: str) -> tuple[str, str]:
    """Make the section and the author of a draft if they are new; return their slugs."""
    section_slug, author_slug = slugify(draft.section, "news"), slugify(draft.author, "editors")
    await connection.execute(
        "INSERT INTO section (slug, name, form) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        section_slug,
        draft.section,
        form,
    )
    await connection.execute(
        "INSERT INTO author (slug, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        author_slug,
        draft.author,
    )
    return section_slug, author_slug
