"""Model servers of this machine: children of the cell, started by the first call.

Each serves one model in the OpenAI shape on a unix socket. A server that has died is started anew
by the next call; one whose engine goes away ends by itself, because its standard input closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import msgspec

from skerry.kernel.errors import CONFIG_INVALID, ENGINE_FAILED, EXTRA_MISSING, TIMED_OUT
from skerry.kernel.kind import Context
from skerry.kinds.models.config import LocalConfig
from skerry.kinds.models.gateway.routes import Route
from skerry.kinds.models.local.setting import EXTRA_STATUS, Setting

START_SECONDS_MAX = 300.0
STOP_SECONDS_MAX = 5.0
_MODULES = {"llama": "skerry.kinds.models.local.llama", "onnx": "skerry.kinds.models.local.onnx"}
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "CUDA_VISIBLE_DEVICES")


class ModelServers:
    """Starts and ends them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._starting: dict[str, asyncio.Task[str]] = {}
        self._processes: dict[str, Process] = {}
        self._readers: set[asyncio.Task[None]] = set()

    def running(self) -> list[str]:
        """Return the names of models that are loaded."""
        return sorted(n for n, process in self._processes.items() if process.returncode is None)

    def processes(self) -> list[Process]:
        """Return the servers that run."""
        return [each for each in self._processes.values() if each.returncode is None]

    async def socket(self, route: Route) -> str:
        """Return where a local model is served, starting its server if need be."""
        assert route.local is not None
        name = route.model
        process = self._processes.get(name)
        task = self._starting.get(name)
        ended = process is not None and process.returncode is not None
        failed = task is not None and task.done() and (task.cancelled() or task.exception())
        if task is None or failed or (ended and task.done()):
            task = asyncio.create_task(self._start(name, route.local))
            self._starting[name] = task
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End every server."""
        for task in self._starting.values():
            task.cancel()
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        await asyncio.gather(*(self._end(each) for each in self._processes.values()))
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._starting.clear()
        self._processes.clear()

    async def _end(self, process: Process) -> None:
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _start(self, name: str, settings: LocalConfig) -> str:
        setting = self._setting(name, settings)
        await asyncio.to_thread(Path(setting.socket).unlink, missing_ok=True)
        program = settings.program or (shutil.which("llama-server") if settings.gguf else None)
        command = _llama_server(program, setting) if program else _worker(setting)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_environment()
        )
        self._processes[name] = process
        assert process.stdin and process.stdout and process.stderr
        lines = _LastLines()
        self._read(process.stdout, lines)
        self._read(process.stderr, lines)
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                if not program:
                    process.stdin.write(msgspec.json.encode(setting) + b"\n")
                await _answers(process, setting.socket)
        except TimeoutError as error:
            await self._end(process)
            raise TIMED_OUT(
                f"The model {name} did not load within {START_SECONDS_MAX:g} s."
            ) from error
        if process.returncode is not None:
            raise self._failed(name, setting, process.returncode, lines.text())
        self._context.log.info("model %s is loaded from %s", name, setting.path)
        return setting.socket

    def _setting(self, name: str, settings: LocalConfig) -> Setting:
        if bool(settings.gguf) == bool(settings.onnx):
            raise CONFIG_INVALID(
                f"The local model {name} needs either gguf or onnx.", hint="skerry docs app"
            )
        path = self._context.code / (settings.gguf or settings.onnx)
        if not os.access(path, os.R_OK):
            raise CONFIG_INVALID(
                f"The local model {name} cannot be read from {path}.",
                why="It is not there, or this node does not let engines read it.",
                hint='Name its folder in <home>/config.toml: engine-read = ["/srv/models"]',
            )
        return Setting(
            name=name,
            engine="llama" if settings.gguf else "onnx",
            path=str(path),
            socket=str(self._context.run / f"model-{_short(name)}.sock"),
            context=settings.context,
            threads=settings.threads or max((os.cpu_count() or 2) - 1, 1),
            parallel=settings.parallel,
            embeddings=settings.embeddings,
        )

    def _failed(self, name: str, setting: Setting, status: int, said: str) -> Exception:
        if status == EXTRA_STATUS:
            return EXTRA_MISSING(
                f"The local model {name} needs a library that is not installed.",
                why=said,
                hint='pip install "skerry[models-local]"',
            )
        return ENGINE_FAILED(
            f"The local model {name} did not load from {setting.path}.", why=said[-500:]
        )

    def _read(self, stream: asyncio.StreamReader, lines: _LastLines) -> None:
        task = asyncio.create_task(lines.follow(stream))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)


class _LastLines:
    """Follows what a server says, so that it never waits for a reader; keeps the end of it."""

    def __init__(self) -> None:
        self._data = bytearray()

    async def follow(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(4096):
            self._data += data
            del self._data[:-4096]

    def text(self) -> str:
        lines = self._data.decode("utf-8", "replace").strip().splitlines()
        return " ".join(lines[-3:])


def _worker(setting: Setting) -> list[str]:
    return [sys.executable, "-I", "-m", _MODULES[setting.engine]]


def _llama_server(program: str, setting: Setting) -> list[str]:
    return [
        program,
        *("--model", setting.path, "--alias", setting.name, "--host", setting.socket),
        *("--ctx-size", str(setting.context * setting.parallel), "--jinja"),
        *("--parallel", str(setting.parallel), "--threads", str(setting.threads)),
        *(("--embeddings",) if setting.embeddings else ()),
    ]


async def _answers(process: Process, socket: str) -> None:
    """Wait until a server accepts connections and says that its model is loaded, or ends."""
    while process.returncode is None:
        try:
            reader, writer = await asyncio.open_unix_connection(socket)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.write(b"GET /health HTTP/1.0\r\nHost: local\r\n\r\n")
        head = await reader.read(64)
        writer.close()
        if head.split(b" ")[1:2] == [b"200"]:
            return
        await asyncio.sleep(0.1)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
