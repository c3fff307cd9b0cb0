"""The router is tested on the loop that a node runs on."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop
from tests.node.router.scene import OK, Scene


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="skr-") as folder:
        made = Scene(Path(folder))

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await made.head(reader)
                writer.write(OK)

        made.script = script
        await made.start()
        yield made
        await made.stop()
        async with asyncio.timeout(5):
            while made.running.holds:
                await asyncio.sleep(0.02)
