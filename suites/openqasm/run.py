"""Read OpenQASM's example programs: by the official parser, and as circuits that can run.

    git clone https://github.com/openqasm/openqasm somewhere
    python suites/openqasm/run.py somewhere/examples

A program that parses and cannot run (it decides while it runs, or calls pulses) must be refused
with its line and the reason, never by a failure of ours.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from openqasm3 import ast, parse

from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.qasm import read


def bindings(tree: ast.Program) -> dict[str, float]:
    """Return a value for every input of a program."""
    return {
        each.identifier.name: 0.5
        for each in tree.statements
        if isinstance(each, ast.IODeclaration) and each.io_identifier is ast.IOKeyword.input
    }


def main() -> None:
    """Read every program of a folder and print a table."""
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
            circuit = read(text, bindings(tree))
            runnable += 1
            print(f"{path.name}: {circuit['qubits']} qubits, {len(circuit['ops'])} operations")
        except UnsupportedError as error:
            refused += 1
            print(f"{path.name}: refused: line {error.line}: {error.what}")
    print(
        f"\n{len(files)} programs: {parsed} parsed, {runnable} run, {refused} refused with a line"
    )


main()
