"""Serves the documentation, which everybody may read: it holds nothing of this node."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, RedirectResponse, Response

from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.names import did_you_mean
from skerry.surfaces import pages
from skerry.surfaces.console.templates import Templates
from skerry.surfaces.console.visit import Visit

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT = "index"


async def documents(visit: Visit) -> Response:
    """Show a page."""
    path = visit.word("page").strip("/")
    if path.endswith(".md"):
        return RedirectResponse(f"/docs/{path.removesuffix('.md')}", status_code=308)
    known = pages.pages()
    found = known.get(path or _FRONT) or known.get(f"{path}/{_FRONT}")
    if found is None:
        raise NOT_FOUND(f"There is no page {path[:80]}.", why=did_you_mean(path[:80], known))
    body = Templates(visit.node).render(
        "docs.html",
        visit,
        title=found.title,
        html=to_html(found.path),
        contents=_contents(),
        page=found.path,
        cli=[f"skerry docs {found.path}"],
    )
    return HTMLResponse(body)


@cache
def _contents() -> dict[str, list[tuple[str, str]]]:
    """Return the pages by their folder."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path, title in pages.titles().items():
        folder, _, name = path.rpartition("/")
        if folder and name != _FRONT:
            found.setdefault(folder, []).append((path, title))
    return found


@cache
def to_html(path: str) -> str:
    """Return a page as HTML; HTML in its Markdown is shown as text."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 (only where documents are read)

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = pages.pages()[path].text().partition("-->\n")
    tokens = markdown.parse(text[2] if text[0].startswith("<!--") else "".join(text))
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", pages.anchor(tokens[number + 1].content))
        _point_links(token, path)
    rendered: str = markdown.renderer.render(tokens, markdown.options, {})
    return rendered


def _point_links(token: Token, path: str) -> None:
    """Make links between Markdown files lead to the pages that are served."""
    for child in [token, *(token.children or [])]:
        target = str(child.attrGet("href") or "")
        if child.type == "link_open" and ".md" in target and ":" not in target:
            child.attrSet("href", resolve(path, target))


def resolve(page: str, target: str) -> str:
    """Return the address of a link to another Markdown file."""
    file, hash_sign, heading = target.partition("#")
    parts: list[Any] = page.split("/")[:-1]
    for part in file.removesuffix(".md").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return f"/docs/{'/'.join(parts)}{hash_sign}{heading}"
