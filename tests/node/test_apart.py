"""Apps are apart: none reads, reaches, bills or exhausts another, nor the node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from skerry.app import kinds
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform, running_node
from skerry.testing.turns import turns

KINDS = ("functions", "hello", "kv")

CODE = """
import asyncio, json, os, socket, subprocess, sys
from pathlib import Path
from skerry import env


def attempt(work):
    try:
        return ["done", str(work())[:200]]
    except BaseException as error:
        return ["refused", type(error).__name__]


def connect(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(path)
        connection.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        return connection.recv(100)


def names(path):
    return os.listdir(path)


WORK = {
    "read": lambda path: Path(path).read_bytes(),
    "write": lambda path: Path(path).write_bytes(b"x"),
    "list": names,
    "connect": connect,
    "kill": lambda pid: os.kill(int(pid), 9),
    "pids": lambda _: [p for p in names("/proc") if p.isdigit()],
    "environ": lambda _: dict(os.environ),
    "env": lambda _: sorted(env),
    "secret": lambda name: env[name],
    "uid": lambda _: os.getuid(),
}


def bomb():
    while True:
        try:
            os.fork()
        except OSError:
            pass


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    path = scope["path"]
    if path == "/memory":
        hoard = [b"x" * (1 << 20) for _ in range(1 << 14)]
    elif path == "/fork":
        bomb()
    elif path == "/loop":
        while True:
            pass
    elif path == "/say":
        print(json.loads(body), flush=True)
        sys.stderr.write(json.loads(body) + "\\n")
    elif path == "/flood":
        for _ in range(100000):
            print("x" * 500)
    found = [attempt(lambda: WORK[what](where)) for what, where in json.loads(body or "[]")] \\
        if path == "/try" else []
    answer = json.dumps(found).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(answer)).encode())]})
    await send({"type": "http.response.body", "body": answer})
"""


def files(name: str, settings: str = "", more: str = "") -> dict[str, str]:
    toml = f'[app]\nname = "{name}"\n[functions.web]\nentry = "web:app"\ntimeout = "3s"\n'
    return {"skerry.toml": f"{toml}{settings}\n[hello.guests]\n{more}", "web.py": CODE}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    found = kinds()
    async with running_node({name: found[name] for name in KINDS}) as running:
        yield running


async def ask(node: Node, app: str, path: str, body: Any = None) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http_port)
    data = msgspec.json.encode(body)
    head = f"POST {path} HTTP/1.1\r\nHost: {app}.localhost\r\nContent-Length: {len(data)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + data)
    try:
        head_bytes, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    except ConnectionError:
        return 0, b""
    finally:
        writer.close()
    status = int(head_bytes.split(b" ")[1]) if head_bytes else 0
    return status, msgspec.json.decode(rest) if status == 200 else rest


async def try_all(node: Node, app: str, *work: tuple[str, object]) -> list[list[str]]:
    status, found = await ask(node, app, "/try", [[what, str(where)] for what, where in work])
    assert status == 200, found
    return list(found)


async def test_a_function_reaches_nothing_of_the_node_or_of_another_app(node: Node) -> None:
    for app in ("news", "spy"):
        await deploy(node, files(app))
        await perform(node, "hello.greet", name="guests", app=app, guest="ada")
        await ask(node, app, "/")
    branch = node.catalogue.branch("news", "main")
    guests, web = branch.resources["guests"], branch.resources["web"]
    state = node.workshop.state(branch, guests)
    victims = [r for c in node.supervisor.awake() if c.app == "news" for r in c.running()]
    sockets = [
        str(each)
        for each in node.home.run.glob("*/*.sock")
        if each.parent.name in (guests.id, web.id)
    ]
    assert sockets
    home = node.home
    forbidden: list[tuple[str, object]] = [
        *(("read", path) for path in (*home.keys.iterdir(), home.pid_file)),
        *(("read", path) for path in state.rglob("*") if path.is_file()),
        *(("read", path) for path in home.catalogue.iterdir()),
        ("list", home.keys),
        ("list", home.logs),
        ("list", home.root),
        ("list", home.run),
        ("list", home.volume),
        ("list", home.apps),
        ("list", home.spool),
        ("list", state),
        ("list", node.workshop.run(guests)),
        ("write", state / "evil"),
        ("write", node.workshop.run(web) / "evil"),
        ("write", node.workshop.code("spy", 1) / "web.py"),
        ("connect", home.socket),
        *(("connect", path) for path in sockets),
        ("kill", os.getpid()),
        *(("kill", each.child.pid) for each in victims),
        ("read", f"/proc/{os.getpid()}/environ"),
        *(("read", f"/proc/{each.child.pid}/environ") for each in victims),
        *(("list", f"/proc/{each.child.pid}/fd") for each in victims),
        ("read", "/etc/shadow"),
    ]
    found = await try_all(node, "spy", *forbidden)
    allowed = [
        work for work, (outcome, _) in zip(forbidden, found, strict=True) if outcome == "done"
    ]
    assert allowed == []
    assert not any(each.child.ended.done() for each in victims)


async def test_a_function_of_root_is_another_user_for_each_app(node: Node) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give each app a user")
    uids = set()
    for app in ("one", "two"):
        await deploy(node, files(app))
        ((_, uid),) = await try_all(node, app, ("uid", ""))
        uids.add(int(uid))
    assert len(uids) == 2
    assert 0 not in uids
    known = {each.pw_uid for each in pwd.getpwall()}
    assert not uids & known


async def test_secrets_reach_only_who_names_them_and_no_log(node: Node) -> None:
    await deploy(node, files("news", more='[functions.other]\nentry = "web:app"\n'))
    pem = "-----BEGIN KEY-----\nline-one-of-it\nline-two-of-it\n-----END KEY-----"
    for name, value in (("TOKEN", "hunter2-and-more"), ("PEM", pem), ("HIDDEN", "nobody-names-me")):
        await perform(node, "secret.set", app="news", name=name, value=value)
    await deploy(
        node,
        files("news", 'secrets = ["TOKEN", "PEM"]', '[functions.other]\nentry = "web:app"\n'),
    )
    found = await try_all(
        node, "news", ("env", ""), ("secret", "TOKEN"), ("secret", "HIDDEN"), ("environ", "")
    )
    assert found[:2] == [["done", "['PEM', 'TOKEN']"], ["done", "hunter2-and-more"]]
    assert found[2] == ["refused", "KeyError"]
    assert "hunter2" not in found[3][1]
    (other,) = await try_all(node, "other--main--news", ("env", ""))
    assert other == ["done", "[]"]

    await ask(node, "news", "/say", "before hunter2-and-more after")
    await ask(node, "news", "/say", pem)
    await perform(node, "secret.set", app="news", name="TOKEN", value="a-new-one")
    await ask(node, "news", "/say", "hunter2-and-more is still known to this process")
    text = await log(node, "news", "still known")
    for secret in ("hunter2", "line-one-of-it", "line-two-of-it"):
        assert secret not in text
    assert "before •••••• after" in text
    sealed = b"".join(path.read_bytes() for path in node.home.catalogue.iterdir())
    assert b"hunter2" not in sealed


async def log(node: Node, app: str, until: str) -> str:
    async with asyncio.timeout(10):
        while True:
            lines = await node.logbook.tail(app, "main", None, 1000)
            text = "\n".join(line.text for line in lines)
            if until in text:
                return text
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("what", ["/memory", "/fork", "/loop", "/flood"])
async def test_what_a_function_does_to_itself_hurts_only_itself(node: Node, what: str) -> None:
    settings = 'memory = "128MB"\nprocesses = 24'
    await deploy(node, files("bad", settings))
    await deploy(node, files("good"))
    await ask(node, "good", "/")
    running = node.supervisor.running("good", "main", "web")
    hurting = asyncio.create_task(ask(node, "bad", what))
    async with turns() as loop:
        for _ in range(20):
            status, _ = await ask(node, "good", "/")
            assert status == 200
            await asyncio.sleep(0.05)
    assert loop.longest < 0.25, "the node has time for others"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            await hurting
    assert hurting.done()
    assert node.supervisor.running("good", "main", "web") is running
    async with asyncio.timeout(20):
        while (await ask(node, "bad", "/"))[0] != 200:
            await asyncio.sleep(0.2)
    await perform(node, "branch.sleep", app="bad", branch="main")


async def test_a_token_of_one_app_opens_nothing_of_another(node: Node) -> None:
    for app in ("news", "spy"):
        await deploy(node, files(app))
    mine = await perform(node, "resource.connect", name="guests", app="spy", branch="main")
    theirs = await perform(node, "resource.connect", name="guests", app="news", branch="main")
    assert mine.fields["token"] != theirs.fields["token"]
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http_port)
    token = mine.fields["token"]
    writer.write(
        b"GET /ada HTTP/1.1\r\nHost: guests--main--news.localhost\r\n"
        b"Authorization: Bearer %b\r\nConnection: close\r\n\r\n" % token.encode()
    )
    assert b" 401 " in (await reader.read()).split(b"\r\n")[0]
    writer.close()
