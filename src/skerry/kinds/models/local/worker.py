"""A process that serves one local model in the OpenAI shape on a unix socket.

It is told what to serve on its standard input, says `ready` once the model is loaded, and ends when
its standard input closes, as it does when the engine that started it is gone.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from skerry.kinds.models.local.setting import EXTRA_STATUS, RefusedError, Setting

BODY_BYTES_MAX = 32 << 20
WAITING_MAX = 64


class Model(Protocol):
    """A loaded model; it does one thing at a time."""

    def answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return a whole answer; blocks."""
        ...

    def stream(self, operation: str, body: dict[str, Any], stop: threading.Event) -> Any:
        """Yield the parts of an answer until `stop` is set; blocks."""
        ...


class Service:
    """Serves a model to callers that wait for each other."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def handle(self, request: Request) -> Response:
        """Answer a call."""
        operation = request.url.path.removeprefix("/v1/")
        body = await request.body()
        if len(body) > BODY_BYTES_MAX:
            return _error(413, "The request is too large.")
        try:
            asked = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            return _error(400, str(error))
        if self._waiting >= WAITING_MAX:
            return _error(503, "Too many calls wait for this model.")
        self._waiting += 1
        try:
            if asked.get("stream"):
                await self._turn.acquire()
                return await self._stream(operation, asked)
            async with self._turn:
                return JSONResponse(await asyncio.to_thread(self._model.answer, operation, asked))
        except (RefusedError, ValueError, TypeError) as error:
            return _error(400, str(error))
        finally:
            self._waiting -= 1

    async def _stream(self, operation: str, asked: dict[str, Any]) -> Response:
        """Begin a stream; the turn is given back when it has ended."""
        pieces = Pieces(self._model, operation, asked)
        try:
            first = await pieces.next()
        except BaseException:
            await pieces.close()
            self._turn.release()
            raise

        async def events() -> AsyncIterator[bytes]:
            part: dict[str, Any] | None = first
            try:
                while part is not None:
                    yield b"data: " + msgspec.json.encode(part) + b"\n\n"
                    part = await pieces.next()
                yield b"data: [DONE]\n\n"
            finally:
                await pieces.close()
                self._turn.release()

        return StreamingResponse(events(), media_type="text/event-stream")


class Pieces:
    """The parts of an answer, made in a thread, one at a time and only when they are taken."""

    def __init__(self, model: Model, operation: str, asked: dict[str, Any]) -> None:
        self._stop = threading.Event()
        self._source = model.stream(operation, asked, self._stop)

    async def next(self) -> dict[str, Any] | None:
        """Return the next part, or None at the end."""
        return await asyncio.to_thread(next, self._source, None)

    async def close(self) -> None:
        """Break off."""
        self._stop.set()
        await asyncio.to_thread(self._source.close)


def _error(status: int, message: str) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    shape = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return JSONResponse(shape, status_code=status)


def _load(setting: Setting) -> Model:
    if setting.engine == "onnx":
        from skerry.kinds.models.local.onnx import OnnxModel  # noqa: PLC0415 - heavy

        return OnnxModel(setting)
    from skerry.kinds.models.local.llama import LlamaModel  # noqa: PLC0415 - heavy

    return LlamaModel(setting)


def _end_with_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main() -> None:
    """Load the model and serve it."""
    setting = msgspec.json.decode(sys.stdin.buffer.readline(), type=Setting)
    try:
        model = _load(setting)
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXTRA_STATUS) from error
    threading.Thread(target=_end_with_input, daemon=True).start()
    service = Service(model)
    paths = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
    application = Starlette(
        routes=[Route(path, service.handle, methods=["POST"]) for path in paths]
    )
    config = uvicorn.Config(application, uds=setting.socket, log_config=None, access_log=False)
    server = Server(config)
    server.run()


class Server(uvicorn.Server):
    """Says `ready` once it listens."""

    async def startup(self, sockets: Any = None) -> None:
        """See `uvicorn.Server.startup`."""
        mask = os.umask(0o177)
        try:
            await super().startup(sockets)
        finally:
            os.umask(mask)
        os.chmod(self.config.uds or "", 0o600)  # noqa: PTH101 - a socket, not a file of ours
        sys.stdout.write("ready\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
