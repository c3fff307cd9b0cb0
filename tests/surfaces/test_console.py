"""The console: pages, who is let in, what forms may do, and what browsers are told."""

from __future__ import annotations

import hashlib
import re
import socket
import tomllib
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.surfaces.conftest import NOW, Served

from skerry.kernel.commands import BranchInfo
from skerry.surfaces.console.drawing import ROW, draw
from skerry.surfaces.console.security import local_path
from skerry.surfaces.sessions import CODE_SECONDS, SESSION_SECONDS, Sessions

CONSOLE = Path(__file__).parents[2] / "src" / "skerry" / "surfaces" / "console"
NO_HEADERS: Mapping[str, str] = {}
PAGES = [
    "/",
    "/apps/newsroom",
    "/apps/newsroom/pr-42",
    "/apps/newsroom/main/logs",
    "/apps/newsroom/main/resources/wall",
    "/apps/newsroom/usage",
    "/node",
    "/kinds",
    "/confirm/branch.delete?app=newsroom&name=pr-42&back=/apps/newsroom",
    "/docs",
    "/docs/reference/errors",
]


class Page(HTMLParser):
    """What is on a page, as far as rules need it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def browser(served: Served) -> Served:
    served.log_in()
    return served


def post(
    browser: Served, command: str, headers: Mapping[str, str] = NO_HEADERS, /, **fields: str
) -> int:
    body = urlencode({"csrf": browser.csrf(), **fields})
    return browser.ask("POST", f"/do/{command}", body, **headers).status


# ---- who is let in ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in PAGES if not path.startswith("/docs")])
def test_pages_want_a_login(served: Served, path: str) -> None:
    answer = served.ask("GET", path)
    assert answer.status == 303
    assert answer.headers["location"].startswith("/login")
    assert not served.node.calls


def test_feeds_and_forms_want_a_login(served: Served) -> None:
    assert served.ask("GET", "/live/node").status == 401
    assert served.ask("POST", "/do/node.stop", "").status == 401
    served.cookie = "skerry-session-80=guessed"
    assert served.ask("POST", "/do/node.stop", "").status == 401
    assert not served.node.calls


def test_the_token_logs_in(served: Served) -> None:
    form = urlencode({"token": served.node.home.token(), "next": "/node"})
    answer = served.ask("POST", "/login", form)
    assert (answer.status, answer.headers["location"]) == (303, "/node")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    refused = served.ask("POST", "/login", urlencode({"token": "skn_wrong"}))
    assert refused.status == 401
    assert "set-cookie" not in refused.headers
    assert served.ask("GET", f"/login?token={served.node.home.token()}").status == 200


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "", "/a\r\nX: y"]
)
def test_a_login_leads_nowhere_else(path: str) -> None:
    assert local_path(path) == "/"


def test_logging_out_ends_the_session(browser: Served) -> None:
    token = browser.csrf()
    assert browser.ask("POST", "/logout", urlencode({"csrf": "x"})).status == 403
    assert browser.ask("GET", "/").status == 200
    assert browser.ask("POST", "/logout", urlencode({"csrf": token})).status == 303
    assert browser.ask("GET", "/").status == 303


# ---- pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_pages_keep_the_rules(browser: Served, path: str) -> None:
    answer = browser.ask("GET", path)
    assert answer.status == 200, answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    page = Page(answer.text)
    assert all(script.get("src") for script in page.named("script")), "no script in the page"
    assert not page.named("style")
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        address = attributes.get("src") or ""
        assert not address.startswith(("http:", "https:", "//")), "nothing is fetched elsewhere"
    assert "skerry " in answer.text
    assert "The same on the command line" in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_accessible(browser: Served, path: str) -> None:
    page = Page(browser.ask("GET", path).text)
    assert len(page.named("h1")) == 1
    assert page.named("html")[0]["lang"] == "en"
    assert all("alt" in image for image in page.named("img"))
    assert all("scope" in head for head in page.named("th")) or path.startswith("/docs")
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    references = [value for _, each in page.tags if (value := each.get("aria-labelledby"))]
    assert set(references) <= set(ids)


def test_state_is_a_word(browser: Served) -> None:
    text = browser.ask("GET", "/apps/newsroom").text
    assert "asleep" in text
    assert "awake" in text


def test_text_of_apps_is_escaped(browser: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = [BranchInfo("newsroom", "main", None, 'x"><script>alert(1)</script>', 1, NOW, True)]
    monkeypatch.setattr(browser.node, "branches", evil)
    text = browser.ask("GET", "/apps/newsroom").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_no_apps_tells_what_to_run(browser: Served) -> None:
    browser.node.apps.clear()
    text = browser.ask("GET", "/").text
    assert "No apps yet" in text
    assert "skerry init myapp" in text


def test_errors_are_pages(browser: Served) -> None:
    answer = browser.ask("GET", "/apps/newsrom")
    assert answer.status == 404
    assert "Did you mean newsroom?" in answer.text
    assert "content-security-policy" in answer.headers
    assert browser.ask("GET", "/nowhere").status == 404
    assert browser.ask("GET", "/static/../application.py").status == 404


def test_docs_have_an_anchor_for_every_error(served: Served) -> None:
    text = served.ask("GET", "/docs/reference/errors").text
    assert 'id="node_unreachable"' in text
    assert served.ask("GET", "/docs/nothing").status == 404


def test_words_of_kinds_are_forms(browser: Served) -> None:
    page = Page(browser.ask("GET", "/apps/newsroom/main/resources/wall").text)
    names = {each.get("name") for each in [*page.named("input"), *page.named("textarea")]}
    assert {"param-key", "param-value", "param-tags", "param-times"} <= names


# ---- forms ------------------------------------------------------------------------------------


def test_a_form_carries_a_command_out(browser: Served) -> None:
    place = {"app": "newsroom", "source": "main", "back": "/apps/newsroom"}
    assert post(browser, "branch.create", name="pr-7", **place) == 303
    (_, params, principal) = next(x for x in browser.node.calls if x[0] == "branch.create")
    assert (params.name, params.source, params.at, principal) == ("pr-7", "main", None, "operator")
    assert "pr-7 is ready in 31 ms" in browser.ask("GET", "/apps/newsroom").text
    assert "pr-7 is ready" not in browser.ask("GET", "/apps/newsroom").text


def test_a_failure_is_told(browser: Served) -> None:
    assert post(browser, "branch.delete", name="main", app="newsroom") == 303
    assert "main cannot be deleted." in browser.ask("GET", "/").text


def test_a_word_answers_with_a_page(browser: Served) -> None:
    fields = {"param-key": "k", "param-value": "vv", "param-tags": "a\nb", "param-times": "3"}
    place = {"name": "wall", "app": "newsroom", "branch": "main"}
    body = urlencode({"csrf": browser.csrf(), **fields, **place})
    answer = browser.ask("POST", "/do/notes.put", body)
    assert answer.status == 200
    assert "6 B" in answer.text
    call = browser.node.calls[-1][1]
    assert call.params == {"key": "k", "value": "vv", "tags": ("a", "b"), "times": 3}


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://evil.localhost"},
        {"Origin": "null"},
    ],
)
def test_forms_of_other_sites_are_refused(browser: Served, headers: dict[str, str]) -> None:
    assert post(browser, "node.stop", headers) == 403
    assert "node.stop" not in [name for name, _, _ in browser.node.calls]


@pytest.mark.parametrize("token", ["", "0" * 48, "\xe9"])
def test_forms_without_the_token_are_refused(browser: Served, token: str) -> None:
    body = urlencode({"csrf": token})
    assert browser.ask("POST", "/do/node.stop", body).status == 403
    assert browser.ask("POST", "/do/node.stop", "").status == 403
    assert "node.stop" not in [name for name, _, _ in browser.node.calls]


def test_forms_are_limited(browser: Served) -> None:
    assert browser.ask("POST", "/do/node.stop", "x" * (1 << 19)).status == 413


def test_nothing_is_changed_by_a_link(browser: Served) -> None:
    assert browser.ask("GET", "/do/node.stop").status == 404
    assert browser.ask("GET", "/confirm/node.logs?app=newsroom").status == 404


# ---- live -------------------------------------------------------------------------------------


def read_feed(browser: Served, path: str, until: bytes) -> bytes:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(browser.node.home.socket))
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {browser.cookie}\r\n\r\n"
    client.sendall(head.encode())
    found = b""
    with client:
        while until not in found:
            chunk = client.recv(65536)
            assert chunk, found
            found += chunk
    return found


def test_the_tree_is_live(browser: Served) -> None:
    found = read_feed(browser, "/live/apps/newsroom/main", b"\n\n")
    assert b"text/event-stream" in found
    assert b"data: " in found
    assert b"pr-42-fix" in read_feed(browser, "/live/apps/newsroom/main", b"pr-42-fix")


def test_logs_are_live_and_escaped(browser: Served) -> None:
    found = read_feed(browser, "/live/logs/newsroom/main", b"boom")
    assert b"GET /stories/0 200" in found
    found = read_feed(browser, "/live/logs/newsroom/main", b"boom \xef\xbf\xbd[31m&lt;b&gt;")
    assert b"<b>" not in found


# ---- parts ------------------------------------------------------------------------------------


class StillClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> int:
        return NOW

    def monotonic(self) -> float:
        return self.seconds


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def bytes(self, count: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(count, "big")


def test_codes_work_once_and_for_a_minute() -> None:
    clock = StillClock()
    sessions = Sessions(clock, Counter())
    code = sessions.one_time_code("ada")
    assert sessions.redeem(code) == "ada"
    assert sessions.redeem(code) is None
    late = sessions.one_time_code("ada")
    clock.seconds += CODE_SECONDS + 1
    assert sessions.redeem(late) is None


def test_sessions_end_and_do_not_pile_up() -> None:
    clock = StillClock()
    sessions = Sessions(clock, Counter())
    first = sessions.open("ada")
    for _ in range(2000):
        sessions.one_time_code("ada")
        last = sessions.open("ada")
    assert sessions.find(first) is None
    assert sessions.find(last) is not None
    clock.seconds += SESSION_SECONDS + 1
    assert sessions.find(last) is None


def test_the_drawing_puts_children_below_their_parents() -> None:
    tree = [
        BranchInfo("a", name, parent, "", 1, NOW, False)
        for name, parent in [("b", "main"), ("main", None), ("c", "b"), ("lost", "gone")]
    ]
    found = draw(tree)
    assert [point.branch.name for point in found.points] == ["main", "b", "c", "lost"]
    assert [point.y for point in found.points] == [ROW // 2 + ROW * row for row in range(4)]
    xs = [point.x for point in found.points]
    assert xs[0] == xs[3] < xs[1] < xs[2]
    assert len(found.lines) == 2
    assert found.height == 4 * ROW


def test_the_row_is_as_high_as_the_style_sheet_says() -> None:
    assert f"--row: {ROW}px" in (CONSOLE / "static" / "console.css").read_text()


def test_vendored_files_are_those_of_the_lock() -> None:
    folder = CONSOLE / "vendor"
    locked = tomllib.loads((folder / "vendor.lock").read_text())["file"]
    assert {each["file"] for each in locked} == {
        path.name for path in folder.iterdir() if path.name != "vendor.lock"
    }
    for each in locked:
        data = (folder / each["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == each["sha256"], each["file"]


def test_the_style_keeps_its_contrast() -> None:
    """WCAG AA: 4.5 to 1 for text, in both colour schemes."""
    text = (CONSOLE / "static" / "console.css").read_text()
    for block in re.findall(r":root \{(.*?)\}", text, re.DOTALL):
        color = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for ink in ("ink", "soft", "accent", "danger", "warn"):
            for paper in ("paper", "panel"):
                assert contrast(color[ink], color[paper]) >= 4.5, (ink, paper)
        assert contrast(color["on-accent"], color["accent"]) >= 4.5


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
