"""Deploys, branches and sleep on a real node: no request fails, and what breaks is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from skerry.app import kinds
from skerry.kernel.errors import CONFIG_INVALID, CONFLICT, ENGINE_FAILED, NOT_FOUND, SkerryError
from skerry.node import deploys
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform, running_node

pytestmark = pytest.mark.asyncio(loop_scope="module")
KINDS = ("functions", "hello", "kv")

APP = """
import os, sys, asyncio

async def app(scope, receive, send):
    path = scope["path"]
    if path == "/slow":
        await asyncio.sleep(0.3)
    if path == "/exit":
        os._exit(3)
    if path == "/pid":
        text = str(os.getpid())
    else:
        text = "VERSION"
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    body = text.encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"""


def files(name: str, version: str = "one", more: str = "", code: str = APP) -> dict[str, str]:
    toml = f'[app]\nname = "{name}"\n[functions.web]\nentry = "web:app"\n{more}'
    return {"skerry.toml": toml, "web.py": code.replace("VERSION", version)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def only_node() -> AsyncIterator[Node]:
    found = kinds()
    async with running_node({name: found[name] for name in KINDS}) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def node(only_node: Node) -> AsyncIterator[Node]:
    """The node of the module, without apps."""
    yield only_node
    for app in list(only_node.catalogue.apps):
        await perform(only_node, "app.delete", app=app)


async def ask(
    node: Node, app: str, path: str = "/", method: str = "GET", host: str = ""
) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http_port)
    host = host or f"{app}.localhost"
    body = "Content-Length: 3\r\n" if method == "POST" else ""
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{body}Connection: close\r\n\r\n".encode()
    )
    if body:
        writer.write(b"abc")
    try:
        answer = await reader.read()
    finally:
        writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, rest.decode()


class Load:
    """Clients that ask without a pause: new connections and kept ones, GET and POST."""

    def __init__(self, node: Node, app: str) -> None:
        self._node, self._app = node, app
        self.failed: list[object] = []
        self.seen: list[str] = []
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        work = [self._fresh("GET"), self._fresh("POST"), self._kept(), self._kept(), self._slow()]
        self._tasks = [asyncio.create_task(each) for each in work]
        return self

    async def sees(self, text: str) -> None:
        """Wait until the last answer was this."""
        async with asyncio.timeout(30):
            while not self.seen or self.seen[-1] != text:
                await asyncio.sleep(0.01)

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def _fresh(self, method: str) -> None:
        while not self._over:
            self._note(*await ask(self._node, self._app, "/", method))

    async def _slow(self) -> None:
        while not self._over:
            self._note(*await ask(self._node, self._app, "/slow", "POST"))

    async def _kept(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._node.http_port)
        while not self._over:
            head = f"POST / HTTP/1.1\r\nHost: {self._app}.localhost\r\nContent-Length: 3\r\n\r\nabc"
            writer.write(head.encode())
            try:
                answer = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(
                    int(answer.lower().split(b"content-length: ")[1].split(b"\r")[0])
                )
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failed.append(error)
                break
            self._note(int(answer.split(b" ")[1]), body.decode())
        writer.close()

    def _note(self, status: int, text: str) -> None:
        if status != 200:
            self.failed.append((status, text))
        elif not self.seen or self.seen[-1] != text:
            self.seen.append(text)


async def test_no_request_fails_while_versions_change(node: Node) -> None:
    await deploy(node, files("news", "v1"))
    async with Load(node, "news") as load:
        await load.sees("v1")
        for number in range(2, 6):
            await deploy(node, files("news", f"v{number}"))
        await load.sees("v5")
        await perform(node, "app.rollback", app="news")
        await load.sees("v4")
    assert load.failed == []
    assert await ask(node, "news") == (200, "v4")
    await drained(node)


async def test_what_a_deploy_remarks_is_in_its_answer(node: Node) -> None:
    app = files("news", "v1", 'secrets = ["KEY"]')
    deployed = await deploy(node, app)
    assert deployed.remarks == ("no value yet for KEY: skerry secret set KEY --app news",)
    await perform(node, "secret.set", app="news", name="KEY", value="x")
    assert (await deploy(node, app)).remarks == ()


DIES = """
import os, signal
async def fetch(request, env):
    if request.url.path == "/exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_how_a_function_died_is_in_its_log(node: Node) -> None:
    toml = '[app]\nname = "news"\n[functions.web]\nentry = "web:fetch"\n'
    await deploy(node, {"skerry.toml": toml, "web.py": DIES})
    for path, reason in {"/exit": "exit status 3", "/kill": "SIGKILL"}.items():
        assert (await ask(node, "news", path))[0] == 502
        async with asyncio.timeout(10):
            while True:
                records = await node.logbook.tail("news", "main", "web", 1)
                if records and reason in records[0].text:
                    break
                await asyncio.sleep(0.02)
        assert records[0].level == "error"


async def drained(node: Node) -> None:
    async with asyncio.timeout(10):
        while any(cell.leaving for cell in node.supervisor.awake()):
            await asyncio.sleep(0.02)
    assert len([r for cell in node.supervisor.awake() for r in cell.running()]) == 1


BROKEN = {
    "import nowhere_to_be_found": "nowhere_to_be_found",
    "def app(: pass": "SyntaxError",
    "raise RuntimeError('the reason')": "the reason",
    "other = 1": "app",
    "import os; os._exit(5)": "",
}


async def test_a_deleted_app_is_told_with_its_branches(node: Node) -> None:
    await deploy(node, files("news"))
    done = await perform(node, "app.delete", app="news")
    assert done.message == "news and its branch are deleted."
    await deploy(node, files("news"))
    await perform(node, "branch.create", app="news", name="copy")
    done = await perform(node, "app.delete", app="news")
    assert done.message == "news and its 2 branches are deleted."


async def test_another_branch_does_not_take_what_main_can_go_back_to(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploys, "VERSIONS_KEPT", 2)
    for text in ("older", "good", "next"):
        await deploy(node, files("news", text))
    for text in ("one", "two", "three"):
        await deploy(node, files("news", text), branch="dev")
    await perform(node, "app.rollback", app="news")
    assert await ask(node, "news") == (200, "good")
    assert [each.version for each in await perform(node, "app.list")] == [2], "what main serves"
    with pytest.raises(SkerryError, match="no version 1"):
        await perform(node, "app.rollback", app="news", version=1)


@pytest.mark.parametrize("code", BROKEN)
async def test_a_broken_version_changes_nothing_and_says_why(node: Node, code: str) -> None:
    await deploy(node, files("news", "good"))
    async with Load(node, "news") as load:
        await load.sees("good")
        with pytest.raises(SkerryError) as told:
            await deploy(node, files("news", code=code))
    assert BROKEN[code] in f"{told.value.what} {told.value.why}"
    assert load.failed == []
    assert set(load.seen) == {"good"}
    await drained(node)
    served = await deploy(node, files("news", "next"))
    assert served.version == 2, "what was never served has no number"
    assert await ask(node, "news") == (200, "next")
    await perform(node, "app.rollback", app="news")
    assert await ask(node, "news") == (200, "good"), "what was never served is passed over"
    with pytest.raises(SkerryError) as told:
        await perform(node, "app.rollback", app="news")
    assert told.value.problem is CONFLICT


@pytest.mark.parametrize(
    "toml",
    [b"\xff\xfe", b"#" * (2 << 20), b"[app]\nname = 3", b"x = " + b"[" * 3000],
)
async def test_an_app_that_is_not_one_is_refused(node: Node, toml: bytes) -> None:
    text = toml.decode("latin-1")
    with pytest.raises(SkerryError) as told:
        await deploy(node, {"skerry.toml": text})
    assert told.value.problem is CONFIG_INVALID
    assert not node.catalogue.apps


async def test_resources_come_change_and_go(node: Node) -> None:
    with_hello = '[hello.guests]\n[functions.other]\nentry = "web:app"\n'
    deployed = await deploy(node, files("news", more=with_hello))
    assert set(deployed.added) == {"web", "guests", "other"}
    await perform(node, "hello.greet", name="guests", app="news", guest="ada")
    record = node.catalogue.record("news", "main", "guests")
    other = "other--main--news.localhost"
    assert (await ask(node, "news", host=other))[0] == 200

    await deploy(node, files("news", "two"))
    assert (await ask(node, "news", host=other))[0] == 404
    for name in ("guests", "other"):
        with pytest.raises(SkerryError) as told:
            await node.supervisor.wake("news", "main", name)
        assert told.value.problem is NOT_FOUND
    assert await ask(node, "news") == (200, "two")
    list(node.scheduler.due(node.scheduler.minutes.last))
    await perform(node, "branch.create", app="news", name="copy")
    await drained_of(node, "other")

    again = await deploy(node, files("news", "three", more=with_hello))
    assert again.added == ()
    assert node.catalogue.record("news", "main", "guests") == record
    greeted = await perform(node, "hello.greet", name="guests", app="news", guest="ada")
    assert greeted.times == 2
    with pytest.raises(SkerryError) as told:
        await deploy(node, files("news", "four", more="[kv.guests]\n"))
    assert told.value.problem is CONFLICT
    assert await ask(node, "news") == (200, "three")


async def drained_of(node: Node, key: str) -> None:
    async with asyncio.timeout(10):
        while any(r.key == key for cell in node.supervisor.awake() for r in cell.running()):
            await asyncio.sleep(0.02)


async def test_a_request_that_kills_its_process_hurts_only_itself(node: Node) -> None:
    await deploy(node, files("fatal"))
    for _ in range(6):
        status, text = await ask(node, "fatal", "/exit")
        assert status == 502
        assert "web ended while it handled this request: exit status 3." in text
        assert (await ask(node, "fatal"))[0] == 200
    assert not node.supervisor.cell("fatal", "main").failures
    records = await node.logbook.tail("fatal", "main", "web", 100)
    ended = [each for each in records if "The process ended" in each.text]
    assert len(ended) == 6, "a killing request is not sent to the successor"


async def test_a_process_that_ends_just_after_its_start_waits_before_the_next(node: Node) -> None:
    await deploy(node, files("news"))
    for _ in range(8):
        try:
            running = await node.supervisor.wake("news", "main", "web")
        except SkerryError as error:
            assert error.code == "BUSY"
            break
        os.kill(running.child.pid, signal.SIGABRT)
        await running.settled.wait()
    else:
        pytest.fail("nothing waited")
    async with asyncio.timeout(20):
        while (await ask(node, "news"))[0] != 200:
            await asyncio.sleep(0.2)


async def test_one_that_was_killed_is_woken_by_the_next_request(node: Node) -> None:
    await deploy(node, files("news"))
    for _ in range(5):
        _, pid = await ask(node, "news", "/pid")
        running = node.supervisor.running("news", "main", "web")
        assert running is not None
        os.kill(running.child.pid, signal.SIGKILL)
        status, other = await ask(node, "news", "/pid")
        assert (status, other != pid) == (200, True), other


async def test_the_node_recovers_from_the_death_of_its_zygote(node: Node) -> None:
    await deploy(node, files("news", more="[hello.guests]\n"))
    await perform(node, "hello.greet", name="guests", app="news", guest="ada")
    processes = node.supervisor._processes
    assert processes._zygote is not None
    pids = [r.child.pid for cell in node.supervisor.awake() for r in cell.running()]
    processes._zygote.kill()
    async with asyncio.timeout(15):
        while (await ask(node, "news"))[0] != 200:
            await asyncio.sleep(0.05)
        while any(Path(f"/proc/{pid}/stat").exists() for pid in pids):
            await asyncio.sleep(0.05)
    greeted = await perform(node, "hello.greet", name="guests", app="news", guest="ada")
    assert greeted.times == 2


async def test_branches_are_made_while_the_source_wakes_and_sleeps(node: Node) -> None:
    await deploy(node, files("news", more='bindings = ["guests"]\n[hello.guests]\n'))
    await perform(node, "hello.greet", name="guests", app="news", guest="ada")

    async def toggle() -> None:
        for _ in range(10):
            await perform(node, "branch.sleep", app="news", branch="main")
            await ask(node, "news")

    toggling = asyncio.create_task(toggle())
    for number in range(5):
        await perform(node, "branch.create", app="news", name=f"copy-{number}")
    await toggling
    for number in range(5):
        greeted = await perform(
            node, "hello.greet", name="guests", app="news", branch=f"copy-{number}", guest="ada"
        )
        assert greeted.times == 2


async def test_a_name_is_given_once_however_many_ask(node: Node) -> None:
    await deploy(node, files("news", more="[hello.guests]\n"))
    results = await asyncio.gather(
        *(perform(node, "branch.create", app="news", name="copy") for _ in range(5)),
        return_exceptions=True,
    )
    assert len([each for each in results if not isinstance(each, Exception)]) == 1
    assert len(node.volume.names()) == 2


async def test_an_app_is_deleted_while_requests_run(node: Node) -> None:
    await deploy(node, files("news"))
    await perform(node, "branch.create", app="news", name="copy")
    over = False
    statuses: set[int] = set()

    async def load(host: str) -> None:
        while not over:
            answer = await ask(node, "news", host=host)
            statuses.add(answer[0])
            assert answer[0] != 500, answer

    async def seen(status: int) -> None:
        async with asyncio.timeout(20):
            while status not in statuses:
                await asyncio.sleep(0.02)

    loads = [asyncio.create_task(load(f"{b}--news.localhost")) for b in ("main", "copy") * 3]
    await seen(200)
    making = asyncio.create_task(perform(node, "branch.create", app="news", name="late"))
    await perform(node, "app.delete", app="news")
    await asyncio.gather(making, return_exceptions=True)
    await seen(404)
    over = True
    await asyncio.gather(*loads)
    assert statuses <= {200, 404, 502, 503}
    assert node.supervisor.awake() == []
    assert node.volume.names() == []
    await deploy(node, files("news", "reborn"))
    assert await ask(node, "news") == (200, "reborn")


async def test_sleeping_branches_have_neither_process_nor_object(node: Node) -> None:
    await deploy(node, files("news", more="[hello.guests]\n"))
    await perform(node, "hello.greet", name="guests", app="news", guest="ada")
    await perform(node, "branch.sleep", app="news", branch="main")
    for number in range(60):
        await perform(node, "branch.create", app="news", name=f"copy-{number}")
    assert node.supervisor.awake() == []
    assert node.supervisor._cells == {}
    assert node.supervisor._tasks == set()
    assert len(node.router.pool) == 0
    assert not [each for each in node.home.run.iterdir() if each.is_dir() and list(each.iterdir())]


async def test_an_error_that_is_no_defect_is_an_engine_failure(node: Node) -> None:
    with pytest.raises(SkerryError) as told:
        await deploy(node, files("news", code="import nowhere_to_be_found"))
    assert told.value.problem is ENGINE_FAILED


async def test_a_cell_that_is_forgotten_while_somebody_waits_is_still_the_only_one(
    node: Node,
) -> None:
    await deploy(node, files("waited", more='[kv.kept]\nidle = "10m"\n'))
    supervisor = node.supervisor
    await supervisor.sleep("waited", "main")
    cell = supervisor.cell("waited", "main")
    async with cell.lock:
        waiting = asyncio.create_task(supervisor.wake("waited", "main", "kept"))
        await asyncio.sleep(0.01)
    supervisor.forget_if_empty(cell)
    first = await waiting
    assert await supervisor.wake("waited", "main", "kept") is first


SECRET = """
import os

async def app(scope, receive, send):
    from skerry import env
    body = f"{env.KEY} {os.getpid()}".encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"""


async def test_what_is_served_already_stays_as_it_is(node: Node) -> None:
    code = files("news", "one")
    first = await deploy(node, code)
    assert not first.unchanged
    pid = (await ask(node, "news", "/pid"))[1]
    again = await deploy(node, code)
    assert (again.version, again.unchanged) == (1, True)
    assert (await ask(node, "news", "/pid"))[1] == pid, "nothing was started"
    await deploy(node, files("news", "two"))
    back = await deploy(node, code)
    assert (back.version, back.unchanged) == (3, False)
    assert await ask(node, "news") == (200, "one")
    more = await deploy(node, code, branch="pr-1")
    assert (more.version, more.unchanged) == (3, True)
    assert await ask(node, "pr-1--news") == (200, "one")
    runnable = await deploy(node, code | {"other.py": ""}, branch="pr-1")
    assert (runnable.version, runnable.unchanged) == (4, False)


async def test_a_secret_set_anew_reaches_what_serves_the_same_version(node: Node) -> None:
    code = files("news", more='secrets = ["KEY"]\n', code=SECRET)
    await deploy(node, code)
    for value in ("first", "second"):
        await perform(node, "secret.set", app="news", name="KEY", value=value)
        served = await deploy(node, code)
        assert (served.version, served.unchanged) == (1, False)
        said, pid = (await ask(node, "news"))[1].split()
        assert said == value
        assert (await deploy(node, code)).unchanged
        assert (await ask(node, "news"))[1] == f"{value} {pid}"


async def test_a_first_version_that_did_not_start_is_tried_again(node: Node) -> None:
    """The same files are no proof: what they need may have come meanwhile."""
    broken = files("news", code="raise OSError")
    for _ in range(2):
        with pytest.raises(SkerryError):
            await deploy(node, broken)
        assert sorted(node.catalogue.app("news").versions) == [1]
    good = await deploy(node, files("news", "good"))
    assert (good.version, await ask(node, "news")) == (2, (200, "good"))


async def test_code_that_a_deploy_left_is_in_nobodys_way(node: Node) -> None:
    """A node was killed between the code's coming to its place and the version's being known."""
    await deploy(node, files("news", "one"))
    left = node.home.apps / "news" / "2" / "code"
    left.mkdir(parents=True)
    (left / "web.py").write_text("raise OSError")
    served = await deploy(node, files("news", "two"))
    assert (served.version, await ask(node, "news")) == (2, (200, "two"))
