"""Read OpenQASM's example programs by the official parser, and run them on the simulator.

    git clone https://github.com/openqasm/openqasm somewhere
    python suites/openqasm/run.py somewhere/examples

A program that parses and cannot run must be refused with its line and the reason, never by a
failure of ours. Those that are: pulses (defcal, t1), external functions without a body
(gateteleport, which runs with a `def` of the same name; scqec, vqe), and programs that are no whole
ones: a register that is not declared (cphase), an index outside of its register (arrays, msd), a
gate without its angles (dd).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from openqasm3 import ast, parse

from skerry.kinds.quantum.worker import running
from skerry.kinds.quantum.worker.ir import UnsupportedError

SHOTS = 200


def bindings(tree: ast.Program) -> dict[str, float]:
    """Return a value for every input of a program."""
    return {
        each.identifier.name: 0.5
        for each in tree.statements
        if isinstance(each, ast.IODeclaration) and each.io_identifier is ast.IOKeyword.input
    }


def main() -> None:
    """Read and run every program of a folder and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    files = sorted(parser.parse_args().folder.rglob("*.qasm"))
    parsed = runnable = refused = 0
    for path in files:
        text = path.read_text(encoding="utf-8")
        try:
            tree = parse(text)
        except Exception as error:  # the parser's own failures have no common class
            print(f"{path.name}: does not parse: {type(error).__name__}")
            continue
        parsed += 1
        try:
            found = running.run(
                {"source": text, "format": "openqasm3", "bindings": bindings(tree)}
                | {"device": None, "shots": SHOTS, "seed": 1, "memory_bytes": 4 << 30}
            )
            runnable += 1
            often = max(found["counts"], key=found["counts"].get)
            print(f"{path.name}: runs on {found['engine']}, most often {often}")
        except UnsupportedError as error:
            refused += 1
            print(f"{path.name}: refused: line {error.line}: {error.what}")
    print(
        f"\n{len(files)} programs: {parsed} parsed, {runnable} run, {refused} refused with a line"
    )


main()
