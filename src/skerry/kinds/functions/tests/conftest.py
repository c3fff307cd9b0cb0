"""Drives a function as its cell does, in the test's own process and loop."""

from __future__ import annotations

import itertools
import logging
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import ASGIApplication, Context
from skerry.kernel.names import ResourceRef
from skerry.kinds.functions.config import FunctionsConfig
from skerry.kinds.functions.engine import FunctionsEngine
from skerry.kinds.functions.wire import make

_numbers = itertools.count()


class Counts:
    """A meter that tests can read."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def add(self, unit: str, amount: int = 1) -> None:
        self.counted[unit] += amount


class FakeHost:
    """A host with ready-made bindings."""

    def __init__(self, bindings: Mapping[str, Any]) -> None:
        self._bindings = bindings

    async def ready(self, resource: str) -> str:
        return str(self._bindings[resource])

    async def bind(self, resource: str) -> Any:
        value = self._bindings[resource]
        if isinstance(value, Exception):
            raise value
        return value

    def progress(self, done: int, total: int, text: str) -> None:
        raise AssertionError("functions report no progress")


class Answer:
    """What a function sent for one request."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.messages[1:])

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Function:
    """A started function: its engine, its application, and what it counted."""

    def __init__(self, engine: FunctionsEngine, counts: Counts) -> None:
        self.engine = engine
        self.application: ASGIApplication = make(engine)
        self.counts = counts.counted

    async def request(
        self,
        path: str = "/",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: tuple[bytes, ...] = (b"",),
        receive: Callable[[], Awaitable[Any]] | None = None,
    ) -> Answer:
        answer = Answer()

        async def send(message: Any) -> None:
            answer.messages.append(message)

        scope = http_scope(path, method, headers)
        await self.application(scope, receive or body_of(*body), send)
        return answer


def http_scope(path: str, method: str, headers: Mapping[str, str] | None) -> dict[str, Any]:
    path, _, query = path.partition("?")
    given = {"host": "web--main--app.localhost:7878", **(headers or {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "server": ("unix", None),
        "client": None,
        "state": {},
    }


def body_of(*chunks: bytes) -> Callable[[], Awaitable[Any]]:
    messages = iter(
        [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, start=1)
        ]
    )

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    return receive


Start = Callable[..., Awaitable[Function]]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Write code to a folder and start it: `{module}` stands for its unique name."""
    engines: list[FunctionsEngine] = []
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.syspath_prepend(str(code))
    modules: list[str] = []

    async def start(
        source: str,
        *,
        entry: str = "{module}",
        bindings: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        **config: Any,
    ) -> Function:
        module = f"user_code_{next(_numbers)}"
        modules.append(module)
        (code / f"{module}.py").write_text(textwrap.dedent(source))
        counts = Counts()
        context = Context(
            ref=ResourceRef("app", "main", "functions", "web"),
            id="0" * 16,
            directory=tmp_path / "state",
            run=tmp_path / "run",
            code=code,
            config=msgspec.convert(
                {"entry": entry.format(module=module), **config}, FunctionsConfig
            ),
            keys=Keys(b"own", b"lineage"),
            meter=counts,
            clock=SystemClock(),
            host=FakeHost(bindings or {}),
            bindings=tuple(bindings or ()),
            secrets=secrets or {},
        )
        engine = FunctionsEngine(context)
        engines.append(engine)
        await engine.start()
        return Function(engine, counts)

    yield start
    for engine in engines:
        await engine.stop()
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
