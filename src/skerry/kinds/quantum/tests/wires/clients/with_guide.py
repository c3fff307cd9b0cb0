"""Runs what the guide shows of a client, then a test's script of it: in one process, for speed."""

from __future__ import annotations

import json
import os
import runpy
import sys


def main() -> None:
    """Run the guide's lines with the names that they expect, then the script that is named."""
    guide = json.loads(os.environ.pop("SKERRY_GUIDE"))
    exec(compile(guide["code"], "quantum-clients.md", "exec"), dict(guide["names"]))
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
