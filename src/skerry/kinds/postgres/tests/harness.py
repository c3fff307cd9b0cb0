"""Runs one engine in a process of its own, as a node does; a pipe carries the calls.

As root the process gets a user namespace, because PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import SkerryError, from_dict
from skerry.kernel.keys import Keys, derive
from skerry.kernel.kind import Context
from skerry.kernel.names import ResourceRef

_LIMIT = 1 << 24


def keys_of(resource_id: str, lineage: str = "db") -> Keys:
    root = b"test key"
    return Keys(derive(root, "own", resource_id), derive(root, "lineage", lineage))


class EngineProcess:
    """An engine in a child process, with its state under `home`."""

    def __init__(self, home: Path, resource_id: str = "00000000000000aa", **config: Any) -> None:
        self.home = home
        self.id = resource_id
        self.config = config
        self.secrets: dict[str, str] = {}
        self.ref = ResourceRef("newsroom", "main", "postgres", "db")
        self.keys = keys_of(resource_id)
        self.directory = home / "state"
        self.run = Path(tempfile.mkdtemp(prefix="skp", dir="/tmp"))
        self.uid = 65534
        self.process: asyncio.subprocess.Process | None = None
        self.progress: list[tuple[int, int, str]] = []

    async def launch(self) -> EngineProcess:
        self.directory.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, __file__]
        if os.geteuid() == 0:
            names = [f"--map-user={self.uid}", f"--map-group={self.uid}"]
            argv = ["unshare", "--user", *names, *argv]
        self.process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LIMIT,
        )
        await self.call(
            "open",
            directory=str(self.directory),
            run=str(self.run),
            id=self.id,
            ref=msgspec.to_builtins(self.ref),
            config=self.config,
            secrets=self.secrets,
        )
        return self

    async def call(self, method: str, **values: Any) -> Any:
        assert self.process and self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([method, values]).encode() + b"\n")
        while True:
            line = await self.process.stdout.readline()
            if not line:
                raise ConnectionError("the engine's process has ended")
            kind, value = json.loads(line)
            if kind == "progress":
                self.progress.append(tuple(value))
            elif kind == "error":
                raise from_dict(value)
            else:
                return value

    async def start(self) -> EngineProcess:
        if self.process is None:
            await self.launch()
        await self.call("start")
        return self

    @property
    def socket(self) -> str:
        return str(self.run / ".s.PGSQL.5432")

    async def kill(self) -> None:
        """`kill -9` of the engine's process."""
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        self.process = None

    async def close(self) -> None:
        if self.process:
            if self.process.returncode is None:
                with contextlib.suppress(ConnectionError, SkerryError):
                    await self.call("stop")
                assert self.process.stdin
                self.process.stdin.close()
            await self.process.wait()
            self.process = None
        shutil.rmtree(self.run, ignore_errors=True)

    async def __aenter__(self) -> EngineProcess:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def connection(self, **more: Any) -> dict[str, Any]:
        """Return the fields for a direct connection as the application."""
        fields = {"host": str(self.run), "user": "app", "password": self.keys.secret("password")}
        return fields | {"database": "app"} | more

    def clone(self, home: Path, resource_id: str) -> EngineProcess:
        """Copy the state as a node's volume would."""
        copy = EngineProcess(home, resource_id, **self.config)
        shutil.copytree(self.directory, copy.directory, symlinks=True)
        return copy


class _Host:
    def progress(self, done: int, total: int, text: str) -> None:
        _say("progress", [done, total, text])

    async def ready(self, resource: str) -> str:
        raise NotImplementedError

    async def bind(self, resource: str) -> Any:
        raise NotImplementedError


class _Meter:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, unit: str, amount: int = 1) -> None:
        self.counts[unit] += amount


def _say(kind: str, value: Any) -> None:
    os.write(1, json.dumps([kind, value]).encode() + b"\n")


async def _lines() -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader(limit=_LIMIT)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line


async def _serve() -> None:
    from skerry.kinds.postgres.engine import PostgresEngine

    engine: Any = None
    meter = _Meter()
    async for line in _lines():
        method, values = json.loads(line)
        try:
            if method == "open":
                engine = PostgresEngine(
                    Context(
                        ref=msgspec.convert(values["ref"], ResourceRef),
                        id=values["id"],
                        directory=Path(values["directory"]),
                        run=Path(values["run"]),
                        code=Path("/"),
                        config=values["config"],
                        keys=keys_of(values["id"]),
                        meter=meter,
                        clock=SystemClock(),
                        host=_Host(),
                        secrets=values["secrets"],
                    )
                )
                answer = None
            elif method == "counts":
                answer = dict(meter.counts)
            elif method.startswith("word_"):
                manifest = __import__("skerry.kinds.postgres.manifest", fromlist=["MANIFEST"])
                word = next(w for w in manifest.MANIFEST.words if w.name == method[5:])
                params = msgspec.convert(values, word.params)
                answer = msgspec.to_builtins(await getattr(engine, method)(params))
            elif method in ("export", "restore"):
                answer = await getattr(engine, method)(Path(values["path"]))
            else:
                answer = await getattr(engine, method)(**values)
            _say("ok", answer)
        except SkerryError as error:
            logging.warning("%s: %s", error.what, error.why)
            _say("error", error.as_dict())
        except Exception as error:
            logging.critical("the engine failed", exc_info=True)
            _say("error", {"code": "INTERNAL", "what": repr(error)})


if __name__ == "__main__":
    logging.basicConfig(level=os.environ.get("LOG", "CRITICAL"))
    asyncio.run(_serve())
