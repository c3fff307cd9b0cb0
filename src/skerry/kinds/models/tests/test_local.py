"""Models of this machine: llama.cpp and onnxruntime with real files, though tiny ones."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError

from skerry.kernel.errors import EXTRA_MISSING, SkerryError
from skerry.kinds.models.config import LocalConfig
from skerry.kinds.models.local.servers import ModelServers
from skerry.kinds.models.tests.conftest import Rig, Start
from skerry.kinds.models.tests.tiny import write_gguf, write_onnx

ASKED: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("weights")
    write_gguf(made / "tiny.gguf")
    write_onnx(made / "embedder")
    return made


@pytest.fixture
async def local(start: Start, folder: Path) -> AsyncIterator[tuple[Rig, AsyncOpenAI]]:
    models = {
        "tiny": LocalConfig(gguf=str(folder / "tiny.gguf"), context=256, threads=1, parallel=2),
        "embedder": LocalConfig(onnx=str(folder / "embedder"), threads=1),
    }
    async with (
        start(local=models, aliases={"chat": ["one/broken", "tiny"]}, retries=0) as rig,
        AsyncOpenAI(base_url=rig.base_url, api_key=rig.key, max_retries=0) as client,
    ):
        yield rig, client


async def test_llama_answers_whole_and_streamed(local: tuple[Rig, AsyncOpenAI]) -> None:
    rig, client = local
    raw = await client.chat.completions.with_raw_response.create(
        model="tiny", messages=ASKED, max_tokens=8
    )
    assert raw.headers["x-skerry-provider"] == "local"
    answer = raw.parse()
    assert answer.model == "tiny" and answer.choices[0].finish_reason == "length"
    assert answer.usage and answer.usage.completion_tokens == 8
    stream = await client.chat.completions.create(
        model="tiny",
        messages=ASKED,
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
    )
    parts = [part async for part in stream]
    assert parts[-1].usage and parts[-1].usage.completion_tokens == 6
    assert rig.meter.counts["micro_eur"] == 0 and rig.meter.counts["output_tokens"] == 14
    assert (await rig.engine.status())["local"] == ["tiny"]


async def test_llama_keeps_to_a_json_schema(local: tuple[Rig, AsyncOpenAI]) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await local[1].chat.completions.create(
        model="tiny", messages=ASKED, max_tokens=64, response_format=form
    )
    found = msgspec.json.decode(answer.choices[0].message.content or "")
    assert set(found) == {"ok"} and isinstance(found["ok"], bool)


async def test_a_local_model_is_what_a_provider_falls_back_to(
    local: tuple[Rig, AsyncOpenAI],
) -> None:
    rig, client = local
    raw = await client.chat.completions.with_raw_response.create(
        model="chat", messages=ASKED, max_tokens=2
    )
    assert raw.headers["x-skerry-model"] == "tiny"
    assert rig.providers["one"].calls["broken"] == 1


async def test_onnx_makes_embeddings(local: tuple[Rig, AsyncOpenAI]) -> None:
    _, client = local
    found = await client.embeddings.create(
        model="embedder", input=["small rocks in the sea", "rocks", "rocks rocks"]
    )
    vectors = [item.embedding for item in found.data]
    assert all(sum(x * x for x in vector) == pytest.approx(1, abs=1e-4) for vector in vectors)
    assert vectors[1] == pytest.approx(vectors[2], abs=1e-5), "the mean, without the padding"
    assert found.usage.prompt_tokens == 8
    with pytest.raises(BadRequestError, match="embeddings only"):
        await client.chat.completions.create(model="embedder", messages=ASKED)


async def test_many_callers_start_a_model_once_and_one_that_died_again(
    local: tuple[Rig, AsyncOpenAI],
) -> None:
    rig, client = local
    await asyncio.gather(*(client.embeddings.create(model="embedder", input="a") for _ in range(9)))
    (process,) = rig.engine.servers.processes()
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert (await client.embeddings.create(model="embedder", input="a")).data


async def test_a_model_server_ends_with_its_engine(local: tuple[Rig, AsyncOpenAI]) -> None:
    rig, client = local
    await client.embeddings.create(model="embedder", input="a")
    (process,) = rig.engine.servers.processes()
    await rig.engine.servers.close()
    assert process.returncode is not None


async def test_a_model_that_is_not_there_is_told_so(start: Start, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"this is no model")
    models = {
        "gone": LocalConfig(gguf=str(tmp_path / "gone.gguf")),
        "bad": LocalConfig(gguf=str(tmp_path / "bad.gguf")),
    }
    async with (
        start(local=models) as rig,
        AsyncOpenAI(base_url=rig.base_url, api_key=rig.key, max_retries=0) as client,
    ):
        for name, said in (("gone", "cannot be read"), ("bad", "did not load")):
            with pytest.raises(APIStatusError, match=said):
                await client.chat.completions.create(model=name, messages=ASKED)


async def test_a_library_that_is_missing_is_named(
    local: tuple[Rig, AsyncOpenAI], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, _ = local
    monkeypatch.setattr(
        "skerry.kinds.models.local.servers._worker",
        lambda _: [sys.executable, "-c", "import sys; sys.exit(78)"],
    )
    with pytest.raises(SkerryError) as missing:
        await rig.engine.servers.socket(rig.engine.routes.find("embedder")[0])
    assert missing.value.problem is EXTRA_MISSING
    assert "skerry[models-local]" in missing.value.hint


async def test_a_llama_server_of_ones_own_is_started_as_it_expects(
    start: Start, folder: Path, tmp_path: Path
) -> None:
    """The program is a fake here: the real one is no package of this machine."""
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable}\n{_SERVER}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    models = {"own": LocalConfig(gguf=str(folder / "tiny.gguf"), program=str(program))}
    async with start(local=models) as rig:
        servers: ModelServers = rig.engine.servers
        await servers.socket(rig.engine.routes.find("own")[0])
        assert servers.running() == ["own"]
        said = (tmp_path / "said").read_text().split("\n")
        assert said[said.index("--model") + 1] == str(folder / "tiny.gguf")
        assert said[said.index("--host") + 1].endswith(".sock")


_SERVER = """
import pathlib, socket, sys
pathlib.Path(__file__).with_name("said").write_text("\\n".join(sys.argv))
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[sys.argv.index("--host") + 1])
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    connection.close()
"""
