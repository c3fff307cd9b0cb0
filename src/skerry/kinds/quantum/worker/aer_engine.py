"""Density matrices, matrix product states and state vectors on Qiskit Aer."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from .compiling import append, write
from .ir import LOOP_ENDLESS, LOOP_ROUNDS_MAX, Op, UnsupportedError, decided, flat, is_dynamic
from .noise import CHANNELS, DEPOLARISE_1, DEPOLARISE_2, Noisy

METHODS = {
    "density-matrix": "density_matrix",
    "mps": "matrix_product_state",
    "statevector": "statevector",
    "statevector-gpu": "statevector",
}
_PAIRS = ["".join(each) for each in product("IXYZ", repeat=2)][1:]


@lru_cache(maxsize=8192)
def _error(kind: str, params: tuple[float, ...]) -> Any:
    from qiskit_aer.noise import pauli_error  # noqa: PLC0415

    if kind == DEPOLARISE_1:
        terms = [(each, params[0] / 3) for each in "XYZ"]
    elif kind == DEPOLARISE_2:
        terms = [(each, params[0] / 15) for each in _PAIRS]
    else:
        terms = list(zip("XYZ", params, strict=True))
    none = "II" if kind == DEPOLARISE_2 else "I"
    return pauli_error([*terms, (none, 1 - sum(chance for _, chance in terms))]).to_instruction()


def sample(
    noisy: Noisy, shots: int, seed: int, engine: str, order: tuple[int, ...], threads: int
) -> Any:
    """Return the bits of every shot as an array of booleans, one row a shot."""
    from qiskit import QuantumCircuit  # noqa: PLC0415
    from qiskit_aer import AerSimulator  # noqa: PLC0415

    circuit = noisy.circuit
    place = {qubit: number for number, qubit in enumerate(order or range(circuit["qubits"]))}
    ops, bits = _counted(circuit["ops"], circuit["bits"])
    found = QuantumCircuit(circuit["qubits"], bits)

    def add(inner: Any, name: str, qubits: list[int], params: list[float]) -> None:
        places = [place[each] for each in qubits]
        if name in CHANNELS:
            inner.append(_error(name, tuple(params)), places)
        elif name in ("measure", "reset"):
            getattr(inner, name)(places[0], *params)
        elif name not in ("barrier", "delay"):
            append(inner, name, places, params)

    # Aer keeps what writes bits alone in its place by the qubits that it stands between.
    write(found, ops, add, fenced=True)
    simulator = AerSimulator(
        method=METHODS[engine],
        seed_simulator=seed % (1 << 31),
        max_parallel_threads=threads,
        device="GPU" if engine.endswith("-gpu") else "CPU",
        noise_model=_reading(noisy, place) if is_dynamic(circuit) else None,
    )
    result = simulator.run(_plain(found, simulator), shots=shots, memory=True).result()
    if not result.success:
        raise RuntimeError(f"Aer did not finish: {result.status}")
    if bits and "memory" not in result.data():
        raise RuntimeError("Aer finished without results, as it does when a GPU's memory is short.")
    told = _bits(result.get_memory(), shots, bits)
    if told[:, circuit["bits"] :: _COUNTER].any():
        raise UnsupportedError(LOOP_ENDLESS)
    return told[:, : circuit["bits"]]


_COUNTER = LOOP_ROUNDS_MAX.bit_length()
"""How many bits count the rounds of a loop; the first of them, the highest, ends it."""


def _counted(ops: list[Op], bits: int) -> tuple[list[Op], int]:
    """Return operations whose loops end after so many rounds, and how many bits there are then.

    The highest bit of a counter stays where it is when its loop begins anew.
    """
    found: list[Op] = []
    for op in ops:
        if op[0] == "if":
            then, bits = _counted(op[2][1], bits)
            otherwise, bits = _counted(op[2][2], bits)
            found.append(decided(op, then, otherwise))
        elif op[0] == "while":
            condition, body, _, line = op[2]
            places = range(bits, bits + _COUNTER)
            body, bits = _counted(body, bits + _COUNTER)
            count: list[Op] = []
            for at, place in enumerate(places):  # each turns where all below it are 1
                below: list[Any] = ["and", *(["bit", each] for each in places[at + 1 :])]
                count.append(["set", [], [place, ["xor", ["bit", place], below]]])
            asked = ["and", condition, ["not", ["bit", places[0]]]]
            found += [["set", [], [place, ["or"]]] for place in places[1:]]
            found.append(decided(["while", [], [asked, [], [], line]], [*count, *body], []))
        else:
            found.append(op)
    return found, bits


def _reading(noisy: Noisy, place: dict[int, int]) -> Any:
    """Return the errors of reading, which a circuit that decides by what it read has at once."""
    from qiskit_aer.noise import NoiseModel, ReadoutError  # noqa: PLC0415

    found = NoiseModel()
    chances = {
        place[qubits[0]]: noisy.reads[params[0]]
        for name, qubits, params in flat(noisy.circuit["ops"])
        if name == "measure"
    }
    for qubit, (low, high) in chances.items():
        if low or high:
            error = ReadoutError([[1 - low, low], [high, 1 - high]])
            found.add_readout_error(error, [qubit])
    return None if found.is_ideal() else found


def _plain(found: Any, simulator: Any) -> Any:
    """Return the circuit without gates that Aer's methods do not know by name."""
    from qiskit import transpile  # noqa: PLC0415

    known = set(simulator.configuration().basis_gates)
    known |= {"measure", "reset", "quantum_channel", "if_else", "while_loop", "store"}
    if {each.operation.name for each in found.data} <= known:
        return found
    return transpile(found, simulator, optimization_level=0)


def _bits(memory: list[str], shots: int, bits: int) -> Any:
    """Turn Aer's texts (bit 0 last) into rows of bits."""
    if bits == 0:
        return np.zeros((shots, 0), dtype=bool)
    text = np.frombuffer("".join(memory).encode(), dtype=np.uint8).reshape(shots, bits)
    return (text == ord("1"))[:, ::-1]
