"""Run the integration tests of Amazon Braket's SDK against a node and tell how many pass.

    python suites/braket_sdk/run.py <checkout of amazon-braket-sdk-python> [pytest's arguments]

Nothing is fetched. The tests are copied and run as they are, in the region us-east-1. Cases of what
runs in the SDK's own process (`test_local_*`), and of jobs in a container on the caller's machine
(`test_create_local_*`), are left out.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from skerry.app import kinds, services
from skerry.testing.nodes import deploy, perform, running_node

LEFT_OUT = ("test_local_*", "test_create_local_*")


async def run(checkout: Path, arguments: list[str]) -> int:
    """Run the suite in a copy; return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="skerry-") as made:
        copy = Path(made)
        shutil.copytree(checkout / "test", copy / "test")
        async with running_node(kinds(), services=services()) as node:
            await deploy(node, {"skerry.toml": '[app]\nname = "lab"\n[quantum.qpu]\n'})
            found = await perform(node, "resource.connect", name="qpu", app="lab", branch="main")
            return await _pytest(copy, found.fields, arguments)


async def _pytest(copy: Path, fields: dict[str, str], arguments: list[str]) -> int:
    credentials = copy / "credentials"
    credentials.write_text(
        f"[skerry]\naws_access_key_id={fields['access_key']}\n"
        f"aws_secret_access_key={fields['secret_key']}\n"
    )
    ours = {
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "AWS_PROFILE": "skerry",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": fields["url"],
        "BRAKET_ENDPOINT": fields["url"],
        "BRAKET_PRICE_OFFERS_URL": f"{fields['base']}/braket/prices.csv",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BRAKET_"))}
    left = [f"--ignore-glob=*/{each}" for each in LEFT_OUT]
    command = ["-m", "pytest", "-n1", "-q", "--timeout=240", "-p", "no:cacheprovider", "-rfE"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command, "test/integ_tests", *left, *arguments),
        cwd=copy,
        env={**kept, **ours},
    )
    return await process.wait()


def main() -> None:
    """Run what the command line names."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(asyncio.run(run(Path(sys.argv[1]).resolve(), sys.argv[2:])))


if __name__ == "__main__":
    main()
