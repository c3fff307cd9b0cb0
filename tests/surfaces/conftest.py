"""A node that keeps plausible data in memory, behind the real API on a real unix socket."""

from __future__ import annotations

import asyncio
import http.client
import io
import re
import socket
import sys
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from skerry.kernel import commands as c
from skerry.kernel.clock import SystemClock, SystemEntropy
from skerry.kernel.errors import DENIED, NOT_FOUND, UNSUPPORTED
from skerry.kernel.manifest import (
    YES,
    Client,
    EngineInfo,
    Manifest,
    Unit,
    Verb,
    Wire,
    Word,
    not_yet,
)
from skerry.kernel.names import did_you_mean
from skerry.kernel.service import Service
from skerry.node.home import Home
from skerry.surfaces import port
from skerry.surfaces.cli.client import Client as NodeClient
from skerry.surfaces.cli.client import UnixConnection, local
from skerry.surfaces.web import make_web

NOW = 1_795_000_000_000_000_000
HOUR = 3_600_000_000_000


class PutParams(msgspec.Struct, frozen=True):
    """What a word of the fake kind takes."""

    key: str
    value: str
    tags: tuple[str, ...] = ()
    times: int = 1


class PutResult(msgspec.Struct, frozen=True):
    """What it answers."""

    key: str
    value_bytes: int


NOTES = Manifest(
    name="notes",
    summary="Notes on a wall.",
    stands_in_for="sticky paper",
    engine_info=EngineInfo(name="Paper", version="1"),
    engine="engine:Notes",
    can=dict.fromkeys(Verb, YES) | {Verb.BACKUP: not_yet("There is no copier.")},
    wires=(
        Wire(
            name="http",
            protocol="HTTP",
            summary="Read and pin.",
            application="wire:make",
            clients=(Client("curl", "Shell", "curl {url}"),),
        ),
    ),
    units=(Unit("pins", "Notes that were pinned."),),
    words=(Word("put", "Pin a note.", PutParams, PutResult, "write", mutates=True),),
    actions=("write",),
)


class FakeNode:
    """Answers every command from memory, and remembers what it was asked."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.name = "rock"
        self.clock = SystemClock()
        self.entropy = SystemEntropy()
        self.manifests = {NOTES.name: NOTES}
        self.services: dict[str, Service] = {}
        self.commands = c.commands([NOTES])
        self.calls: list[tuple[str, Any, str]] = []
        self.uploads: dict[str, bytes] = {}
        self.downloads: dict[str, bytes] = {}
        self.closed_streams = 0
        self.identity: port.Identity | None = None
        self.apps = ["newsroom"]
        self.branches = [
            c.BranchInfo(
                "newsroom", "main", None, "http://newsroom.localhost:7878", 7, NOW - 90 * HOUR, True
            ),
            c.BranchInfo(
                "newsroom",
                "pr-42",
                "main",
                "http://pr-42--newsroom.localhost:7878",
                7,
                NOW - HOUR,
                False,
                bytes=40_960,
            ),
            c.BranchInfo(
                "newsroom",
                "pr-42-fix",
                "pr-42",
                "http://pr-42-fix--newsroom.localhost:7878",
                8,
                NOW,
                True,
                bytes=8_192,
            ),
            c.BranchInfo(
                "newsroom",
                "dev-ada",
                "main",
                "http://dev-ada--newsroom.localhost:7878",
                6,
                NOW,
                False,
            ),
        ]

    def principal_of(self, token: str) -> str | None:
        return "operator" if token == self.home.token() else None

    def admit(self, principal: str, what: str) -> None:
        assert principal == "operator", what

    def handler(self, service: str) -> Any:
        raise AssertionError(f"there is no service {service}")

    async def perform(
        self,
        command: c.Command,
        params: Any,
        principal: str,
        progress: Callable[[int, int, str], None] | None,
    ) -> Any:
        self.calls.append((command.name, params, principal))
        handler = getattr(self, f"on_{command.name.replace('.', '_')}", None)
        if handler is None:
            raise UNSUPPORTED(f"{command.name} is not faked.")
        if progress:
            progress(1, 2, "half of it")
            await asyncio.sleep(0)
        return handler(params)

    async def stream(self, command: c.Command, params: Any, principal: str) -> AsyncIterator[Any]:
        self.calls.append((command.name, params, principal))
        try:
            for number in range(3):
                text = f"GET /stories/{number} 200"
                yield c.LogRecord(NOW, "newsroom", "main", "web", "info", text)
            while params.follow:
                await asyncio.sleep(0.05)
                yield c.LogRecord(NOW, "newsroom", "main", "web", "error", "boom \x1b[31m<b>")
        finally:
            self.closed_streams += 1

    async def receive_upload(self, chunks: AsyncIterator[bytes]) -> str:
        body = b"".join([chunk async for chunk in chunks])
        self.uploads[f"up{len(self.uploads)}"] = body
        return f"up{len(self.uploads) - 1}"

    async def download(self, download: str) -> AsyncIterator[bytes]:
        if download not in self.downloads:
            raise NOT_FOUND(f"There is no download {download}.")
        yield self.downloads[download]

    def on_node_status(self, _params: Any) -> c.NodeStatus:
        awake = c.ProcessInfo(
            "newsroom", "main", "engines", 4711, NOW - HOUR, 1_234, 48 << 20, 2, "€0.0031"
        )
        return c.NodeStatus(
            "rock",
            "0.1.0",
            "http://127.0.0.1:7878",
            {"notes": 7432},
            str(self.home.root),
            "btrfs",
            NOW - 5 * HOUR,
            len(self.apps),
            len(self.branches),
            96 << 20,
            (awake,),
        )

    def on_node_doctor(self, _params: Any) -> list[c.Check]:
        return [
            c.Check("landlock", True, "ABI 4"),
            c.Check("volume", False, "copies file by file", "skerry volume create"),
        ]

    def on_node_meter(self, _params: Any) -> list[c.Usage]:
        return [
            c.Usage("newsroom/main/notes/wall", "pins", 1_204, "€0.0012"),
            c.Usage("newsroom/main", "cpu_ms", 88_120, "€0.0210"),
        ]

    def on_node_stop(self, _params: Any) -> c.Done:
        return c.Done("The node stops.")

    def on_app_list(self, _params: Any) -> list[c.AppInfo]:
        return [c.AppInfo(name, f"http://{name}.localhost:7878", 4, 7, True) for name in self.apps]

    def _app(self, name: str) -> None:
        if name not in self.apps:
            raise NOT_FOUND(
                f"There is no app {name}.",
                why=did_you_mean(name, self.apps),
                hint="skerry app list",
            )

    def on_app_deploy(self, params: c.Deploy) -> c.Deployed:
        with tarfile.open(fileobj=io.BytesIO(self.uploads[params.upload])) as archive:
            names = tuple(archive.getnames())
        self.deployed = names
        if "myapp" not in self.apps:
            self.apps.append("myapp")
        url = "http://myapp.localhost:7878"
        remarks = ("no value yet for KEY",)
        return c.Deployed("myapp", params.branch, 1, url, ("web", "wall"), 0.2, remarks)

    def on_app_rollback(self, params: c.Rollback) -> c.Deployed:
        self._app(params.app)
        return c.Deployed(params.app, params.branch, params.version or 6, "http://x", (), 0.1)

    def on_app_delete(self, params: c.OfApp) -> c.Done:
        self._app(params.app)
        self.apps.remove(params.app)
        return c.Done(f"{params.app} is deleted.")

    def on_branch_list(self, params: c.OfApp) -> list[c.BranchInfo]:
        self._app(params.app)
        if params.app == "newsroom":
            return self.branches
        return [msgspec.structs.replace(self.branches[0], app=params.app)]

    def on_branch_create(self, params: c.BranchCreate) -> c.BranchCreated:
        self._app(params.app)
        return c.BranchCreated(
            params.app,
            params.name,
            params.source,
            f"http://{params.name}--{params.app}.localhost:7878",
            0.031,
            "btrfs",
            {"wall": "curl http://x"},
        )

    def _named(self, params: c.BranchNamed) -> c.Done:
        known = [each.name for each in self.branches]
        if params.name not in known:
            raise NOT_FOUND(f"There is no branch {params.name}.")
        if params.name == "main":
            raise DENIED("main cannot be deleted.")
        return c.Done(f"{params.name} is done with.", next="skerry branch list")

    on_branch_delete = on_branch_reset = on_branch_promote = _named

    def on_branch_sleep(self, params: c.OfBranch) -> c.Done:
        return c.Done(f"{params.branch} sleeps.")

    def on_branch_wake(self, params: c.OfBranch) -> c.Done:
        return c.Done(f"{params.branch} is awake.")

    def on_resource_list(self, params: c.OfBranch) -> list[c.ResourceInfo]:
        self._app(params.app)
        return [
            c.ResourceInfo("wall", "notes", "0123456789abcdef", True, "Paper 1", ()),
            c.ResourceInfo("web", "notes", "0123456789abcde0", False, "Paper 1", ("wall",)),
        ]

    def on_resource_connect(self, params: c.OfResource) -> c.Connections:
        if params.name not in {"wall", "web"}:
            raise NOT_FOUND(f"There is no resource {params.name}.", hint="skerry resource list")
        line = "curl http://wall--main--newsroom.localhost:7878"
        return c.Connections(
            params.name,
            "notes",
            {"url": "http://wall--main--newsroom.localhost:7878"},
            (c.ConnectionLine("http", "curl", "Shell", line),),
        )

    def on_resource_export(self, params: c.Export) -> c.Download:
        with io.BytesIO() as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                info = tarfile.TarInfo("wall/notes.ndjson")
                info.size = 3
                archive.addfile(info, io.BytesIO(b"{}\n"))
            self.downloads["d1"] = file.getvalue()
        return c.Download("d1", (params.name or "wall",))

    def on_resource_import(self, params: c.Import) -> c.Done:
        return c.Done(f"{len(self.uploads[params.upload])} bytes were read.")

    def on_secret_set(self, params: c.SecretSet) -> c.Done:
        return c.Done(f"{params.name} is set.")

    def on_secret_list(self, _params: Any) -> list[c.SecretInfo]:
        return []

    def on_secret_delete(self, params: c.SecretNamed) -> c.Done:
        return c.Done(f"{params.name} is deleted.")

    def on_notes_put(self, params: c.WordCall) -> PutResult:
        return PutResult(params.params["key"], len(params.params["value"]) * params.params["times"])


@dataclass
class Answer:
    """What a browser or a program got."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Served:
    """A fake node that is served on its home's socket."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.client: NodeClient = local(node.home.root)
        self.cookie = ""

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, **headers: str
    ) -> Answer:
        """Send one request as it is, with the session's cookie if there is one."""
        connection = UnixConnection(self.node.home.socket, 10)
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        if self.cookie:
            sent.setdefault("Cookie", self.cookie)
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        found = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return found

    @property
    def token(self) -> str:
        return f"Bearer {self.node.home.token()}"

    def log_in(self) -> None:
        """Log a browser in with a one-time code."""
        answer = self.ask("GET", self.client.login_path())
        assert answer.status == 303
        self.cookie = answer.headers["set-cookie"].partition(";")[0]

    def csrf(self) -> str:
        """Return the CSRF token that the session's pages hold."""
        found = re.search(r'name="csrf" value="(\w+)"', self.ask("GET", "/").text)
        assert found
        return found[1]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create(SystemEntropy())
    return home


@pytest.fixture
def served(home: Home) -> Iterator[Served]:
    """Serve a fake node on its home's socket, in a thread."""
    node = FakeNode(home)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home.socket))
    listener.listen()
    config = uvicorn.Config(make_web(node), log_level="critical", lifespan="off", loop="asyncio")
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.started
    yield Served(node)
    server.should_exit = True
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.fixture
def run(
    home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process, in an empty folder; return code, stdout, stderr."""
    from skerry.surfaces.cli.main import run as run_line

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SKERRY_HOME", str(home.root))
    for name in ("SKERRY_NODE", "SKERRY_TOKEN", "SKERRY_APP", "SKERRY_BRANCH", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def go(*words: str, stdin: str = "") -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = run_line(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    return go
