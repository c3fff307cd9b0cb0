"""Takes a circuit apart into qubits that nothing joins, so that each part runs on its own engine.

No gate, and no bit that both write, joins two parts: what they read is independent. Clients that
read every qubit of a machine, most of which do nothing, need it: a part of two qubits is no matter
of matrix product states over a hundred.
"""

from __future__ import annotations

from typing import NamedTuple

from .ir import Circuit, Op, computes, is_dynamic
from .noise import Noisy
from .routing import is_clifford

QUBITS_MIN = 12
PARTS_MAX = 16


class Part(NamedTuple):
    """A part of a circuit, over qubits and bits of its own; `bits` are those of the whole."""

    noisy: Noisy
    bits: tuple[int, ...]


def parts(noisy: Noisy) -> list[Part]:
    """Return the parts of a circuit, the largest first; all that are Clifford are the last one.

    A circuit that decides or computes while it runs, is small, or is Clifford, is left whole; so is
    one of many
    parts: each costs the start of an engine.
    """
    circuit = noisy.circuit
    decides = is_dynamic(circuit) or computes(circuit)
    if circuit["qubits"] < QUBITS_MIN or decides or is_clifford(circuit):
        return [_whole(noisy)]
    groups = _groups(circuit)
    if len(groups) < 2:
        return [_whole(noisy)]
    shares: list[list[Op]] = [[] for _ in groups]
    owner = {place: number for number, group in enumerate(groups) for place in group}
    for op in circuit["ops"]:
        if op[0] != "barrier":
            shares[owner[op[1][0]]].append(op)
    pairs = list(zip(groups, shares, strict=True))
    plain = [is_clifford(circuit | {"ops": share}) for share in shares]
    others = [pair for pair, clifford in zip(pairs, plain, strict=True) if not clifford]
    if len(others) > PARTS_MAX:
        return [_whole(noisy)]
    found = [_part(noisy, group, ops) for group, ops in sorted(others, key=lambda p: -len(p[0]))]
    if any(plain):
        joined = [pair for pair, clifford in zip(pairs, plain, strict=True) if clifford]
        qubits = [place for group, _ in joined for place in group]
        found.append(_part(noisy, qubits, [op for _, ops in joined for op in ops]))
    return found


def _whole(noisy: Noisy) -> Part:
    return Part(noisy, tuple(range(noisy.circuit["bits"])))


def _groups(circuit: Circuit) -> list[list[int]]:
    """Return the sets of qubits that gates, and bits, join."""
    parent = list(range(circuit["qubits"]))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    writer: dict[int, int] = {}
    for name, places, params in circuit["ops"]:
        if name == "barrier":
            continue
        joined = list(places)
        if name == "measure":
            joined.append(writer.setdefault(params[0], places[0]))
        for each in joined[1:]:
            parent[root(each)] = root(joined[0])
    found: dict[int, list[int]] = {}
    for place in range(circuit["qubits"]):
        found.setdefault(root(place), []).append(place)
    return list(found.values())


def _part(noisy: Noisy, group: list[int], given: list[Op]) -> Part:
    at = {place: number for number, place in enumerate(group)}
    ops: list[Op] = []
    bits: dict[int, int] = {}
    for name, places, params in given:
        put = [bits.setdefault(params[0], len(bits))] if name == "measure" else params
        ops.append([name, [at[each] for each in places], put])
    circuit = {"qubits": len(group), "bits": len(bits), "registers": [], "ops": ops}
    return Part(Noisy(circuit, [noisy.reads[bit] for bit in bits]), tuple(bits))
