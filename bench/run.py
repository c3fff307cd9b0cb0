"""Measure Skerry beside its peers and write the page of results.

    python bench/run.py [NAME …] [--quick | --full] [--json FILE] [--no-write]

Without a name, everything is measured. Every figure is a ratio to a peer in the same run, measured
in turns. Results go to `docs/reference/benchmarks.md`, each between its markers; --quick, which is
for trying things out, writes nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from harness import ROOT, Options, load_average, machine, say

NAMES = (
    "postgres", "branch", "router", "hrana", "bucket", "backup", "models", "policy", "workloads",
    "ledger", "market", "federation", "quantum", "cli",
)  # fmt: skip
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"


def main() -> int:
    """Carry out the command line."""
    options = parse()
    sizes = Options(options.quick, options.full)
    results: dict[str, Any] = {"machine": machine(), "sections": {}}
    for name in options.names or NAMES:
        before, start = load_average(), time.perf_counter()
        say(f"{name} (load {before})")
        report = importlib.import_module(name).measure(sizes)
        took = time.perf_counter() - start
        foot = footer(name, before, took, full=options.full)
        body = f"{report.markdown()}\n\n{foot}"
        results["sections"][name] = report.as_dict() | {"seconds": took, "load_before": before}
        print(f"\n## {name}\n\n{body}\n", flush=True)
        if not (options.no_write or options.quick):
            write(name, body)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2, default=str) + "\n")
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help="what")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="small sizes, nothing written")
    sizes.add_argument("--full", action="store_true", help="the sizes that the aims name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every measurement")
    parser.add_argument("--no-write", action="store_true", help="leave the page as it is")
    return parser.parse_args()


def footer(name: str, before: str, seconds: float, *, full: bool) -> str:
    """Return the line that says how, where and when a section was measured."""
    facts = machine()
    place = ", ".join((facts["processor"], facts["memory"], facts["kernel"], facts["file system"]))
    return (
        f"`python bench/run.py {name}{' --full' if full else ''}` in {seconds:.0f} s, "
        f"{time.strftime('%Y-%m-%d', time.gmtime())}: {place}, Python {facts['python']}, "
        f"{facts['user']}; load average {before} before, {load_average()} after."
    )


def write(name: str, body: str) -> None:
    """Put a section between its markers; raise ValueError if the page has none."""
    text = PAGE.read_text()
    found = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not found.search(text):
        raise ValueError(f"{PAGE.name} has no markers for {name}")
    PAGE.write_text(found.sub(lambda match: f"{match[1]}{body}\n{match[2]}", text))


if __name__ == "__main__":
    sys.exit(main())
