"""Markdown to HTML. Raw HTML is shown as text; links between imported files find their pages."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from newsroom import articles, pictures
from newsroom.articles import slugify

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//|#")
_PICTURE = "picture:"
_markdown = MarkdownIt("commonmark", {"html": False, "typographer": True}).enable(
    ["table", "strikethrough", "smartquotes", "replacements"]
)


@dataclass(frozen=True, slots=True)
class Urls:
    """How articles, by their slugs, and pictures, by their keys, are reached."""

    article: Callable[[str], str]
    picture: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Found:
    """What the relative links of a text lead to."""

    articles: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)


async def render(text: str, urls: Urls, source: str | None = None) -> Markup:
    """Return a text as HTML; `source` is the file that relative links are relative to."""
    tokens = _markdown.parse(text)
    paths = sorted({path for token in _links(tokens) for path in [_path(token, source)] if path})
    found = _Found()
    if paths:
        found = _Found(await articles.sources(paths), await pictures.sources(paths))
    for token in _links(tokens):
        _resolve(token, source, urls, found)
    _name_headings(tokens)
    return Markup(_markdown.renderer.render(tokens, _markdown.options, {}))  # noqa: S704 - no HTML


def summary(text: str, length: int = 220) -> str:
    """Return the first paragraph as plain text, cut at a word."""
    tokens = _markdown.parse(text)
    for before, token in pairwise(tokens):
        if before.type == "paragraph_open" and before.level == 0:
            plain = " ".join(_plain(token).split())
            if len(plain) > length:
                plain = plain[:length].rsplit(" ", 1)[0].rstrip(",;:") + " …"
            if plain:
                return plain
    return ""


def title(text: str) -> tuple[str, str]:
    """Return the first heading if the text begins with one, and the text without it."""
    tokens = _markdown.parse(text)
    if len(tokens) < 3 or tokens[0].type != "heading_open" or tokens[0].map is None:
        return "", text
    lines = text.splitlines()
    return _plain(tokens[1]), "\n".join(lines[tokens[0].map[1] :]).strip("\n")


def local_pictures(text: str, source: str) -> list[str]:
    """Return the files of the pictures that a text shows."""
    images = [token for token in _links(_markdown.parse(text)) if token.type == "image"]
    return [path for token in images for path in [_path(token, source)] if path]


def _plain(inline: Token) -> str:
    parts = []
    for token in inline.children or []:
        if token.type in ("text", "code_inline", "image"):
            parts.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return "".join(parts)


def _links(tokens: list[Token]) -> list[Token]:
    found = []
    for token in tokens:
        for child in token.children or []:
            if child.type in ("link_open", "image"):
                found.append(child)
            found += _links(child.children or [])
    return found


def _attribute(token: Token) -> str:
    return "src" if token.type == "image" else "href"


def _path(token: Token, source: str | None) -> str | None:
    """Return the imported file that a relative link names."""
    target = unquote(str(token.attrs.get(_attribute(token), ""))).partition("#")[0]
    if source is None or not target or _SCHEME.match(target) or target.startswith("/"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _resolve(token: Token, source: str | None, urls: Urls, found: _Found) -> None:
    name = _attribute(token)
    target = str(token.attrs.get(name, ""))
    path = _path(token, source)
    if target.startswith(_PICTURE):
        token.attrs[name] = urls.picture(target.removeprefix(_PICTURE))
    elif path is not None:
        slug = found.articles.get(path) or found.articles.get(f"{path}/index.md")
        _, mark, anchor = target.partition("#")
        if path in found.pictures:
            token.attrs[name] = urls.picture(found.pictures[path])
        elif slug is not None:
            token.attrs[name] = urls.article(slug) + mark + anchor
    if token.type == "image":
        token.attrs["loading"] = "lazy"
    elif re.match(r"https?:", target):
        token.attrs["rel"] = "noopener nofollow"


def _name_headings(tokens: list[Token]) -> None:
    """Give every heading an id; the page's own title is the only h1."""
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            token.attrs["id"] = slugify(_plain(inline), "part")
        if token.type in ("heading_open", "heading_close") and token.tag == "h1":
            token.tag = "h2"
