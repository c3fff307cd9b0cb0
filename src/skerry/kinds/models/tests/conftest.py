"""A gateway with fake providers: quick, slow, broken, rate-limited, and lying about usage."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import DENIED
from skerry.kernel.kind import Context
from skerry.kernel.names import ResourceRef
from skerry.kernel.policy import Decision, Evidence, Fact, Place
from skerry.kinds.models.claim import OWNER, secret_key
from skerry.kinds.models.config import ModelsConfig, Price, ProviderConfig
from skerry.kinds.models.engine import ModelsEngine
from skerry.kinds.models.tests.fake import FakeProvider
from skerry.kinds.models.wire.application import make
from skerry.testing import hosts
from skerry.testing.hosts import RESOURCE_ID, ManualClock, Tally, served
from skerry.testing.nodes import open_directory


class Judge:
    """A policy that a test sets: the countries that are allowed."""

    def __init__(self) -> None:
        self.countries = {"SE", "FR", "US"}
        self.asked: list[Place] = []

    async def __call__(self, action: str, place: Place, *, encrypted: bool = False) -> Decision:
        assert action == "models:route"
        self.asked.append(place)
        if place.country not in self.countries:
            raise DENIED(f"Policy does not allow it at {place}.", why="Rule terms: not there")
        fact = Fact(f"provider/{place.provider}", "seat", place.country, Evidence.DOCUMENTED)
        return Decision(True, "terms", "it lies there", facts=(fact,))


@dataclass
class Rig:
    """All that a test needs of a running gateway."""

    context: Context
    engine: ModelsEngine
    port: int
    providers: dict[str, FakeProvider]
    clock: ManualClock
    meter: Tally
    judge: Judge
    made: list[Any] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def key(self) -> str:
        return secret_key(RESOURCE_ID, OWNER, self.context.keys)


def new_context(directory: Path, config: ModelsConfig) -> Context:
    secrets = {"ONE_KEY": "secret-one", "TWO_KEY": "secret-two"}
    ref = ResourceRef("news", "main", "models", "ai")
    more = {"clock": ManualClock(), "secrets": secrets, "permit": Judge()}
    return hosts.new_context(directory, ref, config, **more)


PRICES = {name: Price(input=1.0, output=2.0) for name in ("good", "second", "liar", "quiet")}


def providers_config(ports: dict[str, int]) -> dict[str, ProviderConfig]:
    """Return two providers, in Sweden and in France, and one in the United States."""
    countries = {"one": "SE", "two": "FR", "far": "US"}
    secrets = {"one": "ONE_KEY", "two": "TWO_KEY"}
    return {
        name: ProviderConfig(
            base_url=f"http://127.0.0.1:{port}/v1",
            country=countries[name],
            secret=secrets.get(name, ""),
            prices=PRICES,
            concurrency=100 if name != "far" else 2,
        )
        for name, port in ports.items()
    }


Start = Callable[..., contextlib.AbstractAsyncContextManager[Rig]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Give what starts a gateway with some settings; its place is short, for paths of sockets."""
    with open_directory() as place:
        yield _starting(place)


def _starting(place: Path) -> Start:

    @contextlib.asynccontextmanager
    async def started(**settings: Any) -> AsyncIterator[Rig]:
        fakes = {name: FakeProvider() for name in ("one", "two", "far")}
        async with contextlib.AsyncExitStack() as stack:
            ports = {
                name: await stack.enter_async_context(served(fake.application))
                for name, fake in fakes.items()
            }
            settings.setdefault("aliases", {"chat": ["one/good", "two/second"]})
            config = ModelsConfig(providers=providers_config(ports), **settings)
            context = new_context(place / "state", config)
            engine = ModelsEngine(context)
            await engine.start()
            stack.push_async_callback(engine.stop)
            port = await stack.enter_async_context(served(make(engine)))
            assert isinstance(context.clock, ManualClock)
            assert isinstance(context.meter, Tally)
            assert isinstance(context.permit, Judge)
            yield Rig(context, engine, port, fakes, context.clock, context.meter, context.permit)

    return started


@pytest.fixture
async def rig(start: Start) -> AsyncIterator[Rig]:
    async with start() as started:
        yield started


def again(context: Context) -> ModelsEngine:
    """Return an engine on the same state, as after a crash."""
    return ModelsEngine(replace(context))
