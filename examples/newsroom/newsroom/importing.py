"""Imports a folder of Markdown: files become articles, the pictures that they show are kept.

A file may begin with front matter, lines of `key: value` between two lines of `---` (or TOML
between `+++`): title, lede, section, author, date (or days_ago), picture, caption, slug, draft.
All of it is optional. Files that were imported before are replaced, so an import may be repeated.
"""

from __future__ import annotations

import asyncio
import io
import posixpath
import re
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import skerry
from newsroom import articles, markdown, pictures, search
from newsroom.articles import Draft, slugify
from skerry import env

FILES_MAX = 2000
TEXT_BYTES_MAX = 1 << 20
TOTAL_BYTES_MAX = 48 << 20
_TEXTS = {".md", ".markdown"}
_PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"}
_FENCES = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_LOCK = 7307


class NotImportableError(ValueError):
    """What was given is no archive of Markdown, or too large."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an import did."""

    articles: int
    pictures: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A file as it was read: where it was, what its address wishes to be, and what it says."""

    source: str
    slug: str
    draft: Draft
    picture: str | None
    dated: bool


async def seed(folders: Mapping[str, Path]) -> list[Report]:
    """Import folders by the names of their sections if there is no article yet."""
    async with env.db.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await articles.count():
            return []
        found = {
            section: await asyncio.to_thread(read_folder, folder)
            for section, folder in folders.items()
        }
        return [await import_files(files, section) for section, files in found.items() if files]


def documentation() -> Path:
    """Return where Skerry's own documentation lies: in the package, or beside it in a clone."""
    package = Path(skerry.__file__).parent
    inside = package / "_docs"
    return inside if inside.is_dir() else package.parents[1] / "docs"


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the Markdown and pictures of a folder by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _wanted(path.relative_to(folder).as_posix())
    }


def read_archive(data: bytes) -> dict[str, bytes]:
    """Return the Markdown and pictures of a zip or tar archive. Raises NotImportableError."""
    files: dict[str, bytes] = {}
    total = 0
    for name, size, read in _members(data):
        path = posixpath.normpath(name)
        if path.startswith(("/", "..")) or not _wanted(path):
            continue
        total += size
        if len(files) >= FILES_MAX or total > TOTAL_BYTES_MAX:
            limit = f"{FILES_MAX} files and {TOTAL_BYTES_MAX >> 20} MB"
            raise NotImportableError(f"An import has at most {limit}.")
        files[path] = read()
    if not any(PurePosixPath(path).suffix.lower() in _TEXTS for path in files):
        raise NotImportableError("The archive has no Markdown (.md) in it.")
    return _without_common_folder(files)


async def import_files(files: Mapping[str, bytes], section: str) -> Report:
    """Import files by their paths; `section` is for pages that name none.

    Pages without a date of their own make `section` a reference section.
    """
    root = slugify(section, "news")
    pages, skipped = _read_pages(files, section, root)
    keys: dict[str, str] = {}
    for path in sorted({path for page in pages for path in _shown(page)}):
        data = files.get(path.removeprefix(f"{root}/"))
        if data is not None:
            try:
                keys[path] = await pictures.keep(path, data, path)
            except pictures.NotAPictureError as error:
                skipped.append(f"{path}: {error}")
    async with env.db.transaction() as connection:
        numbers = [await _write(connection, page, keys) for page in pages]
    for start in range(0, len(numbers), 100):
        await search.put(await articles.with_ids(numbers[start : start + 100]))
    return Report(len(pages), len(keys), tuple(skipped))


def _read_pages(
    files: Mapping[str, bytes], section: str, root: str
) -> tuple[list[Page], list[str]]:
    pages: list[Page] = []
    skipped: list[str] = []
    for path, data in sorted(files.items()):
        if PurePosixPath(path).suffix.lower() not in _TEXTS:
            continue
        try:
            if len(data) > TEXT_BYTES_MAX:
                raise NotImportableError(f"A page has at most {TEXT_BYTES_MAX >> 20} MB.")
            pages.append(read_page(f"{root}/{path}", data.decode("utf-8-sig"), section))
        except ValueError as error:
            skipped.append(f"{path}: {error}")
    return pages, skipped


def read_page(source: str, text: str, section: str) -> Page:
    """Return what a file says. Raises ValueError for front matter that cannot be read."""
    fields, text = front_matter(text.replace("\r\n", "\n").replace("\0", ""))
    heading, body = markdown.title(text)
    path = PurePosixPath(source)
    is_index = path.stem.lower() in ("index", "readme")
    stem = path.parent.name if is_index else path.stem
    published, dated = _published(fields)
    draft = Draft(
        title=_text(fields, "title") or heading or stem.replace("-", " ").capitalize(),
        lede=_text(fields, "lede") or _text(fields, "description") or markdown.summary(body),
        body=body if heading and heading == (_text(fields, "title") or heading) else text,
        section=_text(fields, "section") or section,
        author=_text(fields, "author") or "The editors",
        caption=_text(fields, "caption"),
        published=published,
    )
    picture = _text(fields, "picture")
    place = posixpath.normpath(posixpath.join(str(path.parent), picture)) if picture else None
    return Page(source, _text(fields, "slug") or slugify(stem), draft, place, dated)


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return the fields before a text, and the text. Raises ValueError."""
    found = _FENCES.match(text)
    if found is None:
        return {}, text
    rest = text[found.end() :]
    if found[1] == "+++":
        return tomllib.loads(found[2]), rest
    fields: dict[str, Any] = {}
    for line in found[2].splitlines():
        key, colon, value = line.partition(":")
        if colon and re.fullmatch(r"[A-Za-z_][\w-]*", key):
            value = value.strip()
            quoted = len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]
            fields[key.lower()] = value[1:-1] if quoted else value
    return fields, rest


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key, "")
    return " ".join(str(value).split())[:500] if isinstance(value, str | int | float) else ""


def _published(fields: Mapping[str, Any]) -> tuple[datetime | None, bool]:
    """Return when a page was published, and whether it says so; a draft was not."""
    now = datetime.now(UTC)
    if str(fields.get("draft", "")).lower() in ("true", "yes"):
        return None, True
    if "days_ago" in fields:
        return now - timedelta(days=float(fields["days_ago"])), True
    said = fields.get("date")
    if said is None or said == "":
        return now, False
    moment = said if isinstance(said, date) else datetime.fromisoformat(str(said))
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(6))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), True


def _shown(page: Page) -> list[str]:
    shown = markdown.local_pictures(page.draft.body, page.source)
    return [*shown, page.picture] if page.picture else shown


async def _write(connection: Any, page: Page, keys: Mapping[str, str]) -> int:
    """Insert a page, or replace what was imported from the same file; return its number."""
    draft = replace(page.draft, picture=keys.get(page.picture or ""))
    names = await articles.name(connection, draft, "news" if page.dated else "reference")
    number = await connection.fetchval(
        "UPDATE article SET title = $2, lede = $3, body = $4, section = $5, author = $6, "
        "picture = $7, caption = $8, updated = now(), revision = revision + 1 "
        "WHERE source = $1 RETURNING id",
        page.source,
        draft.title,
        draft.lede,
        draft.body,
        *names,
        draft.picture,
        draft.caption,
    )
    if number is None:
        number = await articles.insert(connection, draft, page.slug, page.source)
    return int(number)


def _wanted(path: str) -> bool:
    parts = PurePosixPath(path)
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts.parts)
    return not hidden and parts.suffix.lower() in _TEXTS | _PICTURES


def _members(data: bytes) -> Iterable[tuple[str, int, Any]]:
    """Yield name, size and a reader of each plain file. Raises NotImportableError."""
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        yield info.filename, info.file_size, lambda i=info: archive.read(i)
            return
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, member.size, lambda m=member: _extracted(tar, m)
    except (tarfile.TarError, zipfile.BadZipFile, RuntimeError, EOFError, OSError) as error:
        raise NotImportableError(f"That is no zip or tar archive: {error}.") from error


def _extracted(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file is not None else b""


def _without_common_folder(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the one folder that many archives put around everything."""
    tops = {path.split("/", 1)[0] for path in files}
    if len(tops) != 1 or any("/" not in path for path in files):
        return files
    return {path.split("/", 1)[1]: data for path, data in files.items()}
