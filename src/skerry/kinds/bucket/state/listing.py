"""Listing keys, versions and uploads in the order of their UTF-8 bytes, with common prefixes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.objects import row_to_version
from skerry.kinds.bucket.state.records import Record, Upload, Version, unpack

T = TypeVar("T")
_LAST = "\U0010ffff"
_VERSION = "sequence, key, version, latest, marker, modified, size, etag, record, ''"


@dataclass(slots=True)
class Page(Generic[T]):
    """A page of a listing; if `truncated`, the next one starts after `last`."""

    items: list[T] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    truncated: bool = False
    last: str = ""
    last_item: T | None = None

    @property
    def count(self) -> int:
        """How many items and prefixes the page has."""
        return len(self.items) + len(self.prefixes)


@dataclass(frozen=True, slots=True)
class Query:
    """What is listed: keys with `prefix`, rolled up at `delimiter`, after `after`."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    limit: int = 1000


def common_prefix(key: str, query: Query) -> str | None:
    """Return the prefix under which a key is rolled up, or None."""
    if not query.delimiter:
        return None
    end = key.find(query.delimiter, len(query.prefix))
    return None if end < 0 else key[: end + len(query.delimiter)]


def objects(db: Db, bucket: int, query: Query) -> Page[Version]:
    """List the current versions that are objects."""

    def rows(start: str, inclusive: bool) -> Iterator[tuple[str, Version]]:
        sign = ">=" if inclusive else ">"
        for row in db.execute(
            f"SELECT {_VERSION} FROM versions WHERE bucket = ? AND latest = 1 AND marker = 0"  # noqa: S608 - constants
            f" AND key {sign} ? ORDER BY key",
            (bucket, start),
        ):
            yield row[1], row_to_version(row)

    return _collect(query, rows)


def versions(db: Db, bucket: int, query: Query, version: str = "") -> Page[Version]:
    """List all versions, newest first under each key; `version` is where `after` was left."""

    def rows(start: str, inclusive: bool) -> Iterator[tuple[str, Version]]:
        sign = ">=" if inclusive else ">"
        text = f"SELECT {_VERSION} FROM versions WHERE bucket = ? AND key "  # noqa: S608 - constants
        order = " ORDER BY key, sequence DESC"
        if version and start == query.after and not inclusive:
            for row in db.execute(
                f"{text} = ? AND sequence < (SELECT sequence FROM versions"  # noqa: S608 - constants
                f" WHERE bucket = ? AND key = ? AND version = ?){order}",
                (bucket, start, bucket, start, version),
            ):
                yield row[1], row_to_version(row)
        for row in db.execute(f"{text} {sign} ?{order}", (bucket, start)):
            yield row[1], row_to_version(row)

    return _collect(query, rows)


def uploads(db: Db, bucket: int, query: Query, upload: str = "") -> Page[Upload]:
    """List the uploads in progress; `upload` is where `after` was left."""

    def rows(start: str, inclusive: bool) -> Iterator[tuple[str, Upload]]:
        sign = ">=" if inclusive else ">"
        same = upload if start == query.after and not inclusive else _LAST
        for row in db.execute(
            "SELECT id, bucket, key, started, record FROM uploads WHERE bucket = ?"  # noqa: S608 - constants
            f" AND (key {sign} ? OR (key = ? AND id > ?)) ORDER BY key, id",
            (bucket, start, start, same),
        ):
            record = unpack(row[4], Record)
            yield row[2], Upload(row[0], row[1], row[2], row[3], record)

    return _collect(query, rows)


def _collect(query: Query, rows: Callable[[str, bool], Iterator[tuple[str, T]]]) -> Page[T]:
    """Fill a page, jumping over what lies under a common prefix once that is listed.

    A key after which the page starts and that is a common prefix itself was listed as one.
    """
    page: Page[T] = Page()
    start, inclusive = query.after, False
    if common_prefix(start, query) == start and start:
        start += _LAST
    if start < query.prefix:
        start, inclusive = query.prefix, True
    more = query.limit > 0
    while more:
        more = False
        for key, item in rows(start, inclusive):
            if not key.startswith(query.prefix):
                if key > query.prefix:
                    return page
                continue
            rolled = common_prefix(key, query)
            if rolled is not None and page.prefixes and page.prefixes[-1] == rolled:
                continue
            if page.count == query.limit:
                page.truncated = True
                return page
            if rolled is not None:
                page.prefixes.append(rolled)
                page.last, page.last_item = rolled, None
                start, inclusive, more = rolled + _LAST, False, True
                break
            page.items.append(item)
            page.last, page.last_item = key, item
    return page
