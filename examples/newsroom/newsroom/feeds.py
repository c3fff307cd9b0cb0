"""What machines read: RSS 2.0, the sitemap, and what robots may visit."""

from __future__ import annotations

from email.utils import format_datetime
from xml.etree import ElementTree

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from newsroom import articles, site

RSS_ITEMS = 30
_ATOM = "http://www.w3.org/2005/Atom"
_SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
_CREATOR = "http://purl.org/dc/elements/1.1/"
ElementTree.register_namespace("atom", _ATOM)
ElementTree.register_namespace("dc", _CREATOR)


async def rss(request: Request) -> Response:
    """The newest stories as RSS. Source: the RSS 2.0 specification."""
    root = ElementTree.Element("rss", version="2.0")
    channel = ElementTree.SubElement(root, "channel")
    _text(channel, "title", site.NAME)
    _text(channel, "link", site.absolute(request, "front"))
    _text(channel, "description", site.MOTTO)
    _text(channel, "language", "en")
    here = site.absolute(request, "rss")
    attributes = {"href": here, "rel": "self", "type": "application/rss+xml"}
    ElementTree.SubElement(channel, f"{{{_ATOM}}}link", attributes)
    for story in await articles.latest(RSS_ITEMS):
        link = site.absolute(request, "article", slug=story["slug"])
        item = ElementTree.SubElement(channel, "item")
        _text(item, "title", story["title"])
        _text(item, "link", link)
        _text(item, "guid", link).set("isPermaLink", "true")
        _text(item, "description", story["lede"])
        _text(item, "category", story["section_name"])
        _text(item, f"{{{_CREATOR}}}creator", story["author_name"])
        _text(item, "pubDate", format_datetime(story["published"]))
    return _xml(root, "application/rss+xml")


async def sitemap(request: Request) -> Response:
    """Every published page. Source: sitemaps.org, protocol 0.9, at most 50,000 addresses."""
    root = ElementTree.Element("urlset", xmlns=_SITEMAP)
    _text(ElementTree.SubElement(root, "url"), "loc", site.absolute(request, "front"))
    for story in (await articles.published())[:49_999]:
        place = ElementTree.SubElement(root, "url")
        _text(place, "loc", site.absolute(request, "article", slug=story["slug"]))
        _text(place, "lastmod", f"{story['updated']:%Y-%m-%d}")
    return _xml(root, "application/xml")


async def robots(request: Request) -> Response:
    """Robots may read main; a branch is nobody's to index."""
    if site.branch(request) != "main":
        return PlainTextResponse("User-agent: *\nDisallow: /\n")
    lines = ("User-agent: *", f"Disallow: {site.path(request, 'editor')}")
    return PlainTextResponse("\n".join((*lines, f"Sitemap: {site.absolute(request, 'sitemap')}\n")))


def _text(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = "".join(letter for letter in text if letter >= " " or letter in "\t\n")
    return element


def _xml(root: ElementTree.Element, kind: str) -> Response:
    body = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return Response(body, media_type=kind, headers={"cache-control": "public, max-age=60"})


ROUTES = [
    Route("/feed.xml", rss, name="rss"),
    Route("/sitemap.xml", sitemap, name="sitemap"),
    Route("/robots.txt", robots, name="robots"),
]
