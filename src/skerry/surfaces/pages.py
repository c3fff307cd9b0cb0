"""The pages of the documentation: written by hand, or generated from the code as they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "_docs", _PACKAGE.parents[1] / "docs")
_HEADING = re.compile(r"^(#+) +(.+?) *#*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its path without suffix (`reference/errors`), and how to get its Markdown."""

    path: str
    text: Callable[[], str]

    @property
    def title(self) -> str:
        """The page's first heading."""
        found = _HEADING.search(self.text())
        return found[2] if found else self.path


@cache
def pages() -> dict[str, Page]:
    """Return every page by its path."""
    return {page.path: page for page in (*_written(), *_generated())}


def _written() -> Iterator[Page]:
    """Yield the pages that people wrote, from the wheel or from a checkout."""
    for root in [place for place in _PLACES if (place / "index.md").is_file()][:1]:
        for path in sorted(root.rglob("*.md")):
            yield Page(path.relative_to(root).with_suffix("").as_posix(), path.read_text)


def _generated() -> Iterator[Page]:
    from skerry.surfaces.docs import PAGES  # noqa: PLC0415 (imports every manifest)

    for name, make in PAGES.items():
        yield Page(f"reference/{name}", make)


def find(topic: str) -> Page | None:
    """Return a page by its path, or by the last part of it if that is one page's alone."""
    known = pages()
    wanted = topic.strip("/").removesuffix(".md")
    if wanted in known:
        return known[wanted]
    if f"{wanted}/index".lstrip("/") in known:
        return known[f"{wanted}/index".lstrip("/")]
    alike = [page for path, page in known.items() if path.rpartition("/")[2] == wanted]
    return alike[0] if len(alike) == 1 else None


def titles() -> dict[str, str]:
    """Return the titles of pages by path."""
    return {path: page.title for path, page in sorted(pages().items())}


def anchor(title: str) -> str:
    """Return the anchor of a heading, spelt as renderers of Markdown spell it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def section(text: str, heading: str) -> str:
    """Return the part of a page under a heading, or nothing if there is no such heading."""
    found = list(_HEADING.finditer(text))
    for number, each in enumerate(found):
        if anchor(each[2]) == heading.lower():
            below = found[number + 1 :]
            end = next((b.start() for b in below if len(b[1]) <= len(each[1])), len(text))
            return text[each.start() : end]
    return ""
