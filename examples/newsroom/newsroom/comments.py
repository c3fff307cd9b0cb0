"""Readers' comments, in Postgres; an editor sees each before the public does."""

from __future__ import annotations

from typing import Any

from skerry import env

NAME_MAX = 60
BODY_MAX = 2000
WAITING_MAX = 1000
"""How many comments may wait for an editor; more are refused."""


async def shown(article: int) -> list[Any]:
    """Return what the public sees under an article, oldest first."""
    rows: list[Any] = await env.db.fetch(
        "SELECT * FROM comment WHERE article = $1 AND status = 'shown' ORDER BY created LIMIT 500",
        article,
    )
    return rows


async def add(article: int, name: str, body: str) -> bool:
    """Keep a comment until an editor decides; return False if too many wait already."""
    status = await env.db.execute(
        "INSERT INTO comment (article, name, body) SELECT $1, $2, $3 "
        "WHERE (SELECT count(*) FROM comment WHERE status = 'waiting') < $4",
        article,
        name,
        body,
        WAITING_MAX,
    )
    return bool(status == "INSERT 0 1")


async def by_status(status: str) -> list[Any]:
    """Return comments with the titles of their articles, newest first."""
    rows: list[Any] = await env.db.fetch(
        "SELECT comment.*, article.title, article.slug FROM comment "
        "JOIN article ON article.id = comment.article "
        "WHERE status = $1 ORDER BY comment.created DESC LIMIT 200",
        status,
    )
    return rows


async def waiting() -> int:
    """Return how many comments wait."""
    return int(await env.db.fetchval("SELECT count(*) FROM comment WHERE status = 'waiting'"))


async def decide(number: int, status: str) -> None:
    """Show or hide a comment."""
    await env.db.execute("UPDATE comment SET status = $2 WHERE id = $1", number, status)
