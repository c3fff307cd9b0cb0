"""The gate bounds requests a second, and changes nothing else of an exchange with a store."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.s3 import sigv4
from skerry.node.backup import recovery_key, s3
from skerry.node.backup.destination import Destination, check
from skerry.node.backup.gate import reached
from skerry.node.backup.rate import Rate
from skerry.node.certificate import make_certificate, tls_context
from skerry.testing.hosts import ManualClock

SECRET = "the-store's-own"


class Store(ThreadingHTTPServer):
    """A store that keeps what it was asked; `breaks` makes it break off within an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.breaks = False


class Answering(BaseHTTPRequestHandler):
    """Answers with what was sent, in chunks where the path says so."""

    protocol_version = "HTTP/1.1"
    server: Store

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        self.send_response(206 if "range" in headers else 200)
        said = body or b"nothing"
        if "chunked" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(said), said))
            return
        self.send_header("Content-Length", str(len(said)))
        self.send_header("ETag", '"e"')
        self.end_headers()
        if self.server.breaks:
            said = said[:-1]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815 (names of the library)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def s3_at(store: Store, **more: Any) -> Destination:
    endpoint = f"http://127.0.0.1:{store.server_port}"
    return Destination(
        "s3://box/a", "p", endpoint=endpoint, access_key="AK", secret_key=SECRET, **more
    )


def ask(
    inside: Destination, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Ask as the engine does: signed with what the gate gave it."""
    clock = SystemClock()
    signed = s3.sign(inside, method, path, "x-id=1", "UNSIGNED-PAYLOAD", clock.now(), {})
    return bare(inside.endpoint, method, f"{path}?x-id=1", body, {**headers, **signed})


def bare(
    url: str, method: str, target: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc.rpartition("@")[2], timeout=20)
    try:
        connection.request(method, target, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_turns_are_spread_and_none_is_saved_up() -> None:
    clock = ManualClock()
    clock.seconds = 64.0
    rate = Rate(4, clock)
    assert [rate.turn_seconds() for _ in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    clock.seconds += 60
    assert [rate.turn_seconds() for _ in range(3)] == [0.0, 0.25, 0.5]


async def test_no_more_requests_a_second_pass_than_were_allowed(store: Store) -> None:
    rate = Rate(100, SystemClock())
    async with reached(s3_at(store), rate) as inside:
        started = time.monotonic()

        def several() -> list[int]:
            with ThreadPoolExecutor(8) as pool:
                return list(pool.map(lambda at: ask(inside, "GET", f"/box/{at}")[0], range(31)))

        assert await asyncio.to_thread(several) == [200] * 31
        elapsed = time.monotonic() - started
    assert len(store.asked) == rate.turns == 31
    assert elapsed >= 30 / 100, "the last of 31 may not go before 30 distances have passed"


async def test_an_exchange_passes_as_it_is_and_signed_by_the_store_s_own_key(store: Store) -> None:
    big = os.urandom(3_000_000)
    async with reached(s3_at(store), Rate(10_000, SystemClock())) as inside:
        assert SECRET not in str(inside.environment())

        def talk() -> None:
            assert ask(inside, "PUT", "/box/a%20b", big)[1] == big
            assert ask(inside, "GET", "/box/chunked", big)[1] == big
            status, body, headers = ask(inside, "HEAD", "/box/a")
            assert (status, body, headers["content-length"]) == (200, b"", "7")
            status, _, headers = ask(inside, "GET", "/box/a", range="bytes=0-9")
            assert (status, headers["etag"]) == (206, '"e"')

        await asyncio.to_thread(talk)
        method, path, headers, body = store.asked[0]
        assert (method, path) == ("PUT", "/box/a%20b?x-id=1")
        assert hashlib.sha256(body).digest() == hashlib.sha256(big).digest()
        assert headers["host"] == f"127.0.0.1:{store.server_port}"
        request = sigv4.Request(method, "/box/a%20b", "x-id=1", tuple(headers.items()))
        signed = sigv4.from_header(request, headers["authorization"])
        assert signed.credential.access_key == "AK"
        sigv4.verify(request, signed, SECRET)
        assert store.asked[-1][2]["range"] == "bytes=0-9"


async def test_nobody_else_passes_and_a_broken_answer_is_not_made_whole(store: Store) -> None:
    async with reached(s3_at(store), Rate(10_000, SystemClock())) as inside:
        outside = s3_at(store)

        def talk() -> None:
            forged = msgspec.structs.replace(outside, endpoint=inside.endpoint)
            assert ask(forged, "GET", "/box/a")[0] == 403
            assert bare(inside.endpoint, "GET", "/box/a", b"", {})[0] == 400
            assert store.asked == []
            store.breaks = True
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                ask(inside, "GET", "/box/a")

        await asyncio.to_thread(talk)
    with pytest.raises(ConnectionError):
        await asyncio.to_thread(ask, inside, "GET", "/box/a")


async def test_a_store_behind_tls_is_verified(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "store.pem"
    certificate.write_bytes(make_certificate("store", "localhost", SystemClock()))
    store.socket = tls_context(certificate).wrap_socket(store.socket, server_side=True)
    secure = msgspec.structs.replace(
        s3_at(store), endpoint=f"https://localhost:{store.server_port}"
    )
    async with reached(secure, Rate(10_000, SystemClock())) as inside:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            await asyncio.to_thread(ask, inside, "GET", "/box/a")
        assert store.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert (await asyncio.to_thread(ask, inside, "PUT", "/box/a", b"kept"))[1] == b"kept"
    assert store.asked[0][2]["host"] == f"localhost:{store.server_port}"


async def test_a_rest_server_sees_its_own_credentials(store: Store) -> None:
    url = f"rest:http://user:word@127.0.0.1:{store.server_port}/deep/"
    async with reached(Destination(url, "p"), Rate(10_000, SystemClock())) as inside:
        assert "word" not in inside.repository
        found = urlsplit(inside.url.removeprefix("rest:"))
        assert found.path == "/deep/"
        user, password = found.username or "", found.password or ""
        token = base64.b64encode(f"{user}:{password}".encode()).decode()

        def talk() -> None:
            given = {"authorization": f"Basic {token}"}
            assert bare(f"http://{found.netloc}", "GET", "/deep/config", b"", given)[0] == 200
            wrong = {"authorization": "Basic dTpw"}
            assert bare(f"http://{found.netloc}", "GET", "/deep/config", b"", wrong)[0] == 403

        await asyncio.to_thread(talk)
    ((_, path, headers, _),) = store.asked
    assert path == "/deep/config"
    assert headers["authorization"] == "Basic dXNlcjp3b3Jk"


def test_a_bound_is_for_stores_that_take_requests_and_is_in_the_key() -> None:
    bounded = Destination(
        "s3://b/a",
        "p",
        endpoint="https://e",
        access_key="a",
        secret_key="s",
        requests_per_second=9,
    )
    assert check(bounded) == bounded
    assert recovery_key.decode(recovery_key.encode([bounded]))[0].requests_per_second == 9
    for url in ("/mnt/backup", "sftp://u@h//srv"):
        with pytest.raises(SkerryError, match="can be bounded"):
            check(Destination(url, "p", requests_per_second=9))
