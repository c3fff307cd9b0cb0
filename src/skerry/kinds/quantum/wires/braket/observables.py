"""Result types of programs: `#pragma braket result …`, read, measured and computed.

    expectation, variance, sample   of i, x, y, z, h and their products `x(q[0]) @ z(q[1])`, or of
                                    one of them on every qubit: `x all`
    probability                     of some qubits, or of all

What only a simulator can tell exactly (amplitudes, states, matrices) is `worker.exact`'s. An
observable is measured by a rotation into its basis: x by h; y by sdg, h; h by ry(-pi/4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID, UNSUPPORTED

TYPES = ("expectation", "variance", "sample", "probability")
NAMES = ("i", "x", "y", "z", "h")
PROBABILITY_QUBITS_MAX = 16
_PRAGMA = re.compile(r"^\s*#pragma\s+braket\s+result\b", re.MULTILINE)
_REGISTER = re.compile(
    r"\bqubit(?:\s*\[\s*(\d+)\s*\])?\s+(\w+)\s*;|\bqreg\s+(\w+)\s*\[\s*(\d+)\s*\]"
)
_FACTOR = re.compile(r"([a-z]+)\s*\(\s*([^()]+?)\s*\)")
_WHOLE = re.compile(r"([a-z]+)(?:\s+all)?")
_OPERAND = re.compile(r"(\w+)(?:\s*\[\s*(\d+)\s*\])?|\$(\d+)")
_TURNS: dict[str, list[tuple[str, list[float]]]] = {
    "x": [("h", [])],
    "y": [("sdg", []), ("h", [])],
    "h": [("ry", [-math.pi / 4])],
}


class ResultType(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked for: a type, the factors of an observable, and places of qubits (all: None)."""

    type: str
    observable: tuple[str, ...] = ()
    targets: tuple[int, ...] | None = None


Named = Mapping[str, Sequence[int]]
"""Registers of a program, and `$n` for physical qubits, with the places of their qubits."""


def asks(source: str) -> bool:
    """Tell whether a program has result types."""
    return _PRAGMA.search(source) is not None


def registers(source: str, count: int, labels: Sequence[int] | None) -> Named:
    """Return what the operands of result types may name."""
    if labels is not None:
        return {f"${label}": [place] for place, label in enumerate(labels)}
    found: dict[str, list[int]] = {}
    start = 0
    for match in _REGISTER.finditer(source):
        size = int(match[1] or match[4] or 1)
        found[match[2] or match[3]] = list(range(start, start + size))
        start += size
    if start != count:
        raise UNSUPPORTED("The sizes of registers are numbers in programs with result types.")
    return found


def read(text: str, named: Named) -> ResultType:
    """Return a result type from a pragma; raise INVALID or UNSUPPORTED."""
    words = text.split(None, 3)
    kind, rest = words[2] if len(words) > 2 else "", words[3].strip() if len(words) > 3 else ""
    if kind not in TYPES:
        raise UNSUPPORTED(
            f"The result type {kind[:40]!r} cannot be measured.", why=f"Known: {', '.join(TYPES)}."
        )
    if kind == "probability":
        if rest in ("", "all"):
            return ResultType(kind)
        places = tuple(_one(each.strip(), named) for each in rest.split(","))
        if len(places) > PROBABILITY_QUBITS_MAX:
            raise UNSUPPORTED(f"Probabilities are told of {PROBABILITY_QUBITS_MAX} qubits at most.")
        return ResultType(kind, (), places)
    return _observable(kind, rest, named)


def _observable(kind: str, text: str, named: Named) -> ResultType:
    whole = _WHOLE.fullmatch(text)
    if whole is not None:
        return ResultType(kind, (_known(whole[1]),))
    names, places = [], []
    for part in text.split("@"):
        factor = _FACTOR.fullmatch(part.strip())
        if factor is None:
            raise UNSUPPORTED(
                f"The observable {part.strip()[:80]!r} cannot be measured.",
                why=f"Known: {', '.join(NAMES)}, of one qubit each.",
            )
        names.append(_known(factor[1]))
        places.append(_one(factor[2], named))
    if len(set(places)) != len(places):
        raise INVALID("A product of observables names a qubit twice.")
    return ResultType(kind, tuple(names), tuple(places))


def _known(name: str) -> str:
    if name not in NAMES:
        raise UNSUPPORTED(
            f"The observable {name[:40]!r} cannot be measured.", why=f"Known: {', '.join(NAMES)}."
        )
    return name


def _one(text: str, named: Named) -> int:
    """Return the place of the one qubit that an operand names."""
    match = _OPERAND.fullmatch(text)
    places = named.get(f"${match[3]}" if match[3] else match[1], ()) if match else ()
    index = int(match[2]) if match and match[2] else 0
    if index >= len(places) or (len(places) > 1 and match is not None and match[2] is None):
        raise INVALID(f"{text[:80]!r} names no qubit of the program.")
    return places[index]


def turns(results: Iterable[ResultType], qubits: Iterable[int]) -> list[Any]:
    """Return the rotations into the bases of all results; raise INVALID if two conflict."""
    bases: dict[int, str] = {}
    everywhere = tuple(qubits)
    for each in results:
        places = everywhere if each.targets is None else each.targets
        names = each.observable or ("z",)
        factors = names * len(places) if len(names) == 1 else names
        for name, place in zip(factors, places, strict=True):
            if name != "i" and bases.setdefault(place, name) != name:
                raise INVALID(
                    "Conflicting result types applied to a single qubit.",
                    why=f"Qubit {place} is measured as {bases[place]} and as {name}.",
                )
    return [
        [gate, [place], params]
        for place, name in sorted(bases.items())
        for gate, params in _TURNS.get(name, ())
    ]


def value(asked: ResultType, rows: Sequence[str], weights: Sequence[int], count: int) -> Any:
    """Return the value of a result type over `count` qubits.

    `rows` are outcomes, a character for each place, and `weights` how often each came.
    """
    if asked.type == "probability":
        return _probabilities(asked.targets or tuple(range(count)), rows, weights)
    if asked.targets is None:
        single = (asked.observable[0],)
        each = [ResultType(asked.type, single, (place,)) for place in range(count)]
        return [value(one, rows, weights, count) for one in each]
    places = [
        place for name, place in zip(asked.observable, asked.targets, strict=True) if name != "i"
    ]
    signs = [(-1.0) ** sum(row[place] == "1" for place in places) for row in rows]
    if asked.type == "sample":
        return [sign for sign, weight in zip(signs, weights, strict=True) for _ in range(weight)]
    total = sum(weights)
    mean = sum(sign * weight for sign, weight in zip(signs, weights, strict=True)) / total
    return mean if asked.type == "expectation" else 1.0 - mean * mean if places else 0.0


def _probabilities(
    places: Sequence[int], rows: Sequence[str], weights: Sequence[int]
) -> list[float]:
    if len(places) > PROBABILITY_QUBITS_MAX:
        raise UNSUPPORTED(f"Probabilities are told of {PROBABILITY_QUBITS_MAX} qubits at most.")
    found = [0.0] * (1 << len(places))
    total = sum(weights)
    for row, weight in zip(rows, weights, strict=True):
        found[int("".join(row[place] for place in places), 2)] += weight / total
    return found
