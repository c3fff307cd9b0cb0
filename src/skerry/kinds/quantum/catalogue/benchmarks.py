"""Published benchmarks: their circuits, how they are scored, and what devices and twins scored.

Circuits are OpenQASM 3 and are made here from their definitions, the same for every device:
the teleportation of Shapoval et al. (Quantum 7, 1138), the linear ramp of Montanez-Barrera et al.
(arXiv:2502.06471), mirror circuits of Proctor et al. (Nature Physics 18, 75), the Fourier transform
of the QED-C suite (arXiv:2110.03137), and CHSH on every pair. What a machine scored is data with a
date and a source; what its twin scores is made by `suites/twin_benchmarks` and kept beside it.
"""

from __future__ import annotations

import math
import random
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from skerry.kinds.quantum.catalogue.model import Source

_DATA = Path(__file__).parent / "data" / "benchmarks"
PUBLISHED_FILE = _DATA / "published.toml"
TWINS_FILE = _DATA / "twins.json"
_HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


class Benchmark(msgspec.Struct, frozen=True):
    """A benchmark; `ideal` is what a machine without errors scores, 0 if that is its qubits."""

    name: str
    title: str
    score: str
    ideal: float


class Published(msgspec.Struct, frozen=True, array_like=True):
    """What a machine scored: value, standard deviation (0 if none is told), day, key of source.

    `note` is a doubt of ours about the value.
    """

    device: str
    benchmark: str
    value: float
    deviation: float
    measured: str
    source: str
    note: str = ""


class TwinScore(msgspec.Struct, frozen=True, array_like=True):
    """What the twin of a device scored with figures of a day; `why` tells where it did not run.

    `effort` is how hard the circuits were compiled, `usual` the score with a job's usual effort,
    where that was run too.
    """

    device: str
    benchmark: str
    value: float | None
    deviation: float
    figures: str
    why: str = ""
    effort: int = 2
    usual: float | None = None


class Comparison(NamedTuple):
    """A machine's published score, and that of its twin for the same circuits."""

    benchmark: Benchmark
    published: Published
    source: Source
    twin: TwinScore | None

    @property
    def verdict(self) -> str:
        """Say how the twin compares with the machine, in a few words."""
        if self.twin is None or self.twin.value is None:
            return "not compared"
        gap, one = self.twin.value - self.published.value, 2 * self.spread
        if abs(gap) <= max(one, 0.005 * abs(self.published.value)):
            return "agrees"
        return "better than the machine" if gap > 0 else "worse than the machine"

    @property
    def spread(self) -> float:
        """The standard deviation of the difference."""
        twin = self.twin.deviation if self.twin else 0.0
        return float((self.published.deviation**2 + twin**2) ** 0.5)


class _Table(msgspec.Struct, frozen=True):
    sources: dict[str, Source]
    benchmark: tuple[Benchmark, ...]
    published: tuple[Published, ...]


@cache
def _table() -> _Table:
    return msgspec.convert(tomllib.loads(PUBLISHED_FILE.read_text(encoding="utf-8")), _Table)


@cache
def twin_scores() -> dict[tuple[str, str], TwinScore]:
    """Return what twins scored, by device and benchmark."""
    found = msgspec.json.decode(TWINS_FILE.read_bytes(), type=list[TwinScore])
    return {(each.device, each.benchmark): each for each in found}


def published() -> tuple[Published, ...]:
    """Return every published score."""
    return _table().published


def compared(device: str) -> tuple[Comparison, ...]:
    """Return the published scores of a device beside those of its twin, in the table's order."""
    table = _table()
    known = {each.name: each for each in table.benchmark}
    return tuple(
        Comparison(
            known[each.benchmark],
            each,
            table.sources[each.source],
            twin_scores().get((device, each.benchmark)),
        )
        for each in table.published
        if each.device == device
    )


def teleportation() -> str:
    """Return the circuit of benchmark `wit_7`; its bit is 1 where the message arrived."""
    turns = (0.0566794, 0.01039906, 0.0632158)
    left, right = (0, 1, 2), (5, 4, 3)
    lines = [f"h q[{a}]; cx q[{a}], q[{b}];" for a, b in zip(left, right, strict=True)]
    lines += 3 * [_rotated(left, -1), *_phased(left, turns, -1)]
    lines.append("swap q[0], q[6];")
    lines += 3 * [*_phased(left, turns, 1), _rotated(left, 1)]
    lines.append("rzz(pi/2) q[1], q[4]; rzz(pi/2) q[2], q[3];")
    lines += 3 * [_rotated(right, 1), *_phased(right, turns, 1)]
    return f"{_HEAD}qubit[7] q;\nbit[1] c;\n" + "\n".join(lines) + "\nc[0] = measure q[5];\n"


def _rotated(qubits: tuple[int, ...], sign: int) -> str:
    return " ".join(f"rx({sign}*pi/2) q[{each}];" for each in qubits)


def _phased(qubits: tuple[int, ...], turns: tuple[float, ...], sign: int) -> list[str]:
    a, b, c = qubits
    turned = " ".join(
        f"rz({sign * turn}) q[{each}];" for each, turn in zip(qubits, turns, strict=True)
    )
    return [turned, f"rzz({sign}*pi/2) q[{a}], q[{b}]; rzz({sign}*pi/2) q[{b}], q[{c}];"]


def ramp_weights(qubits: int = 10, seed: int = 123) -> list[float]:
    """Return the weights of a chain's edges, as the published runs drew them."""
    drawn = random.Random(seed)  # noqa: S311 (the published seed, and no secret)
    return [drawn.choice([0.1, 0.2, 0.3, 0.5, 1.0]) for _ in range(qubits - 1)]


def ramp(qubits: int = 10, layers: int = 10) -> str:
    """Return the circuit of `lr_qaoa_10`: a maximal cut of a weighted chain, by a linear ramp."""
    weights = ramp_weights(qubits)
    lines = ["h q;"]
    for layer in range(layers):
        gamma = (layer + 1) * 0.6 / layers
        beta = (layers - layer) * 0.3 / layers
        for start in (0, 1):
            lines += [
                f"rzz({2 * gamma * weights[edge]}) q[{edge}], q[{edge + 1}];"
                for edge in range(start, qubits - 1, 2)
            ]
        lines.append(f"rx({-2 * beta}) q;")
    body = "\n".join(lines)
    return f"{_HEAD}qubit[{qubits}] q;\nbit[{qubits}] c;\n{body}\nc = measure q;\n"


_AXES = ("", "h", "s", "h s", "s h", "h s h")
_PAULIS = ("", "x", "y", "z")
_INVERSES = {"s": "sdg"}


def mirror(seed: int, qubits: int = 8, layers: int = 64) -> str:
    """Return a mirror circuit on a chain: Clifford layers, a Pauli layer, the layers undone."""
    drawn = random.Random(seed)  # noqa: S311 (circuits are random, and no secret)
    first = [(gate, (each,)) for each in range(qubits) for gate in _clifford(drawn)]
    forth: list[tuple[str, tuple[int, ...]]] = []
    for _ in range(layers):
        forth += [(gate, (each,)) for each in range(qubits) for gate in _pauli(drawn)]
        free = set(range(qubits))
        for a, b in _matching(drawn, qubits):
            if drawn.random() < 0.5:
                free -= {a, b}
                forth.append(("cx", (a, b) if drawn.random() < 0.5 else (b, a)))
        forth += [(gate, (each,)) for each in sorted(free) for gate in _clifford(drawn)]
    middle = [(gate, (each,)) for each in range(qubits) for gate in _pauli(drawn)]
    back = [(_INVERSES.get(gate, gate), where) for gate, where in reversed(first + forth)]
    parts = ["\n".join(_line(*op) for op in part) for part in (first, forth, middle, back)]
    body = "\nbarrier q;\n".join(parts)
    return f"{_HEAD}qubit[{qubits}] q;\nbit[{qubits}] c;\n{body}\nbarrier q;\nc = measure q;\n"


def _clifford(drawn: random.Random) -> list[str]:
    return [*drawn.choice(_AXES).split(), *_pauli(drawn)]


def _pauli(drawn: random.Random) -> list[str]:
    return drawn.choice(_PAULIS).split()


def _matching(drawn: random.Random, qubits: int) -> list[tuple[int, int]]:
    """Return pairs of neighbours without a common qubit, drawn until none is left."""
    left, found = [(each, each + 1) for each in range(qubits - 1)], []
    while left:
        pair = drawn.choice(left)
        found.append(pair)
        left = [each for each in left if not set(each) & set(pair)]
    return found


def _line(gate: str, where: tuple[int, ...]) -> str:
    return f"{gate} {', '.join(f'q[{each}]' for each in where)};"


def fourier(qubits: int, number: int) -> str:
    """Return the circuit that adds 1 to a number by Fourier transforms; it reads number + 1."""
    prepared = [f"x q[{each}];" for each in range(qubits) if number >> each & 1]
    added = [f"rz(pi/{2**each}) q[{each}];" for each in range(qubits)]
    there = _transform(qubits)
    back = [_undone(each) for each in reversed(there)]
    body = "\nbarrier q;\n".join("\n".join(part) for part in (prepared, there, added, back))
    return f"{_HEAD}qubit[{qubits}] q;\nbit[{qubits}] c;\n{body}\nc = measure q;\n"


def _transform(qubits: int) -> list[str]:
    """Return the transform without its final swaps: qubit k then turns with period 2^(k+1)."""
    lines = []
    for each in reversed(range(qubits)):
        lines.append(f"h q[{each}];")
        lines += [f"cp(pi/{2 ** (each - low)}) q[{low}], q[{each}];" for low in range(each)]
    return lines


def _undone(line: str) -> str:
    return line.replace("cp(pi", "cp(-pi")


def chsh(basis: str) -> str:
    """Return a Bell pair turned for CHSH and read in two bases, such as `ZX`."""
    turned = "".join(f"h q[{n}];" for n, axis in enumerate(basis) if axis == "X")
    return (
        f"{_HEAD}qubit[2] q;\nbit[2] c;\nh q[0]; cx q[0], q[1]; ry(pi/4) q[0];\n"
        f"{turned}\nc = measure q;\n"
    )


CHSH_SIGNS = {"ZZ": 1, "ZX": -1, "XZ": 1, "XX": 1}
"""Pairs of bases, and the signs of their correlations: no classical sum of them is above 2."""


def sign(counts: dict[str, int]) -> float:
    """Return the mean of the product of all bits, each +1 or -1."""
    shots = sum(counts.values())
    odd = sum(n for text, n in counts.items() if text.count("1") % 2)
    return 1 - 2 * odd / shots


def ramp_score(counts: dict[str, int]) -> float:
    """Return by how much the mean cut beats a random one: 1 is always the best cut."""
    weights = ramp_weights()
    shots = sum(counts.values())
    cut = sum(
        n * sum(w for edge, w in enumerate(weights) if text[edge] != text[edge + 1])
        for text, n in counts.items()
    )
    return max(0.0, 2 * cut / (shots * sum(weights)) - 1)


def share_score(counts: dict[str, int], wanted: str) -> float:
    """Return how often the wanted outcome came, rescaled so that guessing scores 0."""
    guess = 0.5 ** len(wanted)
    found = counts.get(wanted, 0) / sum(counts.values())
    return max(0.0, (found - guess) / (1 - guess))


def number_text(number: int, qubits: int) -> str:
    """Return a number's bits with bit 0 first."""
    return f"{number % 2**qubits:0{qubits}b}"[::-1]


def deviation_of(share: float, shots: int) -> float:
    """Return the standard deviation of a share of shots."""
    return float((share * (1 - share) / shots) ** 0.5)


def pair_layer(count: int) -> list[tuple[int, int]]:
    """Return the pairs of a GHZ circuit of logarithmic depth, each from an entangled qubit on."""
    found, reached = [], 1
    while reached < count:
        found += [(each, reached + each) for each in range(min(reached, count - reached))]
        reached *= 2
    return found


def ghz(qubits: int, flips: tuple[bool, ...] = ()) -> str:
    """Return a GHZ circuit; with `flips`, read in X, and in Y where a flip is told."""
    lines = ["h q[0];", *(f"cx q[{a}], q[{b}];" for a, b in pair_layer(qubits))]
    lines += [f"{'sdg' if is_y else 'id'} q[{n}]; h q[{n}];" for n, is_y in enumerate(flips)]
    body = "\n".join(lines)
    return f"{_HEAD}qubit[{qubits}] q;\nbit[{qubits}] c;\n{body}\nc = measure q;\n"


def ghz_flips(qubits: int, drawn: random.Random) -> tuple[bool, ...]:
    """Return where a random stabiliser of the X kind has Y: an even number of qubits."""
    found = [drawn.random() < 0.5 for _ in range(qubits - 1)]
    return (*found, sum(found) % 2 == 1)


def ghz_sign(flips: tuple[bool, ...]) -> int:
    """Return the sign of a stabiliser: half of its Ys, as a power of -1."""
    return int((-1) ** (sum(flips) // 2))


def volume(qubits: int, drawn: random.Random) -> str:
    """Return a random circuit of quantum volume: on random pairs, unitaries of Haar's measure.

    A unitary of two qubits is local ones around a core, whose angles are drawn with the density of
    Watts, O'Connor and Vala (Entropy 15, 1963).
    """
    lines = []
    for _ in range(qubits):
        order = drawn.sample(range(qubits), qubits)
        for a, b in zip(order[::2], order[1::2], strict=False):
            angles = _core(drawn)
            lines += [_local(drawn, a), _local(drawn, b)]
            lines += [
                f"{gate}({angle}) q[{a}], q[{b}];"
                for gate, angle in zip(("rxx", "ryy", "rzz"), angles, strict=True)
            ]
            lines += [_local(drawn, a), _local(drawn, b)]
    body = "\n".join(lines)
    return f"{_HEAD}qubit[{qubits}] q;\nbit[{qubits}] c;\n{body}\nc = measure q;\n"


def _local(drawn: random.Random, qubit: int) -> str:
    """Return a unitary of one qubit, of Haar's measure up to a phase."""
    theta = 2 * math.asin(math.sqrt(drawn.random()))
    phi, lam = (drawn.uniform(0, 2 * math.pi) for _ in range(2))
    return f"U({theta}, {phi}, {lam}) q[{qubit}];"


def _core(drawn: random.Random) -> tuple[float, float, float]:
    while True:
        a, b, c = (drawn.uniform(0, math.pi) for _ in range(3))
        density = 1.0
        for one, other in ((a, b), (a, c), (b, c)):
            density *= abs(math.sin(one + other) * math.sin(one - other))
        if drawn.random() < density:
            return a, b, c
