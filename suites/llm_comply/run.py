"""Run llm-comply against the models kind and tell how many of its cases pass.

    python suites/llm_comply/run.py [--json]

llm-comply (MIT licence, from PyPI) checks an endpoint against the specifications of OpenAI Chat
Completions and of Open Responses. It judges the protocol, not what a model knows, so the model
behind the gateway is the scripted provider of the kind's own tests. The server runs in this process
on a loopback port, with its state in a temporary directory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from skerry.kinds.models.claim import OWNER, secret_key
from skerry.kinds.models.config import ModelsConfig
from skerry.kinds.models.engine import ModelsEngine
from skerry.kinds.models.tests.conftest import new_context, providers_config
from skerry.kinds.models.tests.fake import FakeProvider
from skerry.kinds.models.wire.application import make
from skerry.testing.hosts import served

MODEL = "deepseek-r1"
"""An alias by which the suite knows that the model thinks aloud; else it leaves a case out."""

FORMATS = ("openai-chat", "open-responses")


async def score(format_: str) -> dict[str, Any]:
    """Return what llm-comply says of one format."""
    with tempfile.TemporaryDirectory(prefix="skerry-") as made:
        fake = FakeProvider()
        async with served(fake.application) as provider:
            config = ModelsConfig(
                providers=providers_config({"one": provider}),
                aliases={MODEL: ["one/thinker"]},
            )
            context = new_context(Path(made) / "state", config)
            engine = ModelsEngine(context)
            await engine.start()
            try:
                async with served(make(engine)) as port:
                    key = secret_key(context.id, OWNER, context.keys)
                    return await _run(format_, f"http://127.0.0.1:{port}/v1", key)
            finally:
                await engine.stop()


async def _run(format_: str, url: str, key: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_comply.cli", "--format", format_, "-u", url, "-m", MODEL),
        "--json",
        stdout=asyncio.subprocess.PIPE,
        env={"OPENRESPONSES_API_KEY": key, "PATH": "/usr/bin:/bin"},
    )
    out, _ = await process.communicate()
    return json.loads(out)


def main() -> None:
    """Print the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="all that the suite says")
    options = parser.parse_args()
    for name in FORMATS:
        found = asyncio.run(score(name))
        if options.json:
            print(json.dumps({"format": name, **found}, indent=2))
            continue
        print(name, ", ".join(f"{count} {what}" for what, count in found["summary"].items()))
        for case in found["results"]:
            for said in (*case.get("errors", ()), *case.get("warnings", ())):
                print(f"  {case['id']}: {case['status']}: {said}")


if __name__ == "__main__":
    main()
