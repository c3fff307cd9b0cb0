"""The newsroom example on a real node: everything a reader and an editor do, over HTTP."""

from __future__ import annotations

import asyncio
import html
import http.client
import importlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
import pytest_asyncio
from tests.clients import browser as chromium

from skerry.app import kinds
from skerry.kernel import commands as c
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node
from skerry.surfaces.web import make_web
from skerry.testing.nodes import perform, running_node

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "newsroom"
PASSWORD = "sill & potatis"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) + b"\r\n--not-the-boundary\r\n"


def pack(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.add(path, arcname=path.relative_to(folder).as_posix())
    return buffer.getvalue()


async def deploy(node: Node) -> c.Deployed:
    async def chunks() -> AsyncIterator[bytes]:
        yield pack(EXAMPLE)

    upload = await node.archives.receive(chunks())
    deployed = await perform(node, "app.deploy", upload=upload, branch="main")
    assert isinstance(deployed, c.Deployed)
    return deployed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    async with running_node(kinds(), make_api=lambda node: make_web(Dispatcher(node))) as node:
        await deploy(node)
        await perform(node, "secret.set", app="newsroom", name="EDITOR_PASSWORD", value=PASSWORD)
        await deploy(node)
        yield node


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Browser:
    """A browser as far as it is needed: cookies, redirects, the hidden code of forms."""

    port: int
    prefix: str = "/@newsroom/main"
    host: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return await asyncio.to_thread(self._send, method, path, body, headers or {})

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"cookie": "; ".join(f"{name}={text}" for name, text in self.cookies.items())}
        sent |= {"host": self.host or f"127.0.0.1:{self.port}"} | dict(headers)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            for line in answer.headers.get_all("set-cookie", []):
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
                assert "HttpOnly" in line
                assert "samesite=lax" in line.lower()
                assert f"Path={self.prefix or '/'}" in line.split("; ")
            return Answer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    async def get(self, path: str) -> Answer:
        return await self.send("GET", self.prefix + path)

    async def page(self, path: str) -> str:
        answer = await self.get(path)
        assert answer.status == 200, answer.text[:500]
        return answer.text

    async def post(self, path: str, page: str | None = None, **fields: str) -> Answer:
        """Fill in the form that stands on a page, by default under the same address."""
        fields["csrf"] = await self.code(page or path)
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return await self.send("POST", self.prefix + path, urlencode(fields).encode(), kind)

    async def upload(self, path: str, name: str, filename: str, data: bytes, **fields: str) -> str:
        """Send a file with a form; return the page that is shown then."""
        fields["csrf"] = await self.code(path)
        line = "form-data; name="
        parts = [
            f'--XyZ\r\ncontent-disposition: {line}"{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in fields.items()
        ]
        head = f'--XyZ\r\ncontent-disposition: {line}"{name}"; filename="{filename}"\r\n\r\n'
        body = b"".join((*parts, head.encode(), data, b"\r\n--XyZ--\r\n"))
        kind = {"content-type": "multipart/form-data; boundary=XyZ"}
        answer = await self.send("POST", self.prefix + path, body, kind)
        return await self.page(path) if answer.status == 303 else answer.text

    async def code(self, path: str) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', await self.page(path))
        assert found is not None
        return found[1]

    async def log_in(self) -> None:
        answer = await self.post("/editor/login", password=PASSWORD)
        assert answer.status == 303


@pytest_asyncio.fixture(loop_scope="module")
async def reader(node: Node) -> Browser:
    return Browser(node.http_port)


@pytest_asyncio.fixture(loop_scope="module")
async def editor(node: Node) -> Browser:
    browser = Browser(node.http_port)
    await browser.log_in()
    return browser


def links(page: str) -> set[str]:
    found = re.findall(r'(?:href|src|action)="([^"#]+)"', page)
    return {html.unescape(link) for link in found if not link.startswith("http")}


async def write(editor: Browser, title: str, body: str, action: str = "publish") -> str:
    """Write an article; return the path of its page in the editor."""
    fields = {"title": title, "lede": f"About {title}", "section": "Test", "author": "A. Tester"}
    answer = await editor.post("/editor/new", body=body, action=action, **fields)
    assert answer.status == 303, answer.text[:500]
    return answer.headers["location"].removeprefix(editor.prefix).partition("?")[0]


# ---- readers ----------------------------------------------------------------------------------


async def test_the_front_page_and_everything_it_links_to_works(reader: Browser) -> None:
    front = await reader.page("/")
    assert "The Ytterhamn Lantern" in front
    assert "is a branch" not in front
    found = links(front)
    assert all(link.startswith("/@newsroom/main/") for link in found)
    assert len(found) > 20
    for link in found:
        answer = await reader.send("GET", link)
        assert answer.status in (200, 303), link
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_works_at_the_root_of_a_host_too(node: Node) -> None:
    browser = Browser(node.http_port, "", "newsroom.localhost")
    front = await browser.page("/")
    assert not any(link.startswith("/@") for link in links(front))
    article = await browser.page("/article/crooked-bridge")
    assert "stays\nas it is, which is to say that it leans" in article


async def test_pictures_come_from_the_bucket(reader: Browser) -> None:
    page = await reader.page("/article/night-ferry-bell")
    found = re.search(r'src="([^"]+/picture/[^"]+)"', page)
    assert found is not None
    answer = await reader.send("GET", found[1])
    source = EXAMPLE / "content" / "pictures" / "night-ferry.svg"
    assert answer.body == source.read_bytes()
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"].endswith("sandbox")
    again = await reader.send("GET", found[1], headers={"if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


async def test_search_finds_beginnings_and_other_spellings(reader: Browser) -> None:
    page = await reader.page("/find?q=akesson")
    assert "/article/crooked-bridge" in page
    assert "<mark>Åkesson</mark>" in page
    assert "/article/seals-by-kayak" in await reader.page("/find?q=green+kaya")
    for odd in ("%22", "NEAR(", "a+AND", "%00*", "title%3A"):
        assert "pages found" in (await reader.page(f"/find?q={odd}")).replace("1 page ", "1 pages ")


async def test_views_are_counted_and_rank_the_stories(reader: Browser) -> None:
    for _ in range(3):
        await reader.page("/article/three-flags")
    await asyncio.sleep(1.3)
    front = await reader.page("/")
    ranks = front.partition("Most read")[2].partition("</ol>")[0]
    assert "/article/three-flags" in ranks
    assert "readers" in ranks


async def test_unknown_pages_say_so(reader: Browser) -> None:
    for path in ("/nothing", "/article/none", "/picture/none", "/section/none", "/author/none"):
        answer = await reader.get(path)
        assert (answer.status, "To the front page" in answer.text) == (404, True)


async def test_the_feed_and_the_sitemap_are_xml_with_whole_addresses(reader: Browser) -> None:
    base = f"http://127.0.0.1:{reader.port}/@newsroom/main"
    feed = ElementTree.fromstring((await reader.get("/feed.xml")).body)
    channel = feed.find("channel")
    assert channel is not None
    assert channel.findtext("link") == f"{base}/"
    items = channel.findall("item")
    assert len(items) >= 9
    for item in items:
        link = item.findtext("link") or ""
        assert link.startswith(f"{base}/article/")
        assert item.findtext("guid") == link
        assert item.findtext("pubDate", "").endswith("+0000")
    sitemap = ElementTree.fromstring((await reader.get("/sitemap.xml")).body)
    places = {element.text for element in sitemap.iter() if element.tag.endswith("loc")}
    assert f"{base}/article/herring-auction" in places
    assert "Sitemap:" in await reader.page("/robots.txt")


async def test_the_machine_room_charts_samples(node: Node, reader: Browser) -> None:
    before = int(re.findall(r"(\d+) samples", await reader.page("/machine"))[0])
    await asyncio.sleep(1.1)
    assert (await reader.post("/machine/sample", "/machine")).status == 303
    await asyncio.sleep(1.1)
    await perform(node, "functions.trigger", app="newsroom", branch="main", name="web")
    for span in ("hour", "day", "week", "nonsense"):
        page = await reader.page(f"/machine?span={span}")
        charts = re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL)
        assert len(charts) == 4
        for chart in charts:
            ElementTree.fromstring(chart)
        assert int(re.findall(r"(\d+) samples", page)[0]) >= before + 2
        assert re.search(r'aria-label="Memory: \d+% now', page)


async def test_an_axis_has_room_for_a_great_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    charts = importlib.import_module("newsroom.charts")
    now = datetime.now(UTC)
    for load, rules in ((0.7, ["0%", "50%", "100%"]), (29.16, ["0\u00d7", "15\u00d7", "29\u00d7"])):
        drawn = charts.line_chart("Load", [charts.Point(now, load)], now, timedelta(hours=1))
        assert re.findall(r'text-anchor="end">([^<:]*)</text>', drawn)[:3] == rules


# ---- letters ----------------------------------------------------------------------------------


async def test_a_letter_is_printed_once_the_editor_has_read_it(
    reader: Browser, editor: Browser
) -> None:
    path = "/article/library-at-six"
    letter = "Is there <b>tea</b> as well?\r\n\r\nAsks the baker"
    answer = await reader.post(f"{path}/comments", path, name="S. <i>Haddad", body=letter)
    assert answer.status == 303
    assert "waits for the editor" in await reader.page(f"{path}?comment=waiting")
    assert "tea" not in await reader.page(path)

    desk = await editor.page("/editor/comments")
    number = re.findall(r'name="comment" value="(\d+)"', desk.partition("tea")[2])[0]
    await editor.post("/editor/comments", comment=number, status="shown")
    page = await reader.page(path)
    assert "Is there &lt;b&gt;tea&lt;/b&gt; as well?" in page
    assert "S. &lt;i&gt;Haddad" in page
    await editor.post("/editor/comments", comment=number, status="hidden")
    assert "tea" not in await reader.page(path)


async def test_letters_need_a_form_of_this_site(reader: Browser) -> None:
    path = f"{reader.prefix}/article/asleep/comments"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    stranger = Browser(reader.port)
    body = urlencode({"name": "x", "body": "y", "csrf": await reader.code("/article/asleep")})
    assert (await stranger.send("POST", path, body.encode(), kind)).status == 403
    foreign = {**kind, "sec-fetch-site": "cross-site"}
    assert (await reader.send("POST", path, body.encode(), foreign)).status == 403
    assert (await reader.send("POST", path, b"x" * 300_000, kind)).status == 413
    assert (await reader.send("POST", path, b"{}", {"content-type": "text/json"})).status == 415
    empty = await reader.post("/article/asleep/comments", "/article/asleep", name=" ", body="y")
    assert empty.headers["location"].endswith("?comment=empty#comments")
    robot = {"name": "x", "body": "y", "website": "spam"}
    answer = await reader.post("/article/asleep/comments", "/article/asleep", **robot)
    assert "comment=waiting" in answer.headers["location"]


# ---- the editor -------------------------------------------------------------------------------


async def test_strangers_do_not_reach_the_desk(reader: Browser) -> None:
    for path in ("/editor", "/editor/new", "/editor/pictures", "/editor/comments"):
        answer = await reader.get(path)
        assert (answer.status, answer.headers["location"]) == (303, "/@newsroom/main/editor/login")
    answer = await reader.post("/editor/new", "/editor/login", title="Mine", body="x")
    assert answer.status == 403


async def test_the_password_cannot_be_guessed_for_long(node: Node) -> None:
    await perform(node, "branch.create", app="newsroom", name="guessed")
    guesser = Browser(node.http_port, "/@newsroom/guessed")
    for attempt in range(5):
        answer = await guesser.post("/editor/login", password=f"guess {attempt}")
        assert answer.status == 403
    body = urlencode({"password": PASSWORD, "csrf": await guesser.code("/editor/login")}).encode()
    kind = {"content-type": "application/x-www-form-urlencoded", "x-forwarded-for": "192.0.2.7"}
    answer = await guesser.send("POST", f"{guesser.prefix}/editor/login", body, kind)
    assert answer.status == 429, "a client must not choose the address that it is counted by"
    await Browser(node.http_port).log_in()


async def test_an_article_from_draft_to_print_and_back(reader: Browser, editor: Browser) -> None:
    body = 'A *draft* <script>alert("x")</script> [bad](javascript:alert) about a **lutefisk**.'
    place = await write(editor, "Lutefisk & son", body, "save")
    assert (await reader.get("/article/lutefisk-son")).status == 404
    assert "Draft" in await editor.page("/article/lutefisk-son")
    assert "0 pages" in await reader.page("/find?q=lutefisk")

    page = await editor.page(place)
    revision = re.findall(r'name="revision" value="(\d+)"', page)[0]
    said = {"title": "Lutefisk & daughter", "body": body, "section": "Test", "author": "A. Tester"}
    published = await editor.post(place, action="publish", revision=revision, **said)
    assert published.status == 303
    shown = await reader.page("/article/lutefisk-son")
    assert "<h1>Lutefisk &amp; daughter</h1>" in shown
    assert "<strong>lutefisk</strong>" in shown
    assert "&lt;script&gt;" in shown
    assert "javascript:" not in re.sub(r"\[bad\]\(javascript:alert\)", "", shown)
    assert "/article/lutefisk-son" in await reader.page("/find?q=lutefisk")
    assert "Lutefisk &amp; daughter" in (await reader.get("/feed.xml")).text

    late = await editor.post(place, action="save", revision=revision, **said)
    assert (late.status, "changed this article meanwhile" in late.text) == (409, True)

    revision = re.findall(r'name="revision" value="(\d+)"', await editor.page(place))[0]
    await editor.post(place, action="unpublish", revision=revision, **said)
    assert (await reader.get("/article/lutefisk-son")).status == 404
    assert "0 pages" in await reader.page("/find?q=lutefisk")
    await editor.post(f"{place}/delete", place)
    assert (await editor.get("/article/lutefisk-son")).status == 404


async def test_the_preview_shows_what_would_be_printed(editor: Browser) -> None:
    answer = await editor.post("/editor/preview", "/editor/new", title="Hej", body="# One\n\n*two*")
    assert answer.status == 200
    assert '<h2 id="one">One</h2>' in answer.text
    assert "<em>two</em>" in answer.text


async def test_a_picture_is_kept_as_it_was_sent(editor: Browser, reader: Browser) -> None:
    page = await editor.upload("/editor/pictures", "picture", "../Sill på bordet.png", PNG)
    key = re.findall(r"picture:([0-9a-f]{16}-sill-pa-bordet\.png)", page)[0]
    answer = await reader.get(f"/picture/{key}")
    assert (answer.body, answer.headers["content-type"]) == (PNG, "image/png")
    await write(editor, "With a picture", f"![Herring](picture:{key})")
    assert f'src="/@newsroom/main/picture/{key}"' in await reader.page("/article/with-a-picture")

    refused = await editor.upload("/editor/pictures", "picture", "x.png", b"<html>no picture")
    assert "A picture is a PNG" in refused
    refused = await editor.upload("/editor/pictures", "picture", "x.png", PNG + bytes(6 << 20))
    assert "At most" in refused


# ---- imports ----------------------------------------------------------------------------------


async def test_a_folder_of_markdown_becomes_a_section(editor: Browser, reader: Browser) -> None:
    files = {
        "notes/index.md": b"# My notes\n\nBegin with [boats](deep/boats.md#sails).\n",
        "notes/deep/boats.md": b"# Boats\n\n![A boat](../a%20boat.png)\n\n## Sails\n\n[up](../)",
        "notes/a boat.png": PNG + b"boat",
        "notes/.git/config.md": b"hidden",
        "notes/latin.md": b"\xff\xfe",
        "notes/dated.md": b'---\ntitle: "News: dated"\ndate: 2020-02-03\nsection: Old\n---\nText.',
        "notes/../../evil.md": b"outside",
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for name, data in files.items():
            target.writestr(name, data)
    page = await editor.upload(
        "/editor/import", "archive", "notes.zip", archive.getvalue(), section="My notes"
    )
    assert "3 articles and 1 pictures are in the paper" in page
    assert "latin.md: " in page
    contents = await reader.page("/section/my-notes")
    assert contents.index(">My notes</a>") < contents.index(">Boats</a>")
    assert 'href="/@newsroom/main/article/boats#sails"' in await reader.page("/article/my-notes")
    boats = await reader.page("/article/boats")
    picture = re.findall(r'src="/@newsroom/main(/picture/[^"]+)"', boats)[0]
    assert (await reader.get(picture)).body == PNG + b"boat"
    assert '<h2 id="sails">Sails</h2>' in boats
    assert "3 February 2020" in await reader.page("/article/dated")
    assert "/article/boats" in await reader.page("/find?q=sails")


async def test_a_program_imports_the_docs_again_and_nothing_is_doubled(reader: Browser) -> None:
    docs = EXAMPLE.parents[1] / "docs"
    environment = {"EDITOR_PASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"}
    command = ["import_folder.py", str(docs), "--section", "Handbook", "--to"]
    command.append(f"http://127.0.0.1:{reader.port}/@newsroom/main/")
    pages = len(list(docs.rglob("*.md")))
    assert (await reader.page("/section/handbook")).count("/article/") == pages
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            "python3", *command, cwd=EXAMPLE, env=environment, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        assert f"{pages} articles" in said.decode()
    contents = await reader.page("/section/handbook")
    assert contents.count("/article/") == pages


async def test_an_import_needs_the_password_and_an_archive(reader: Browser) -> None:
    path = f"{reader.prefix}/editor/import"
    wrong = await reader.send("POST", path, b"x", {"authorization": "Bearer nonsense"})
    assert (wrong.status, "error" in json.loads(wrong.body)) == (403, True)
    right = {"authorization": f"Bearer {PASSWORD}"}
    refused = await reader.send("POST", path, b"no archive", right)
    assert (refused.status, "archive" in json.loads(refused.body)["error"]) == (400, True)


# ---- branches ---------------------------------------------------------------------------------


async def test_a_branch_is_a_copy_and_writes_do_not_cross(node: Node, editor: Browser) -> None:
    await write(editor, "Before the branch", "Everybody has read this.")
    await perform(node, "branch.create", app="newsroom", name="pr-42")
    copy = Browser(node.http_port, "/@newsroom/pr-42")
    front = await copy.page("/")
    assert "<strong>pr-42</strong> is a branch" in front
    assert 'content="noindex"' in front
    assert "Everybody has read" in await copy.page("/article/before-the-branch")
    assert "/article/before-the-branch" in await copy.page("/find?q=everybody")
    assert (await copy.get("/robots.txt")).text.endswith("Disallow: /\n")
    picture = re.findall(r'src="/@newsroom/pr-42(/picture/[^"]+)"', front)[0]
    assert (await copy.get(picture)).status == 200

    await copy.log_in()
    await write(copy, "Only on the branch", "Quetzalcoatl")
    await copy.upload("/editor/pictures", "picture", "branch.png", PNG + b"branch")
    await write(editor, "Only on main", "Huitzilopochtli")
    for browser, own, other in ((copy, "branch", "main"), (editor, "main", "branch")):
        article = "only-on-the-branch" if own == "branch" else "only-on-main"
        foreign = "only-on-main" if own == "branch" else "only-on-the-branch"
        assert (await browser.get(f"/article/{article}")).status == 200
        assert (await browser.get(f"/article/{foreign}")).status == 404, other
    assert "0 pages" in await editor.page("/find?q=quetzalcoatl")
    assert "0 pages" in await copy.page("/find?q=huitzilopochtli")
    assert "branch.png" not in await editor.page("/editor/pictures")


async def test_the_paper_survives_sleep(node: Node, editor: Browser) -> None:
    await write(editor, "Before the sleep", "Good night.")
    await perform(node, "branch.sleep", app="newsroom", branch="main")
    assert "Good night" in await editor.page("/article/before-the-sleep")
    assert "/article/before-the-sleep" in await editor.page("/find?q=night")
    assert "Desk" in await editor.page("/editor"), "the session is there still"


@pytest.mark.skipif(
    chromium.PROGRAM is None,
    reason="NOT TESTED: there is no Chromium here (Debian's package chromium)",
)
async def test_a_real_browser_shows_the_paper_and_the_console(node: Node) -> None:
    await asyncio.to_thread(browse, node)


def browse(node: Node) -> None:
    """Read the paper on a phone, then log in to the console and look at the app."""
    with chromium.browsing() as tab:
        tab.as_phone(390)
        tab.open(node.url_of("newsroom", "main"))
        assert tab.value("document.querySelectorAll('article, .story, main a').length") > 3
        assert tab.value("document.scrollingElement.scrollWidth") <= 390
        tab.submit("form.find", q="branch")
        assert "branch" in tab.value("document.querySelector('main').innerText").lower()
        tab.open(f"{node.url}/apps/newsroom")
        assert tab.value("location.pathname") == "/login"
        tab.submit("form[action='/login']", token=node.home.token())
        assert tab.value("location.pathname") == "/apps/newsroom"
        shown = tab.value("document.body.innerText")
        assert "main" in shown and "newsroom" in shown
        assert tab.value("document.scrollingElement.scrollWidth") <= 390
        assert not tab.complaints
