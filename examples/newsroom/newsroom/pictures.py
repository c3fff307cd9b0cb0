"""Pictures: their bytes in the bucket, what is known of them in Postgres."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Any

from newsroom.articles import slugify
from skerry import env

BYTES_MAX = 5 << 20
ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
}


class NotAPictureError(ValueError):
    """The bytes are none of the types that a page may show, or there are too many of them."""


def sniff(data: bytes) -> str:
    """Return the type of a picture by its first bytes, whatever its name says."""
    if len(data) > BYTES_MAX:
        raise NotAPictureError(f"A picture has at most {BYTES_MAX >> 20} MB.")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if re.match(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg[\s>]", data[:4096], re.DOTALL):
        return "image/svg+xml"
    raise NotAPictureError("A picture is a PNG, JPEG, GIF, WebP or SVG.")


async def keep(name: str, data: bytes, source: str | None = None) -> str:
    """Keep a picture; return its key, which is made from its content. Raises NotAPictureError."""
    kind = sniff(data)
    stem = slugify(PurePosixPath(name).stem, "picture")[:40]
    key = f"{hashlib.sha256(data).hexdigest()[:16]}-{stem}.{ENDINGS[kind]}"
    await env.media.put(key, data, content_type=kind)
    async with env.db.transaction() as connection:
        if source is not None:
            await connection.execute("UPDATE picture SET source = NULL WHERE source = $1", source)
        await connection.execute(
            "INSERT INTO picture (key, name, type, bytes, source) VALUES ($1, $2, $3, $4, $5) "
            "ON CONFLICT (key) DO UPDATE SET source = coalesce($5, picture.source)",
            key,
            PurePosixPath(name).name,
            kind,
            len(data),
            source,
        )
    return key


async def read(key: str) -> tuple[str, bytes] | None:
    """Return the type and the bytes of a picture."""
    kind = await env.db.fetchval("SELECT type FROM picture WHERE key = $1", key)
    if kind is None:
        return None
    found = await env.media.get(key)
    return None if found is None else (kind, await found.read())


async def recent(limit: int) -> list[Any]:
    """Return what is known of the newest pictures."""
    rows: list[Any] = await env.db.fetch(
        "SELECT * FROM picture ORDER BY created DESC, key LIMIT $1", limit
    )
    return rows


async def sources(paths: list[str]) -> dict[str, str]:
    """Return the keys of the pictures that were imported from these files."""
    rows = await env.db.fetch("SELECT source, key FROM picture WHERE source = ANY($1)", paths)
    return {row["source"]: row["key"] for row in rows}
