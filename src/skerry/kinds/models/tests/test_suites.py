"""The endpoint as llm-comply and OpenAI's JavaScript client see it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from skerry.kinds.models.tests.conftest import Rig

ROOT = Path(__file__).resolve().parents[5]
SCRIPT = Path(__file__).with_name("client.mjs")
SCORES = {"openai-chat": (9, 0, 0), "open-responses": (13, 0, 0)}


async def output_of(*command: str, folder: Path, text: str = "") -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=folder
    )
    out, error = await process.communicate(text.encode())
    assert process.returncode == 0, (out + error).decode()
    return out.decode()


@pytest.fixture(scope="session")
def javascript() -> Path:
    """Return the folder where the pinned `openai` is installed."""
    if shutil.which("node") is None:
        pytest.skip("NOT TESTED: there is no Node.js here for the official JavaScript client")
    folder = ROOT / "tests" / "clients"
    if not (folder / "node_modules" / "openai").exists():
        pytest.skip("NOT TESTED: python3 dev.py check installs openai in tests/clients")
    return folder


async def test_the_official_javascript_client(rig: Rig, javascript: Path) -> None:
    script = SCRIPT.read_text(encoding="utf-8")
    command = ("node", "--input-type=module", "-e", script, "", rig.base_url)
    printed = await output_of(*command, text=rig.key, folder=javascript)
    assert printed.strip().endswith("done")


async def test_llm_comply_gives_the_published_score() -> None:
    runner = ROOT / "suites" / "llm_comply" / "run.py"
    printed = await output_of(sys.executable, str(runner), "--json", folder=ROOT)
    decoder, found, at = json.JSONDecoder(), {}, 0
    while at < len(printed.rstrip()):
        result, at = decoder.raw_decode(printed, at)
        at += 1
        summary = result["summary"]
        found[result["format"]] = (summary["passed"], summary["failed"], summary["skipped"])
    assert found == SCORES
    page = (ROOT / "docs" / "reference" / "compatibility.md").read_text()
    for passed, failed, skipped in SCORES.values():
        assert f"| {passed + failed + skipped} | {passed} | {skipped} | {failed} |" in page
