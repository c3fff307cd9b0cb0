"""Read OpenQASM's example programs by the official parser, and run them on the simulator.

    git clone https://github.com/openqasm/openqasm somewhere
    python suites/openqasm/run.py somewhere/examples

A program that parses and cannot run must be refused with its line and the reason, never by a
failure of ours. Those that are: pulses (defcal, t1), external functions without a body
(gateteleport, scqec, vqe), and programs that are no whole ones: a register that is not declared
(cphase), an index outside of its register (arrays, msd), a gate without its angles (dd).

Each but the pulses is then run again with what it lacks, which `LACKS` says line by line; that is
told apart, and shows that nothing else in the program is in the way.
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


LACKS: dict[str, dict[int, str]] = {
    "arrays.qasm": {51: "my_defined_uints[a - 2] = a + 1;", 76: "qubit q;"},
    "cphase.qasm": {0: "qubit[2] q;"},
    "dd.qasm": {25: "U(0, 0, 0) $3; }", 26: ""},
    "gateteleport.qasm": {
        6: "def vote(bit[n] c) -> bit { return c[0] & c[1] | c[1] & c[2] | c[0] & c[2]; }"
    },
    "msd.qasm": {23: "bit temp; bool success;", 48: "cz scratch[0], scratch[2];"},
    "scqec.qasm": {
        11: "const int[32] shots = 2;",
        16: "def zfirst(bit[n - 1] layer, int[32] shot, int[32] d) {}",
        17: "def send(bit[n - 1] layer, int[32] shot, int[32] i, int[32] d) {}",
        18: "def zlast(bit[n] c, int[32] shot, int[32] d) -> bit { return c[0] ^ c[3] ^ c[6]; }",
    },
    "vqe.qasm": {
        13: "const int[32] shots = 20;",
        17: "def get_parameter(uint[prec] k) -> angle[prec] { return k * pi / 40; }",
        18: "def get_npaulis() -> uint[prec] { return 2; }",
        19: "def get_pauli(int[prec] t) -> bit[2 * n] { bit[2 * n] s; s[n + t] = 1; return s; }",
        23: "def update_energy(int[prec] t, uint[prec] c, float[prec] e) -> float[prec] "
        "{ return e + 1 - 2 * float[prec](c) / shots; }",
        25: "def entangler(qubit[n] q) { for uint i in [0:n - 2] { cx q[i], q[i + 1]; } }",
    },
}
"""What stands instead of a line (0: before the first) to make a program a whole one."""


def completed(name: str, text: str) -> str:
    """Return a program with what it lacks."""
    lines = ["", *text.splitlines()]
    for number, line in LACKS[name].items():
        lines[number] = line
    return "\n".join(lines)


def tried(text: str) -> tuple[bool, str]:
    """Tell whether a program runs, and what came out or why not."""
    try:
        found = running.run(
            {"source": text, "format": "openqasm3", "bindings": bindings(parse(text))}
            | {"device": None, "shots": SHOTS, "seed": 1, "memory_bytes": 4 << 30}
        )
    except UnsupportedError as error:
        return False, f"refused: line {error.line}: {error.what}"
    often = max(found["counts"], key=found["counts"].get)
    return True, f"runs on {found['engine']}, most often {often}"


def main() -> None:
    """Read and run every program of a folder and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    files = sorted(parser.parse_args().folder.rglob("*.qasm"))
    parsed, as_they_are, whole = 0, 0, 0
    for path in files:
        text = path.read_text(encoding="utf-8")
        try:
            parse(text)
        except Exception as error:  # the parser's own failures have no common class
            print(f"{path.name}: does not parse: {type(error).__name__}")
            continue
        parsed += 1
        runs, said = tried(text)
        as_they_are += runs
        print(f"{path.name}: {said}")
        if not runs and path.name in LACKS:
            runs, said = tried(completed(path.name, text))
            whole += runs
            print(f"    with what it lacks: {said}")
    print(
        f"\n{len(files)} programs: {parsed} parsed, {as_they_are} run, "
        f"{parsed - as_they_are} refused with a line, {whole} of those run with what they lack"
    )


main()
