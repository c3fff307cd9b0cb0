"""Workloads on a whole node: commands, router, ledger, and a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.node.workload.scene import need

from skerry.app import make_node
from skerry.kernel.errors import SkerryError
from skerry.node.node import Node, Options
from skerry.node.workload import State
from skerry.testing.nodes import open_directory, perform

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVE = (
    "import http.server, os\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    '        b = f\'{self.headers["host"]} {self.path} {os.environ["WHO"]}\'.encode()\n'
    "        self.send_response(200); self.send_header('Content-Length', str(len(b)))\n"
    "        self.end_headers(); self.wfile.write(b)\n"
    "    def log_message(self, *a): pass\n"
    "print('up', flush=True)\n"
    "http.server.ThreadingHTTPServer(('127.0.0.1', PORT), H).serve_forever()"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def only_node() -> AsyncIterator[Node]:
    with open_directory() as made:
        ports = {"postgres": 0, "redis": 0, "qdrant-grpc": 0}
        made_node = make_node(Options(home=made / "h", http_port=0, ports=ports, name="test-node"))
        made_node.options = _free_ports(made_node)
        await made_node.start()
        try:
            await need(made_node.workloads, "bwrap")
            yield made_node
        finally:
            await made_node.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def node(only_node: Node) -> AsyncIterator[Node]:
    """The node of the module; whatever a test leaves running is removed."""
    yield only_node
    for each in await only_node.workloads.list():
        await only_node.workloads.remove(each.id)


def _free_ports(node: Node) -> Options:
    wires = [wire for each in node.manifests.values() for wire in each.wires if wire.front]
    return Options(
        home=node.options.home,
        http_port=0,
        ports={wire.name: 0 for wire in wires},
        name="test-node",
    )


async def serve(node: Node, name: str, port: int = 8080, **more: Any) -> Any:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("the machine's /usr has no Python for the host's image")
    info = await perform(
        node,
        "workload.run",
        image="host",
        program=("/usr/bin/python3", "-I", "-c", SERVE.replace("PORT", str(port))),
        name=name,
        env=(f"WHO={name}",),
        port=(f"{port}/http",),
        **more,
    )
    async with asyncio.timeout(30):
        while "up" not in [line.text async for line in node.workloads.logs(name)]:
            await asyncio.sleep(0.05)
    return info


async def ask(node: Node, path: str, host: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    for _ in range(40):
        found = await asyncio.to_thread(get)
        if found[0] != 502:
            break
        await asyncio.sleep(0.05)
    return found


async def test_http_by_host_and_by_path(node: Node) -> None:
    info = await serve(node, "shop", host=("shop.example", "*.shop.example"))
    assert info.ports[0].url == f"http://shop.workload.localhost:{node.http_port}/"
    local = f"shop.workload.localhost:{node.http_port}"
    assert await ask(node, "/a?b=c", local) == (200, f"{local} /a?b=c shop")
    assert await ask(node, "/x", "8080--shop.workload.localhost") == (
        200,
        "8080--shop.workload.localhost /x shop",
    )
    assert await ask(node, "/~shop/a?b", "127.0.0.1") == (200, "127.0.0.1 /a?b shop")
    assert await ask(node, "/~shop:8080/a", "127.0.0.1") == (200, "127.0.0.1 /a shop")
    assert await ask(node, "/y", "shop.example") == (200, "shop.example /y shop")
    assert await ask(node, "/y", "any.shop.example") == (200, "any.shop.example /y shop")
    for path, host in (
        ("/", "nothing.workload.localhost"),
        ("/", "9--shop.workload.localhost"),
        ("/~nothing/", "127.0.0.1"),
        ("/~shop:9/", "127.0.0.1"),
    ):
        status, _ = await ask(node, path, host)
        assert status == 404


async def test_a_page_by_path_has_no_part_in_the_console(node: Node) -> None:
    await serve(node, "shop")
    await ask(node, "/", "shop.workload.localhost")

    def get() -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
        headers = {"Sec-Fetch-Dest": "document", "Host": f"localhost:{node.http_port}"}
        connection.request("GET", "/~shop/page", headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    answer = await asyncio.to_thread(get)
    assert answer.status == 307
    expected = f"http://shop.workload.localhost:{node.http_port}/page"
    assert answer.headers["Location"] == expected


async def test_an_ended_one_is_unavailable_but_does_not_hang(node: Node) -> None:
    await serve(node, "shop")
    await perform(node, "workload.stop", name="shop", grace=0.1)
    status, text = await ask(node, "/", "shop.workload.localhost")
    assert status == 502
    assert "ENGINE_FAILED" in text


async def test_use_is_posted_once_and_survives_removal(node: Node) -> None:
    script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 0.2"
    await perform(
        node, "workload.run", image="host", program=("/bin/sh", "-c", script), name="burner"
    )
    async with asyncio.timeout(30):
        while (await node.workloads.info("burner")).state != State.ENDED:
            await asyncio.sleep(0.05)
    await node.accountant.post()
    await node.accountant.post()
    used = (await node.workloads.usage("burner")).cpu_ms
    account = ("workload/burner", "cpu_ms")
    assert node.ledger.balances.get(*account).debits == used > 0
    rows = await perform(node, "node.meter")
    assert ("workload/burner", "cpu_ms", used) in [(r.account, r.unit, r.amount) for r in rows]
    await perform(node, "workload.remove", name="burner")
    assert node.ledger.balances.get(*account).debits == used
    assert node.ledger.balanced()
    assert not [key for key in node.ledger.counters if key[1].startswith("workload/")]


async def test_commands(node: Node) -> None:
    await perform(
        node,
        "workload.run",
        image="host",
        program=("/bin/sh", "-c", "echo said; sleep 60"),
        name="a",
        lasts="1h",
        memory="32M",
    )
    (row,) = await perform(node, "workload.list")
    assert (row.name, row.state, row.isolation) == ("a", "running", "bwrap")
    done = await perform(node, "workload.exec", name="a", program=("cat",), input=b"in")
    assert (done.code, done.stdout, done.stderr) == (0, b"in", b"")
    done = await perform(node, "workload.exec", name="a", program=("sh", "-c", "exit 9"))
    assert done.exit_code == 9
    info = await perform(node, "workload.extend", name="a", lasts="2h")
    assert info.expires > node.clock.now() + 3600 * 10**9
    info = await perform(node, "workload.stop", name="a", grace=0.1)
    assert info.exit.reason == "stopped"
    info = await perform(node, "workload.restart", name="a")
    assert info.state == State.RUNNING
    for command, params in (
        ("workload.status", {"name": "b"}),
        ("workload.run", {"image": "nothing"}),
        ("workload.image.add", {"name": "x"}),
        ("workload.image.add", {"name": "x", "archive": "relative"}),
        ("workload.run", {"image": "host", "lasts": "long"}),
        ("workload.run", {"image": "host", "restart": "perhaps"}),
    ):
        with pytest.raises(SkerryError):
            await perform(node, command, **params)
    names = [each.name for each in await perform(node, "workload.classes")]
    assert names == ["wasm", "bwrap", "crun", "gvisor"]
    checks = [each for each in await perform(node, "node.doctor") if "workloads" in each.name]
    assert len(checks) == len(names)


async def test_an_uploaded_image(node: Node) -> None:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("bin/nothing")
        archive.addfile(info, io.BytesIO())

    async def chunks() -> AsyncIterator[bytes]:
        yield buffer.getvalue()

    upload = await node.archives.receive(chunks())
    image = await perform(node, "workload.image.add", name="tiny", upload=upload)
    assert image.name == "tiny:latest"
    assert [each.name for each in await perform(node, "workload.image.list")] == [
        "host",
        "tiny:latest",
    ]
    await perform(node, "workload.image.remove", name="tiny")


async def test_the_command_line_and_its_terminal(node: Node) -> None:
    home = str(node.home.root)

    def cli(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "skerry", *words[:2], "--home", home, *words[2:]],
            check=False,
            capture_output=True,
            text=True,
            timeout=50,
            stdin=subprocess.DEVNULL,
        )

    ran = await asyncio.to_thread(
        cli, "workload", "run", "--name", "a", "host", "sh", "--", "-c", "echo said; sleep 60"
    )
    assert ran.returncode == 0, ran.stderr
    assert "running" in ran.stdout
    listed = await asyncio.to_thread(cli, "workload", "list")
    assert "bwrap" in listed.stdout
    logs = await asyncio.to_thread(cli, "workload", "logs", "a")
    assert logs.stdout == "said\n"
    done = await asyncio.to_thread(cli, "workload", "exec", "a", "sh", "--", "-c", "echo x; exit 3")
    assert (done.returncode, done.stdout) == (3, "x\n")
    shell = await asyncio.to_thread(cli, "workload", "shell", "b")
    assert shell.returncode == 1
    assert "no workload b" in shell.stderr
    assert await asyncio.to_thread(_type_into_a_terminal, home) == (
        b"user is 1000, terminal is yes",
        5,
    )
    removed = await asyncio.to_thread(cli, "workload", "remove", "a", "--yes")
    assert removed.returncode == 0


def _type_into_a_terminal(home: str) -> tuple[bytes, int]:
    """Open a shell as a person does, type, and return a line of what comes and the exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "skerry", "workload", "shell", "a", "--home", home],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        text = b"echo user is $(id -u), terminal is $(test -t 0 && echo yes); exit 5\n"
        os.write(ours, text)
        said = b""
        with contextlib.suppress(OSError):
            while data := os.read(ours, 4096):
                said += data
        code = process.wait(timeout=30)
    os.close(ours)
    lines = [line.strip() for line in said.splitlines()]
    return next((line for line in lines if b"user is 1000" in line), said).lstrip(b"$ "), code


def _pages(node: Node, *paths: str) -> list[str]:
    """Return pages of the console, as whoever is logged in sees them."""
    connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=30)
    token = {"Authorization": f"Bearer {node.home.token()}"}
    connection.request("POST", "/v1/logins", "{}", token)
    path = json.loads(connection.getresponse().read())["path"]
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    cookie = str(answer.getheader("set-cookie")).partition(";")[0]
    found = []
    for each in paths:
        connection.request("GET", each, headers={"Cookie": cookie})
        found.append(connection.getresponse().read().decode())
    connection.close()
    return found


UDP = (
    "import socket\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 5353))\n"
    "print('up', flush=True)\n"
    "while True:\n"
    "    data, who = s.recvfrom(2000)\n"
    "    s.sendto(data[::-1], who)"
)


async def test_a_udp_port_is_forwarded_to_every_sender(node: Node) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("the machine's /usr has no Python for the host's image")
    info = await perform(
        node,
        "workload.run",
        image="host",
        program=("/usr/bin/python3", "-I", "-c", UDP),
        name="names",
        port=("5353/udp",),
        restart="never",
    )
    (port,) = info.ports
    assert (port.protocol, port.url) == ("udp", "")
    host, _, number = port.address.rpartition(":")
    await until_said(node, "names")

    def exchange(texts: list[bytes]) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            found = []
            for text in texts:
                client.sendto(text, (host, int(number)))
                found.append(client.recv(2000))
        return found

    words = [[f"{sender}-{at}".encode() for at in range(20)] for sender in range(5)]
    answers = await asyncio.gather(*(asyncio.to_thread(exchange, each) for each in words))
    assert answers == [[word[::-1] for word in each] for each in words]
    await perform(node, "workload.stop", name="names", grace=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.sendto(b"nobody", (host, int(number)))
        with pytest.raises(OSError):
            await asyncio.to_thread(client.recv, 100)


async def test_the_console_shows_what_runs(node: Node) -> None:
    await perform(
        node,
        "workload.run",
        image="host",
        program=("sh", "-c", "echo '<b>said</b>'; sleep 60"),
        name="shown",
        port=("8080/http",),
    )
    await until_said(node, "shown")
    page, one, none = await asyncio.to_thread(
        _pages, node, "/workloads", "/workloads/shown", "/workloads/nobody"
    )
    assert 'hx-sse:connect="/live/workloads"' in page
    assert 'href="/workloads/shown"' in page
    assert "cannot be had" in page or "gvisor" in page
    assert "&lt;b&gt;said&lt;/b&gt;" in one
    assert "8080/http" in one
    assert "enforced" in one or "measured" in one
    assert "/confirm/workload.remove?name=shown" in one
    assert "no workload nobody" in none


async def until_said(node: Node, name: str) -> None:
    """Wait until a program has said something."""
    for _ in range(100):
        if [line async for line in node.workloads.logs(name)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} said nothing")


async def test_a_terminal_is_for_the_operator(node: Node) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    url = f"ws://127.0.0.1:{node.http_port}/workload/session"
    for headers in ({}, {"Authorization": "Bearer skn_no"}):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url, additional_headers=headers):
                pass
        assert caught.value.response.status_code == 403
