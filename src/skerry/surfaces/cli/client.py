"""Speaks to a node's API: over the unix socket of its home, or by URL."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from skerry.kernel.errors import (
    DENIED,
    INTERNAL,
    INVALID,
    NODE_UNREACHABLE,
    UNAUTHENTICATED,
    SkerryError,
    from_dict,
)

Report = Callable[[int, int, str], None]
_SILENCE_SECONDS = 60.0
_BLOCK_BYTES = 1 << 16
_LINE_BYTES_MAX = 64 << 20
_LINES = "application/x-ndjson"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """See `http.client.HTTPConnection.connect`."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


Connect = Callable[[float], http.client.HTTPConnection]


class Client:
    """A node's API; every method raises the `SkerryError` that the node reports."""

    def __init__(
        self, where: str, connect: Connect, token: Callable[[], str], url: str = ""
    ) -> None:
        self.where = where
        self.url = url
        self._connect = connect
        self._token = token

    def call(
        self,
        command: str,
        params: dict[str, Any],
        report: Report | None = None,
        seconds: float = _SILENCE_SECONDS,
    ) -> Any:
        """Carry a command out and return its result, as plain values."""
        for found in self._lines(command, params, seconds):
            if "progress" in found and report is not None:
                step = found["progress"]
                report(step["done"], step["total"], step["text"])
            if "result" in found:
                return found["result"]
        raise NODE_UNREACHABLE(f"{self.where} broke off before {command} was answered.")

    def stream(self, command: str, params: dict[str, Any]) -> Iterator[Any]:
        """Yield the results of a command that streams."""
        for found in self._lines(command, params, _SILENCE_SECONDS):
            if "item" in found:
                yield found["item"]

    def _lines(
        self, command: str, params: dict[str, Any], seconds: float
    ) -> Iterator[dict[str, Any]]:
        body = msgspec.json.encode(params)
        headers = {"Content-Type": "application/json", "Accept": _LINES}
        path = f"/v1/{quote(command)}"
        with self._answer("POST", path, body, headers, seconds) as answer:
            while text := answer.readline(_LINE_BYTES_MAX):
                if not text.strip():
                    continue
                found = msgspec.json.decode(text)
                if "error" in found:
                    raise from_dict(found["error"])
                yield found

    def upload(self, chunks: Iterable[bytes]) -> str:
        """Send an archive; return the upload's id."""
        headers = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        with self._answer("POST", "/v1/uploads", chunks, headers, _SILENCE_SECONDS) as answer:
            return str(msgspec.json.decode(answer.read())["upload"])

    def download(self, id: str) -> Iterator[bytes]:  # noqa: A002 (the word of the API)
        """Yield the bytes of a download."""
        path = f"/v1/downloads/{quote(id, safe='')}"
        with self._answer("GET", path, None, {}, _SILENCE_SECONDS) as answer:
            while block := answer.read(_BLOCK_BYTES):
                yield block

    def login_path(self) -> str:
        """Return a path of the console that opens it once without a token."""
        with self._answer("POST", "/v1/logins", b"", {}, _SILENCE_SECONDS) as answer:
            return str(msgspec.json.decode(answer.read())["path"])

    def open(self) -> tuple[socket.socket, str]:
        """See `Reach.open`."""
        token = self._token()
        connection = self._connect(_SILENCE_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise self._unreachable(error) from error
        made: socket.socket = connection.sock
        return made, token

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None,
        headers: dict[str, str],
        seconds: float,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; give its answer if it is a good one."""
        token = self._token()
        connection = self._connect(seconds)
        try:
            everything = {"Authorization": f"Bearer {token}", **headers}
            chunked = "Transfer-Encoding" in headers
            with suppress(BrokenPipeError):  # a body that is refused early: the answer says why
                connection.request(method, path, body, everything, encode_chunked=chunked)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _error(answer)
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _unreachable(self, error: Exception) -> SkerryError:
        if isinstance(error, PermissionError):
            return DENIED(f"{self.where} may not be opened by this user.", why=f"{error}.")
        if isinstance(error, TimeoutError):
            return NODE_UNREACHABLE(f"{self.where} does not answer.", hint="skerry doctor")
        return NODE_UNREACHABLE(
            f"No node answers at {self.where}.",
            why=f"{error}." if str(error) else f"{type(error).__name__}.",
            hint="skerry up",
        )


def _error(answer: http.client.HTTPResponse) -> SkerryError:
    body = answer.read(_LINE_BYTES_MAX)
    try:
        shape = msgspec.json.decode(body)
    except msgspec.DecodeError:
        shape = None
    if isinstance(shape, dict) and "code" in shape:
        return from_dict(shape)
    return INTERNAL(
        f"The answer is not a node's: HTTP {answer.status}.",
        why="Something else may listen there.",
        hint="skerry doctor",
    )


def local(root: Path) -> Client:
    """Return the client of the node whose home is at `root`."""
    from skerry.node.home import Home  # noqa: PLC0415 (a remote node needs none)

    home = Home(root)

    def token() -> str:
        named = os.environ.get("SKERRY_TOKEN", "").strip()
        if named:
            return named
        try:
            return home.token()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NODE_UNREACHABLE(
                f"No node has run on {root} yet.", why=f"{error}.", hint="skerry up"
            ) from error
        except PermissionError as error:
            raise DENIED(
                f"The node's token in {root} belongs to another user.",
                why="Only the user that runs the node may read it.",
                hint="SKERRY_TOKEN=… skerry --node http://127.0.0.1:7878 status",
            ) from error

    return Client(
        f"the node of {root}", lambda seconds: UnixConnection(home.socket, seconds), token
    )


def remote(url: str) -> Client:
    """Return the client of the node at a URL; its token comes from SKERRY_TOKEN."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise INVALID(
            f"{url!r} is not the URL of a node.", hint="Such as https://node.example:7878."
        )
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    def connect(seconds: float) -> http.client.HTTPConnection:
        assert parts.hostname is not None
        return kind(parts.hostname, parts.port, timeout=seconds)

    def token() -> str:
        named = os.environ.get("SKERRY_TOKEN", "").strip()
        if named:
            return named
        from skerry.surfaces.cli.logins import kept  # noqa: PLC0415 (only without one named)

        found = kept(url)
        if not found:
            raise UNAUTHENTICATED(
                f"There is no token for {url}.",
                why="It comes from SKERRY_TOKEN, or from a log-in.",
                hint=f"skerry login --node {url}",
            )
        return found

    return Client(url, connect, token, url.rstrip("/"))
