"""Turns the PUBs of Qiskit's primitives into circuits that are sampled.

A PUB of the sampler is a circuit, the values of its parameters as an array, and shots; one of the
estimator has an array of observables too, and a precision instead of shots. What comes back says
which of the programs belong to which place of a PUB's result, and for the estimator which bits of
which program make up every term (see `skerry.kinds.quantum.wires.ibm.answers`).

Observables are measured in as few bases as a greedy search finds: terms that agree on every qubit
share a program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import pubs
from .decoupling import decoupled
from .ir import Circuit, UnsupportedError, flat
from .programs import Programs, shots_of
from .qpy import circuit_of, registers_of

TERMS_MAX = 100_000

_BASES = {"I": "", "X": "X", "Y": "Y", "Z": "Z"}
_PROJECTORS = {"0": "Z", "1": "Z", "+": "X", "-": "X", "r": "Y", "l": "Y"}
_ONES = frozenset("1-l")
_HALF = math.pi / 2
_TURNED: dict[str, tuple[tuple[str, list[float]], ...]] = {
    "X": (("rz", [_HALF]), ("sx", [])),
    "Y": (("sx", []),),
    "Z": (),
}
"""What is done before a qubit is read in a basis, in gates that every target here has."""


def primitives(params: dict[str, Any]) -> dict[str, Any]:
    """Return the programs and the places of their results for a call of a primitive."""
    asked = params["params"]
    if params["program"] == "executor":
        from .executor import executed  # noqa: PLC0415

        return executed(asked, params)
    given = asked.get("pubs")
    if not isinstance(given, list) or not given:
        raise UnsupportedError("`pubs` is a list of at least one PUB.")
    made = Programs(params.get("labels"))
    randomised = (params.get("noise") or {}).get("randomised")
    if params["program"] == "estimator" and randomised:
        from .mitigation import Mitigation  # noqa: PLC0415

        work = Mitigation(params, made)
        found = _each(given, work.read)
        try:
            items = work.items()
        except (ValueError, TypeError, KeyError) as error:  # the library's own refusals
            what = "These PUBs cannot be mitigated."
            raise UnsupportedError(what, f"{type(error).__name__}: {error}"[:300]) from error
        return {"programs": made.made, "pubs": items, "mitigation": work.told(found)}
    if params["program"] == "estimator":
        found = _each(given, lambda pub: _estimated(pub, params, made))
    elif randomised:
        from .twirled import twirled  # noqa: PLC0415

        found = _each(given, lambda pub: twirled(pub, params, made))
    else:
        found = _each(given, lambda pub: _sampled(pub, params, made))
    return {"programs": made.made, "pubs": found}


def _each(given: list[Any], read: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was read of every PUB; raise UnsupportedError with its number."""
    found = []
    for number, pub in enumerate(given):
        try:
            found.append(read(pub))
        except UnsupportedError as error:
            raise UnsupportedError(f"PUB {number}: {error.what}", error.why) from error
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"PUB {number} is malformed."
            raise UnsupportedError(what, f"{type(error).__name__}: {error}"[:300]) from error
    return found


def _sampled(pub: Any, params: dict[str, Any], made: Programs) -> dict[str, Any]:
    parts = pub if isinstance(pub, list) else [pub]
    found = decoupled(pubs.circuit(parts[0]), params)
    values, shape = pubs.bindings(parts[1] if len(parts) > 1 else None, found)
    shots = parts[2] if len(parts) > 2 and parts[2] is not None else params["shots"]
    registers = registers_of(found)
    if not registers:
        raise UnsupportedError("The circuit has no classical register.")
    numbers = made.sweep(found, values)
    return {"shape": shape, "shots": shots_of(shots), "registers": registers, "programs": numbers}


def _estimated(pub: Any, params: dict[str, Any], made: Programs) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415

    found = decoupled(pubs.circuit(pub[0]), params)
    values, shape = pubs.bindings(pub[2] if len(pub) > 2 else None, found)
    observables, outer = pubs.observables(pub[1], found.num_qubits)
    precision = pubs.precision(pub[3] if len(pub) > 3 else None, params["precision"])
    which = np.arange(len(observables)).reshape(outer)
    whose = np.arange(len(values)).reshape(shape)
    chosen, bound = np.broadcast_arrays(which, whose)
    terms: list[list[Any]] = []
    groups: dict[int, _Groups] = {}
    for observable, binding in zip(chosen.ravel().tolist(), bound.ravel().tolist(), strict=True):
        if binding not in groups:
            groups[binding] = _Groups(circuit_of(found, values[binding]))
        terms.append([groups[binding].place(text, c) for text, c in observables[observable]])
        if sum(map(len, terms)) > TERMS_MAX:
            raise UnsupportedError(f"Observables have at most {TERMS_MAX} terms together.")
    for each in groups.values():
        each.finish(made)
    placed = [[group.term(number) for group, number in each] for each in terms]
    return {
        "shape": list(chosen.shape),
        "shots": shots_of(math.ceil(1 / precision**2 - 1e-9)),
        "precision": precision,
        "programs": [number for each in groups.values() for number in each.programs],
        "values": placed,
    }


class _Groups:
    """The bases in which one circuit is read, and the terms that are read in each."""

    def __init__(self, circuit: Circuit) -> None:
        if any(op[0] == "measure" for op in flat(circuit["ops"])):
            raise UnsupportedError("A circuit for the estimator measures nothing itself.")
        self._circuit = circuit
        self._bases: list[dict[int, str]] = []
        self.programs: list[int] = []
        self._terms: list[tuple[int, str, float]] = []

    def place(self, text: str, coefficient: float) -> tuple[_Groups, int]:
        """Take a term; return how to find it again."""
        wanted = {
            qubit: basis
            for qubit, sign in enumerate(reversed(text))
            if (basis := _BASES.get(sign, _PROJECTORS.get(sign, "")))
        }
        self._terms.append((self._fitting(wanted) if wanted else -1, text, coefficient))
        return self, len(self._terms) - 1

    def _fitting(self, wanted: dict[int, str]) -> int:
        for number, known in enumerate(self._bases):
            if all(known.get(qubit, basis) == basis for qubit, basis in wanted.items()):
                known.update(wanted)
                return number
        self._bases.append(wanted)
        return len(self._bases) - 1

    def finish(self, made: Programs) -> None:
        """Make a program of every basis."""
        for bases in self._bases:
            ops = list(self._circuit["ops"])
            for bit, qubit in enumerate(sorted(bases)):
                ops += [[name, [qubit], angles] for name, angles in _TURNED[bases[qubit]]]
                ops.append(["measure", [qubit], [bit]])
            registers = [["c", 0, len(bases)]]
            read = {"ops": ops, "bits": len(bases), "registers": registers}
            self.programs += made.add(self._circuit | read)

    def term(self, number: int) -> list[Any]:
        """Return a term: coefficient, program, bits whose parity counts, bits that must be 0, 1."""
        group, text, coefficient = self._terms[number]
        if group < 0:
            return [coefficient, -1, [], [], []]
        order = sorted(self._bases[group])
        parity: list[int] = []
        zeros: list[int] = []
        ones: list[int] = []
        for qubit, sign in enumerate(reversed(text)):
            if sign in _PROJECTORS:
                (ones if sign in _ONES else zeros).append(order.index(qubit))
            elif _BASES.get(sign):
                parity.append(order.index(qubit))
        return [coefficient, self.programs[group], parity, zeros, ones]
