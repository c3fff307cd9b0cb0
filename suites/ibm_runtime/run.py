"""Run the integration tests of qiskit-ibm-runtime against a node and tell how many pass.

    python -m venv client
    client/bin/pip install qiskit-ibm-runtime==0.49.0 qiskit-aer ddt responses plotly pproxy
    client/bin/pip install pytest pytest-timeout
    python suites/ibm_runtime/run.py client/bin/python <checkout of its tag> [pytest's arguments]

Nothing is fetched. The tests import from inside of the client, so that both are of one version,
which therefore has an environment of its own. They are copied and run as they are, on the twin of
ibm_torino, by the client's own variables (`QISKIT_IBM_TOKEN`, `_URL`, `_INSTANCE`, `_QPU`;
`IAM_URL` for its tokens).
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

BACKEND = "ibm_torino"
INSTANCE = "crn:v1:bluemix:public:quantum-computing:us-east:a/skerry:lab::"


async def run(python: str, checkout: Path, arguments: list[str]) -> int:
    """Run the suite in a copy; return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="skerry-") as made:
        copy = Path(made)
        shutil.copytree(checkout / "test", copy / "test")
        async with running_node(kinds(), services=services()) as node:
            await deploy(node, {"skerry.toml": '[app]\nname = "lab"\n[quantum.qpu]\n'})
            found = await perform(node, "resource.connect", name="qpu", app="lab", branch="main")
            return await _pytest(python, copy, found.fields, arguments)


async def _pytest(python: str, copy: Path, fields: dict[str, str], arguments: list[str]) -> int:
    base = fields["base"]
    ours = {
        "IAM_URL": f"{base}/ibm",
        "QISKIT_FUNCTIONS_EXPERIMENTAL": "1",
        "QISKIT_IBM_TOKEN": fields["token"],
        "QISKIT_IBM_URL": f"{base}/ibm/experimental",
        "QISKIT_IBM_INSTANCE": INSTANCE,
        "QISKIT_IBM_QPU": BACKEND,
        "HOME": str(copy),
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith("QISKIT_")}
    command = ["-m", "pytest", "-q", "--timeout=180", "-p", "no:cacheprovider", "-rfEs"]
    process = await asyncio.create_subprocess_exec(
        *(python, *command, "test/integration", *arguments),
        cwd=copy,
        env={**kept, **ours},
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
