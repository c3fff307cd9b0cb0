"""Which engine runs a circuit, why, and how much memory that takes.

The order is: Clifford circuits on Stim; few qubits with noise on a density matrix; circuits whose
entanglement is bounded on matrix product states; all others on state vectors, with noise as
trajectories. The bound on entanglement is that of the circuit's shape: across a cut, every gate of
operator rank 2 at most doubles the bond. A circuit that decides while it runs takes another way in
every shot, so that it gets a state for each: a tableau, or what Aer makes.
"""

from __future__ import annotations

import functools
import math
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from .ir import NOT_GATES, Circuit, UnsupportedError, computes, flat, is_dynamic, is_terminal
from .noise import CHANNELS, Noisy

DENSITY_QUBITS = (6, 11)
"""How many qubits a density matrix may have at least, and at most, whatever the shots."""

DECIDING_DENSITY_QUBITS = 3
"""The same where a circuit decides while it runs: then a density matrix is made for every shot."""

TRAJECTORY_COST = 0.315
"""What a noisy gate costs in one trajectory on qsim, on 2^n numbers, beside one on 4^n of them."""

MPS_BOND_LOG_MAX = 10
QSIM_QUBITS_MIN = 6
QSIM_QUBITS_MAX = 32
GPU = "statevector-gpu"
GPU_DEVICE = Path("/dev/nvidiactl")
GPU_QUBITS_MIN = 22
ENGINES = ("stim", "density-matrix", "mps", "qsim", "statevector", GPU)
_RANK_2 = frozenset(
    {"cx", "cy", "cz", "ch", "cp", "crx", "cry", "crz", "cu", "rxx", "ryy", "rzz", "zz", "zzphase"}
    | {"ms", "ecr"}
)


class Choice(NamedTuple):
    """An engine, the reason for it, the bytes that it needs, and the order of qubits for it."""

    engine: str
    reason: str
    bytes_needed: int
    order: tuple[int, ...] = ()


def choose(
    noisy: Noisy,
    installed: frozenset[str],
    memory_bytes: int,
    wanted: str = "",
    shots: int = 1000,
) -> Choice:
    """Return the engine for a circuit; raise UnsupportedError, with the number, if none can."""
    if wanted and wanted not in ENGINES:
        raise UnsupportedError(f"There is no engine {wanted}.", f"Known: {', '.join(ENGINES)}.")
    found = _wanted(noisy, wanted) if wanted else _best(noisy, installed, shots)
    if found.engine not in installed:
        raise UnsupportedError(f"The engine {found.engine} is not installed.")
    bound = "A simulation may use what is free, up to memory_mib of the resource (skerry.toml)."
    if found.engine == GPU:
        memory_bytes, bound = usable_gpu_bytes(), "That is of the GPU's memory."
    if found.bytes_needed > memory_bytes:
        raise UnsupportedError(
            f"{noisy.circuit['qubits']} qubits on {found.engine} need "
            f"{_gib(found.bytes_needed)} GiB, and {_gib(memory_bytes)} GiB are free.",
            f"{found.reason} {bound}",
        )
    return found


def _gib(count: int) -> str:
    if count < 2**40:
        return f"{count / 2**30:.2f}"
    return f"{count / 2**30:,.0f}".replace(",", " ")


def _density_worth(shots: int) -> int:
    """Return up to how many qubits a density matrix is faster than a trajectory for each shot."""
    least, most = DENSITY_QUBITS
    return max(least, min(most, int(math.log2(max(TRAJECTORY_COST * shots, 1)))))


def _best(noisy: Noisy, installed: frozenset[str], shots: int) -> Choice:
    circuit = noisy.circuit
    qubits, terminal = circuit["qubits"], is_terminal(_bare(circuit))
    if "stim" in installed and is_clifford(circuit):
        return Choice("stim", "Every gate is a Clifford gate.", _tableau_bytes(qubits))
    dynamic = is_dynamic(circuit)
    most = DECIDING_DENSITY_QUBITS if dynamic else _density_worth(shots)
    if noisy.is_noisy and qubits <= most and not computes(circuit):
        how = f"in {shots} shots: a density matrix is exact and cheaper"
        if dynamic:
            how = "that decide while they run: a small density matrix for every shot"
        return Choice("density-matrix", f"{qubits} qubits with noise {how}.", 16 << (2 * qubits))
    order, bond = ordering(circuit)
    if bond <= _bond_worth(qubits, noisy.is_noisy, dynamic):
        return _mps(qubits, order, bond)
    if qubits >= GPU_QUBITS_MIN and GPU in installed and 16 << qubits <= usable_gpu_bytes():
        return Choice(GPU, f"{qubits} qubits, entangled, and a GPU is here.", 16 << qubits)
    if terminal and QSIM_QUBITS_MIN <= qubits <= QSIM_QUBITS_MAX and "qsim" in installed:
        how = "one noisy trajectory a shot" if noisy.is_noisy else "sampled once"
        return Choice("qsim", f"{qubits} qubits, entangled: a state vector, {how}.", 8 << qubits)
    each = " for every shot, since the circuit decides while it runs" if dynamic else ""
    return Choice("statevector", f"{qubits} qubits: a state vector{each}.", 16 << qubits)


def _bond_worth(qubits: int, is_noisy: bool, dynamic: bool) -> int:
    """Return the largest bond, as a logarithm, at which matrix product states are the faster way.

    Measured against qsim (`bench/quantum.py`): with noise every shot is simulated anew, so that
    matrix product states pay from 16 qubits on; without, a state vector is made only once. What
    decides while it runs is not for qsim: Aer's own state vectors are slower, from 10 qubits on.
    """
    if qubits > QSIM_QUBITS_MAX:
        return MPS_BOND_LOG_MAX
    if is_noisy and dynamic:
        return (qubits - 4) // 2 if qubits >= 10 else 0
    if is_noisy or dynamic:
        return (qubits - 12) // 2 if qubits >= 16 else 0
    return 5 if qubits >= 22 else 0


def _mps(qubits: int, order: tuple[int, ...], bond: int) -> Choice:
    return Choice(
        "mps",
        f"Low entanglement: across every cut the bond is at most {2**bond}.",
        qubits * 64 << (2 * bond),
        order,
    )


def _wanted(noisy: Noisy, wanted: str) -> Choice:
    qubits = noisy.circuit["qubits"]
    reason = "Asked for."
    if wanted == "stim":
        if not is_clifford(noisy.circuit):
            raise UnsupportedError("The circuit is not Clifford, so Stim cannot run it.")
        return Choice(wanted, reason, _tableau_bytes(qubits))
    if wanted == "density-matrix":
        if noisy.is_noisy and computes(noisy.circuit):  # Aer 0.18 fails on its classical bits there
            raise UnsupportedError("A density matrix runs no loops and computed bits with noise.")
        return Choice(wanted, reason, 16 << (2 * qubits))
    if wanted == "mps":
        order, bond = ordering(noisy.circuit)
        return Choice(wanted, reason, qubits * 64 << (2 * bond), order)
    if wanted == "qsim" and not is_terminal(_bare(noisy.circuit)):
        raise UnsupportedError("qsim runs circuits here that measure at their end only.")
    return Choice(wanted, reason, (8 if wanted == "qsim" else 16) << qubits)


def _tableau_bytes(qubits: int) -> int:
    return max(1 << 20, qubits * qubits)


def _bare(circuit: Circuit) -> Circuit:
    return circuit | {"ops": [op for op in circuit["ops"] if op[0] not in CHANNELS]}


def is_clifford(circuit: Circuit) -> bool:
    """Tell whether Stim can run every gate of a circuit."""
    from .stim_engine import clifford  # noqa: PLC0415 (only where Stim is)

    seen: set[tuple[str, tuple[float, ...]]] = set()
    for name, _, params in flat(circuit["ops"]):
        if name in CHANNELS or name in NOT_GATES:
            continue
        seen.add((name, tuple(params)))
    return all(clifford(name, params) is not None for name, params in seen)


def ordering(circuit: Circuit) -> tuple[tuple[int, ...], int]:
    """Return an order of the qubits on a line, and the logarithm of the largest bond there."""
    gates = [
        (op[1], 1 if op[0] in _RANK_2 else 2)
        for op in flat(circuit["ops"])
        if len(op[1]) >= 2 and op[0] not in CHANNELS and op[0] != "barrier"
    ]
    natural = tuple(range(circuit["qubits"]))
    orders = {natural, _breadth_first(circuit["qubits"], [each for each, _ in gates])}
    return min(((each, _bond(each, gates)) for each in orders), key=lambda pair: pair[1])


def _bond(order: tuple[int, ...], gates: list[tuple[list[int], int]]) -> int:
    place = {qubit: number for number, qubit in enumerate(order)}
    count = len(order)
    change = [0] * (count + 1)
    for qubits, rank in gates:
        places = [place[each] for each in qubits]
        weight = rank if len(qubits) == 2 else 2 * (len(qubits) - 1)
        change[min(places)] += weight
        change[max(places)] -= weight
    largest, crossing = 0, 0
    for cut in range(count - 1):
        crossing += change[cut]
        largest = max(largest, min(crossing, cut + 1, count - cut - 1))
    return largest


def _breadth_first(count: int, gates: list[list[int]]) -> tuple[int, ...]:
    near: defaultdict[int, set[int]] = defaultdict(set)
    for qubits in gates:
        for a in qubits:
            near[a] |= {b for b in qubits if b != a}
    order: list[int] = []
    seen: set[int] = set()
    for start in sorted(range(count), key=lambda each: (len(near[each]), each)):
        queue = [] if start in seen else [start]
        seen |= {start}
        while queue:
            each = queue.pop(0)
            order.append(each)
            fresh = sorted(near[each] - seen, key=lambda other: (len(near[other]), other))
            seen.update(fresh)
            queue += fresh
    return tuple(order)


@functools.cache
def installed_engines() -> frozenset[str]:
    """Return the engines whose libraries this environment has."""
    from importlib.util import find_spec  # noqa: PLC0415

    found = set()
    if find_spec("stim"):
        found.add("stim")
    if find_spec("qiskit_aer") and find_spec("qiskit"):
        found |= {"density-matrix", "mps", "statevector"}
        if usable_gpu_bytes():
            found.add(GPU)
    if find_spec("qsimcirq") and find_spec("cirq"):
        found.add("qsim")
    return frozenset(found)


@functools.cache
def _has_gpu() -> bool:
    """Tell whether Aer can use a GPU here."""
    if not GPU_DEVICE.exists():
        return False
    from qiskit_aer import AerSimulator  # noqa: PLC0415 (a second; only where a GPU is)

    return "GPU" in AerSimulator().available_devices()


def usable_gpu_bytes() -> int:
    """Return how large a state Aer can hold now on the first GPU that it can use here, or 0.

    That is half of what is free: with 79 GiB, Aer 0.18 gives no results of a state of 64 GiB.
    """
    if not _has_gpu():
        return 0
    asked = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, check=True, timeout=20).stdout
        return (int(said.split()[0]) << 20) // 2
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0
