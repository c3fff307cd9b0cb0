"""WSGI applications (PEP 3333) as ASGI: each request is answered in a thread of the pool."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, MutableMapping
from typing import IO, Any

from skerry.kinds.functions.config import FunctionsConfig
from skerry.kinds.functions.pool import Pool

BODY_MEMORY_BYTES = 1 << 20
"""A body up to this size is held in memory; a larger one in a temporary file."""


class WSGI:
    """A WSGI application behind ASGI."""

    def __init__(
        self, application: Callable[..., Any], pool: Pool, config: FunctionsConfig
    ) -> None:
        self._application = application
        self._pool = pool
        self._seconds = config.timeout_seconds

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("a WSGI app answers HTTP, not WebSockets")
        with tempfile.SpooledTemporaryFile(BODY_MEMORY_BYTES) as body:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                await asyncio.to_thread(body.write, message.get("body", b""))
                more = message.get("more_body", False)
            values = environ(scope, body)
            values["CONTENT_LENGTH"] = str(body.tell())
            body.seek(0)
            answer = _Answer(values, send, self._pool)
            await self._pool.run(self._seconds, answer.run, self._application)


class _Answer:
    """One call of the application, in a thread; what it sends is handed to the loop."""

    def __init__(self, environ: dict[str, Any], send: Any, pool: Pool) -> None:
        self._environ = environ
        self._send_to_client = send
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._start: dict[str, Any] | None = None
        self._began = False

    def run(self, application: Callable[..., Any]) -> None:
        chunks = application(self._environ, self._start_response)
        try:
            for chunk in chunks:
                if chunk:
                    self._write(chunk)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        self._begin()
        self._send({"type": "http.response.body", "body": b""})

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and self._began:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self._start is not None:
            raise RuntimeError("start_response was called twice")
        self._start = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
            ],
        }
        return self._write

    def _write(self, data: bytes) -> None:
        self._begin()
        self._send({"type": "http.response.body", "body": data, "more_body": True})

    def _begin(self) -> None:
        if self._start is None:
            raise RuntimeError("the app answered without start_response")
        if not self._began:
            self._began = True
            self._send(self._start)
            self._pool.relax()

    def _send(self, message: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(self._send_to_client(message), self._loop).result()


def environ(scope: MutableMapping[str, Any], body: IO[bytes]) -> dict[str, Any]:
    """Return what PEP 3333 wants to be told about a request."""
    root = scope.get("root_path", "")
    server = scope.get("server") or ("localhost", 80)
    values: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _native(root),
        "PATH_INFO": _native(scope["path"].removeprefix(root)),
        "QUERY_STRING": scope["query_string"].decode("ascii"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "REMOTE_ADDR": (scope.get("client") or ("", 0))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "skerry.env": scope["state"]["env"],
    }
    for name_bytes, value_bytes in scope["headers"]:
        name = name_bytes.decode("latin-1").upper().replace("-", "_")
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        value = value_bytes.decode("latin-1")
        values[key] = f"{values[key]},{value}" if key in values else value
    return values


def _native(text: str) -> str:
    """Return text as PEP 3333 spells it: bytes of UTF-8, each as one character."""
    return text.encode().decode("latin-1")
