"""Run the tests of qiskit-scaleway, which want a real account, against a node and tell the score.

    python3.12 -m venv client
    client/bin/pip install qiskit-scaleway==0.3.13 pytest pytest-timeout
    python suites/scaleway/run.py client/bin/python <checkout of qiskit-scaleway> [pytest's …]

Nothing is fetched. The tests are run as they are, by their own variables: those that name one of
Scaleway's simulators (Aer, CUDA-Q, qsim, …) are given this node's, on which a program runs by the
engine that is chosen for it. One test names its machine in its own text and takes no other.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from skerry.app import kinds, services
from skerry.testing.nodes import deploy, perform, running_node

SIMULATOR = "EMU-SKERRY"
NAMED = ("QISKIT", "CUDAQ", "QPERFECT", "QSIM", "QUOBLY")


async def run(python: str, checkout: Path, arguments: list[str]) -> int:
    """Run the suite; return pytest's exit code."""
    async with running_node(kinds(), services=services()) as node:
        await deploy(node, {"skerry.toml": '[app]\nname = "lab"\n[quantum.qpu]\n'})
        found = await perform(node, "resource.connect", name="qpu", app="lab", branch="main")
        ours = {
            "QISKIT_SCALEWAY_PROJECT_ID": "8f1e6a2c-0000-4000-8000-000000000000",
            "QISKIT_SCALEWAY_SECRET_KEY": found.fields["token"],
            "QISKIT_SCALEWAY_API_URL": f"{found.fields['base']}/scaleway",
            **{f"{name}_SCALEWAY_BACKEND_NAME": SIMULATOR for name in NAMED},
        }
        command = ["-m", "pytest", "-q", "--timeout=300", "-p", "no:cacheprovider", "-rfEs"]
        process = await asyncio.create_subprocess_exec(
            *(python, *command, "tests", *arguments),
            cwd=checkout,
            env={**os.environ, **ours},
        )
        return await process.wait()


def main() -> None:
    """Run what the command line names."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    python, checkout, *arguments = sys.argv[1:]
    sys.exit(asyncio.run(run(str(Path(python).absolute()), Path(checkout).resolve(), arguments)))


if __name__ == "__main__":
    main()
