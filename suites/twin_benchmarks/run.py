"""Run published benchmarks on the twins of the machines that they were run on, and compare.

    python suites/twin_benchmarks/run.py [--devices iqm-garnet …] [--missing] [--write]

The circuits are those of `skerry.kinds.quantum.catalogue.benchmarks`; every one is compiled for the
device, given the noise of its figures, and run by the engine that is chosen, as a job is. With
`--write` the scores become the catalogue's, which `skerry quantum device` shows beside the
machines' own; seeds are fixed, so that a second run finds the same. Every row is kept as soon as it
is known, and `--missing` runs only what is not kept yet: a run that was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import random
import warnings
from collections.abc import Callable, Iterable
from statistics import mean, stdev
from typing import Any, NamedTuple

import msgspec
from qiskit.quantum_info import Statevector

from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue import benchmarks, load
from skerry.kinds.quantum.catalogue.benchmarks import TwinScore
from skerry.kinds.quantum.contract import Options
from skerry.kinds.quantum.worker import running
from skerry.kinds.quantum.worker.compiling import to_qiskit
from skerry.kinds.quantum.worker.ir import UnsupportedError

SEED = 20_261_127
SHOTS = 1000
EFFORT = 2
"""How hard circuits are compiled: as the compiler does where nothing else is asked. Beside it the
score with a job's usual effort is told.
"""

CLIFFORD_EFFORT = 1
"""With more effort gates come out that are no Clifford gates, and 56 qubits are too many then."""

VOLUME_CIRCUITS, VOLUME_MOST = 200, 8
SETTINGS = 60


class Score(NamedTuple):
    """A value and its standard deviation."""

    value: float
    deviation: float


class Twin:
    """Runs programs on the twin of a device."""

    def __init__(self, device: str) -> None:
        self.device = load.find(device)
        self.effort = EFFORT
        self.calibration = load.calibration(self.device.id)
        self.shape = twins.for_worker(self.device, self.calibration)

    @property
    def figures(self) -> str:
        """The day that the twin's figures are of."""
        return self.calibration.taken_at if self.calibration else self.device.as_of

    def run(self, source: str, shots: int = SHOTS, seed: int = SEED, **more: Any) -> dict[str, int]:
        """Return the counts of a program."""
        asked = {
            "format": "openqasm3",
            "source": source,
            "device": self.shape,
            "shots": shots,
            "seed": seed,
            "memory_bytes": 8 << 30,
            "optimisation": self.effort,
            **more,
        }
        found: dict[str, int] = running.run(asked)["counts"]
        return found


def wit_7(twin: Twin) -> Score:
    """Return how often the message arrives."""
    shots = 8192
    share = twin.run(benchmarks.teleportation(), shots).get("1", 0) / shots
    return Score(share, benchmarks.deviation_of(share, shots))


def lr_qaoa_10(twin: Twin) -> Score:
    """Return how much the cut is above a random one, with the shots of the ten published runs."""
    found = benchmarks.ramp_score(twin.run(benchmarks.ramp(), 10_000))
    return Score(found, 2 * benchmarks.deviation_of((1 + found) / 2, 10_000))


def mirror_8x64(twin: Twin) -> Score:
    """Return the polarisation of ten mirror circuits."""
    return _over(_mirrored(twin, SEED + n) for n in range(10))


def _mirrored(twin: Twin, seed: int) -> float:
    source = benchmarks.mirror(seed)
    (wanted,) = twin.run(source, 1, fidelity="ideal", level="logical")
    return benchmarks.share_score(twin.run(source, seed=seed), wanted)


def qft(qubits: int) -> Callable[[Twin], Score]:
    """Return the benchmark of so many qubits: three numbers, as published."""

    def run(twin: Twin) -> Score:
        drawn = random.Random(SEED)
        numbers = [drawn.randrange(2**qubits) for _ in range(3)]
        return _over(
            benchmarks.share_score(
                twin.run(benchmarks.fourier(qubits, number), seed=SEED + number),
                benchmarks.number_text(number + 1, qubits),
            )
            for number in numbers
        )

    return run


def bseq(twin: Twin) -> Score:
    """Return the size of the largest set of qubits that is joined by pairs that violate CHSH."""
    if twin.calibration is None or twin.device.topology.kind == "all":
        joined = twin.device.qubits if _violates(twin, ()) else 1
        return Score(float(joined), 0.0)
    near: dict[str, set[str]] = {label: {label} for label in twin.calibration.qubits}
    for first, second, error in twin.calibration.edges():
        if error is not None and _violates(twin, (first, second)):
            both = near[first] | near[second]
            for each in both:
                near[each] = both
    return Score(float(max(map(len, near.values()))), 0.0)


def _violates(twin: Twin, layout: tuple[str, ...]) -> bool:
    found = sum(
        sign * benchmarks.sign(twin.run(benchmarks.chsh(basis), layout=list(layout)))
        for basis, sign in benchmarks.CHSH_SIGNS.items()
    )
    return found > 2


def ghz_56(twin: Twin) -> Score:
    """Return the fidelity of a GHZ state: populations, and random stabilisers of the X kind.

    Half of the stabilisers are of the Z kind, and their mean is the population of both outcomes;
    the other half's is estimated (Flammia and Liu, Physical Review Letters 106, 230501).
    """
    counts = twin.run(benchmarks.ghz(56), optimisation=CLIFFORD_EFFORT)
    population = (counts.get("0" * 56, 0) + counts.get("1" * 56, 0)) / SHOTS
    drawn = random.Random(SEED)
    signs = []
    for number in range(SETTINGS):
        flips = benchmarks.ghz_flips(56, drawn)
        source = benchmarks.ghz(56, flips)
        found = twin.run(source, 200, SEED + number, optimisation=CLIFFORD_EFFORT)
        signs.append(benchmarks.ghz_sign(flips) * benchmarks.sign(found))
    spread = stdev(signs) / SETTINGS**0.5
    return Score((population + mean(signs)) / 2, spread / 2)


def quantum_volume(twin: Twin) -> Score:
    """Return the largest width, up to a bound, whose heavy outputs come more than 2/3 of the time.

    As Cross et al. (Physical Review A 100, 032328) ask: by two standard deviations.
    """
    passed = 1
    for qubits in range(2, VOLUME_MOST + 1):
        shares = [_heavy(twin, qubits, SEED + n) for n in range(VOLUME_CIRCUITS)]
        found = mean(shares)
        bound = found - 2 * (found * (1 - found) / VOLUME_CIRCUITS) ** 0.5
        print(
            f"  {twin.device.id}: {qubits} qubits, heavy outputs {found:.3f}, at least {bound:.3f}"
        )
        if bound <= 2 / 3:
            break
        passed = qubits
    return Score(float(passed), 0.0)


def _heavy(twin: Twin, qubits: int, seed: int) -> float:
    source = benchmarks.volume(qubits, random.Random(seed))
    circuit = to_qiskit(running.parsed({"format": "openqasm3", "source": source}))
    exact = Statevector(circuit.remove_final_measurements(inplace=False)).probabilities()
    median = sorted(exact)[len(exact) // 2 - 1 : len(exact) // 2 + 1]
    heavy = {n for n, chance in enumerate(exact) if chance > sum(median) / 2}
    counts = twin.run(source, seed=seed)
    return sum(n for text, n in counts.items() if int(text[::-1], 2) in heavy) / SHOTS


def _over(values: Iterable[float]) -> Score:
    found = list(values)
    return Score(mean(found), stdev(found) / len(found) ** 0.5)


RUNS: dict[str, Callable[[Twin], Score]] = {
    "wit_7": wit_7,
    "lr_qaoa_10": lr_qaoa_10,
    "mirror_8x64": mirror_8x64,
    "qft_4": qft(4),
    "qft_8": qft(8),
    "bseq": bseq,
    "ghz_56": ghz_56,
    "quantum_volume": quantum_volume,
}


def scored(device: str, benchmark: str) -> TwinScore:
    """Return what the twin of a device scores, or why it has none."""
    if not load.find(device).twin:
        return TwinScore(device, benchmark, None, 0.0, "", "there is no twin of it here")
    twin = Twin(device)
    try:
        value, deviation = RUNS[benchmark](twin)
    except UnsupportedError as error:
        return TwinScore(device, benchmark, None, 0.0, twin.figures, error.what)
    effort = CLIFFORD_EFFORT if benchmark == "ghz_56" else EFFORT
    figures = round(value, 4), round(deviation, 4), twin.figures
    return completed(TwinScore(device, benchmark, *figures, "", effort))


def is_complete(score: TwinScore | None) -> bool:
    """Whether a row needs no run: nothing runs it, or both efforts are known."""
    if score is None:
        return False
    return bool(score.why) or score.usual is not None or score.effort == Options().optimisation


def completed(score: TwinScore) -> TwinScore:
    """Add to a row what the same circuits score with a job's usual effort."""
    if is_complete(score):
        return score
    twin = Twin(score.device)
    twin.effort = Options().optimisation
    usual = round(RUNS[score.benchmark](twin).value, 4)
    return msgspec.structs.replace(score, usual=usual)


def main() -> None:
    """Run what the command line names, print a table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", nargs="*", default=[])
    parser.add_argument("--benchmarks", nargs="*", default=[])
    parser.add_argument("--missing", action="store_true", help="only what is not kept yet")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = dict(benchmarks.twin_scores())
    for each in benchmarks.published():
        if arguments.devices and each.device not in arguments.devices:
            continue
        if arguments.benchmarks and each.benchmark not in arguments.benchmarks:
            continue
        key = each.device, each.benchmark
        before = kept.get(key) if arguments.missing else None
        if is_complete(before):
            continue
        found = completed(before) if before else scored(*key)
        kept[key] = found
        print(
            f"{each.device} {each.benchmark}: {each.value:g}, twin {found.value} {found.why}, "
            f"with a job's effort {found.usual}",
            flush=True,
        )
        if arguments.write:
            lines = ",\n".join(msgspec.json.encode(kept[row]).decode() for row in sorted(kept))
            benchmarks.TWINS_FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


main()
