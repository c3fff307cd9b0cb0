"""Run the libSQL JavaScript client's own suite against a running database; see README.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main(checkout: str, url: str) -> int:
    """Install and build the suite if need be, run it, print its score; return 1 if a case fails."""
    root = Path(checkout).resolve()
    package = root / "packages" / "libsql-client"
    if not (root / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=root, check=True)
    if not (root / "packages" / "libsql-core" / "lib-cjs").exists():
        build = ["npm", "run", "build", "--workspace", "packages/libsql-core"]
        subprocess.run(build, cwd=root, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True
    )
    environment = {
        **os.environ,
        "URL": url,
        "AUTH_TOKEN": sys.stdin.readline().strip(),
        "SERVER": "sqld",
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            ["npx", "jest", "--runInBand", "--forceExit", "--json", f"--outputFile={report}"],
            cwd=package,
            env=environment,
            stdout=subprocess.DEVNULL,
            timeout=900,
            check=False,
        )
        result = json.loads(report.read_text())
    for file in result["testResults"]:
        for case in file["assertionResults"]:
            if case["status"] == "failed":
                print(f"failed: {case['fullName']}")
    score = {
        "commit": commit.stdout.strip(),
        "passed": result["numPassedTests"],
        "skipped": result["numPendingTests"],
        "failed": result["numFailedTests"],
        "total": result["numTotalTests"],
    }
    print(json.dumps(score))
    return 1 if result["numFailedTests"] else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: echo TOKEN | run.py CHECKOUT URL")
    sys.exit(main(*sys.argv[1:]))
