"""Run the circuits of MQT Bench on twins, and compare what comes with the ideal outcome.

    pip install mqt.bench
    python suites/mqt_bench/run.py [--qubits 5] [--devices sim-ideal iqm-garnet …]

Every benchmark family is made for so many qubits, written as OpenQASM 3, and sent as a job to a
node of its own. The score of a job is the Hellinger fidelity between its counts and the exact
probabilities of the circuit. Families that measure in the middle, or that are not made for so few
qubits, are counted as such and not scored.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import warnings
from collections import Counter, defaultdict
from statistics import mean
from typing import Any

from mqt.bench import BenchmarkLevel, get_benchmark
from mqt.bench.benchmarks import get_available_benchmark_names
from qiskit import QuantumCircuit, qasm3, transpile
from qiskit.quantum_info import Statevector

from skerry.app import kinds, services
from skerry.kernel.errors import SkerryError
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Paradigm
from skerry.testing.nodes import deploy, perform, running_node

DEVICES = (
    "sim-ideal",
    *(each.id for each in load.devices().values() if each.twin and each.paradigm is Paradigm.GATE),
)
"""The simulator, and every device of gates that has a twin."""

SHOTS = 2000


def made(name: str, qubits: int) -> QuantumCircuit | None:
    """Return a benchmark that is measured at its end, or None."""
    try:
        circuit = get_benchmark(name, BenchmarkLevel.INDEP, qubits)
    except Exception as error:  # families refuse sizes in ways of their own
        print(f"{name}: not made for {qubits} qubits ({error})"[:110])
        return None
    bare = circuit.remove_final_measurements(inplace=False)
    if any(each.operation.name in ("measure", "reset", "if_else") for each in bare.data):
        print(f"{name}: measures in the middle")
        return None
    plain = QuantumCircuit(bare.num_qubits).compose(bare, range(bare.num_qubits))
    plain.measure_all()
    return transpile(plain, basis_gates=["u", "cx"], optimization_level=0)


def fidelity(counts: dict[str, int], exact: dict[str, float]) -> float:
    """Return the Hellinger fidelity of counts (bit 0 first) and probabilities (bit 0 last)."""
    shots = sum(counts.values())
    pairs = (math.sqrt(n / shots * exact.get(bits[::-1], 0.0)) for bits, n in counts.items())
    return sum(pairs) ** 2


async def run(qubits: int, devices: tuple[str, ...]) -> None:
    """Run everything and print a table."""
    scores: dict[str, list[float]] = defaultdict(list)
    refused: Counter[str] = Counter()
    async with running_node(kinds(), services=services()) as node:
        await deploy(node, {"skerry.toml": '[app]\nname = "lab"\n[quantum.qpu]\n'})
        for name in get_available_benchmark_names():
            circuit = made(name, qubits)
            if circuit is None:
                continue
            ideal: Any = Statevector(circuit.remove_final_measurements(inplace=False))
            exact = ideal.probabilities_dict()
            row = []
            for device in devices:
                try:
                    asked = {"app": "lab", "program": qasm3.dumps(circuit), "shots": SHOTS}
                    report = await perform(node, "quantum.run", **asked, device=device, seed=1)
                    scores[device].append(fidelity(report.results[0].counts, exact))
                    row.append(f"{scores[device][-1]:.3f}")
                except (SkerryError, IndexError) as error:
                    refused[device] += 1
                    row.append(f"refused: {error}"[:60])
            print(f"{name}: {'  '.join(row)}")
    print(
        "\n| device | circuits | refused | mean fidelity | worst |\n| --- | --- | --- | --- | --- |"
    )
    for device in devices:
        found = scores[device]
        line = (device, len(found), refused[device], f"{mean(found):.3f}", f"{min(found):.3f}")
        print(f"| {' | '.join(map(str, line))} |")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qubits", type=int, default=5)
    parser.add_argument("--devices", nargs="*", default=list(DEVICES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    asyncio.run(run(arguments.qubits, tuple(arguments.devices)))


main()
