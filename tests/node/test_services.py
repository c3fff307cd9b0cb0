"""A service: one folder, and every surface has its commands, its pages and its wires."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from skerry.kernel.app import parse
from skerry.kernel.errors import SkerryError
from skerry.kernel.service import Service, read_services
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces import installed
from skerry.surfaces.cli import tree
from skerry.surfaces.cli.call import Call
from skerry.surfaces.web import make_web
from skerry.testing.nodes import open_directory

SERVICE = '''
from typing import Annotated
import msgspec
from skerry.kernel.commands import Check, Command, Nothing, Params, about
from skerry.kernel.service import Mount, Page, Service

class Count(Params, frozen=True):
    what: Annotated[str, about("what is counted", positional=True)]

class Text(Params, frozen=True):
    text: Annotated[str, about("the file", positional=True, file=True)]

class Total(msgspec.Struct, frozen=True):
    total: int

    def draw(self, columns):
        return "|" * self.total

class Verdict(msgspec.Struct, frozen=True):
    letters: int

    @property
    def exit_code(self):
        return 1 if self.letters > 3 else 0

class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is counted."""
    most: Annotated[int, about("the most")] = 3

SERVICE = Service(
    name="tally",
    summary="Count things",
    commands=(
        Command("tally.add", "Count one", Count, Total, mutates=True),
        Command("tally.desk.open", "Open the desk", Nothing, Total),
        Command("tally.follow", "Follow the count", Nothing, Total, streams=True),
        Command("tally.letters", "Count the letters of a file", Text, Verdict, local="letters:of"),
    ),
    handler="handler:Handler",
    words={"count": "tally.add", "desk open": "tally.desk.open"},
    mounts=(Mount("/tally/raw", "wire:make"),),
    pages=(Page("/tally", "Tally", "page:view", "tally.html", live="_total.html", menu="Tally"),),
    config=Settings,
    ports={"tally": 0},
    checks="page:checks",
)
'''
FILES = {
    "__init__.py": "",
    "service.py": SERVICE,
    "handler.py": """
from tally.service import Total

class Handler:
    def __init__(self, node):
        self.node = node
        self.total = 0

    async def start(self):
        self.file = self.node.home.service("tally") / "total"
        self.total = int(self.file.read_text()) if self.file.exists() else 0

    async def stop(self):
        self.file.write_text(str(self.total))

    async def do_add(self, params, progress):
        progress(1, 1, params.what)
        self.total += 1
        return Total(self.total)

    async def do_desk_open(self, params, progress):
        return Total(self.total)

    async def stream_follow(self, params):
        for number in range(3):
            yield Total(number)
""",
    "letters.py": """
from tally.service import Verdict

def of(params):
    return Verdict(len(params.text))
""",
    "wire.py": """
def make(handler):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(handler.total).encode()})
    return application
""",
    "page.py": """
from skerry.kernel.commands import Check

async def view(visit):
    found = await visit.ask("tally.desk.open")
    return {"total": found.total, "cli": ["skerry tally desk open"]}

def checks():
    return [Check("tally", True, "counts")]
""",
    "views/tally.html": """{% extends "base.html" %}
{% block content %}<h1>Tally</h1>
<div hx-sse:connect="{{ live }}">{% include "tally/_total.html" %}</div>{% endblock %}
""",
    "views/_total.html": "<p>{{ total }} counted</p>",
}


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Service]:
    for name, text in FILES.items():
        path = tmp_path / "tally" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("", ".service", ".handler", ".letters", ".wire", ".page"):
        monkeypatch.delitem(sys.modules, f"tally{module}", raising=False)
    return read_services(["tally"])


@contextlib.asynccontextmanager
async def running(services: dict[str, Service], home: Path) -> AsyncIterator[Node]:
    options = Options(home=home, http_port=0, name="test-node", volume_driver="copy")
    node = Node(options, {}, lambda made: make_web(Dispatcher(made)), services)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def ask(
    node: Node, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    def exchange() -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
        sent = {"Authorization": f"Bearer {node.home.token()}"} | headers
        connection.request(method, path, json.dumps(body) if body is not None else None, sent)
        answer = connection.getresponse()
        found = dict(answer.getheaders())
        text = answer.read().decode()
        connection.close()
        return answer.status, found, text

    return await asyncio.to_thread(exchange)


async def test_a_service_serves_commands_wires_and_pages(services: dict[str, Service]) -> None:
    with open_directory() as made:
        async with running(services, made / "h") as node:
            assert (await ask(node, "POST", "/v1/tally.add", {"what": "x"}))[2] == '{"total":1}'
            assert (await ask(node, "POST", "/v1/tally.desk.open"))[2] == '{"total":1}'
            status, _, text = await ask(node, "POST", "/v1/tally.follow")
            assert status == 200
            assert [json.loads(each)["item"]["total"] for each in text.split()] == [0, 1, 2]
            status, _, text = await ask(node, "POST", "/v1/tally.letters", {"text": "ab"})
            assert status == 404
            status, _, text = await ask(node, "POST", "/v1/tally.add", {"wat": "x"})
            assert status == 400
            assert (await ask(node, "GET", "/tally/raw/x"))[2] == "1"
            login = json.loads((await ask(node, "POST", "/v1/logins", {}))[2])["path"]
            _, headers, _ = await ask(node, "GET", login)
            cookie = headers["set-cookie"].partition(";")[0]
            status, _, text = await ask(node, "GET", "/tally", Cookie=cookie)
            assert status == 200
            assert "<p>1 counted</p>" in text
            assert 'href="/tally" aria-current="page">Tally' in text
            assert 'hx-sse:connect="/live/tally"' in text
            checks = json.loads((await ask(node, "POST", "/v1/node.doctor"))[2])
            assert "tally" in {each["name"] for each in checks}
        async with running(services, made / "h") as node:
            assert (await ask(node, "POST", "/v1/tally.desk.open"))[2] == '{"total":1}'


async def test_a_port_that_nobody_knows_is_refused(services: dict[str, Service]) -> None:
    with open_directory() as made:
        options = Options(home=made / "h", http_port=0, ports={"taly": 0}, name="test-node")
        node = Node(options, {}, lambda made: make_web(Dispatcher(made)), services)
        with pytest.raises(SkerryError, match="no port named taly") as caught:
            await node.start()
        assert "tally" in caught.value.why


def test_the_command_line_has_its_words(
    services: dict[str, Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "service_folders", lambda: {"tally": tmp_path})
    monkeypatch.setattr(installed, "service", services.__getitem__)

    def help_of(*words: str) -> str:
        return CliRunner().invoke(tree.root(), [*words, "--help"], obj=Call()).output

    assert "Count one" in help_of("tally")
    assert "POST /v1/tally.desk.open" in help_of("tally", "desk", "open")
    assert "POST /v1/tally.add" in help_of("count")
    assert "POST /v1/tally.desk.open" in help_of("desk", "open")
    assert "tally" in help_of()
    (tmp_path / "file.txt").write_text("abcd")
    local = CliRunner().invoke(
        tree.root(), ["tally", "letters", str(tmp_path / "file.txt"), "--json"], obj=Call()
    )
    assert local.exit_code == 1
    assert json.loads(local.output) == {"letters": 4}
    missing = CliRunner().invoke(tree.root(), ["tally", "letters", "nowhere"], obj=Call())
    assert isinstance(missing.exception, click.BadParameter | SystemExit)


def test_the_app_file_has_its_table(services: dict[str, Service]) -> None:
    text = '[app]\nname = "shop"\n\n[tally]\nmost = 7\n'
    assert parse(text, {}, services).services == {"tally": {"most": 7}}
    with pytest.raises(SkerryError, match=r"line 5: tally.most: expected"):
        parse(text.replace("7", '"x"'), {}, services)
    with pytest.raises(SkerryError, match=r"tally.moss: expected a known key"):
        parse(text.replace("most", "moss"), {}, services)
