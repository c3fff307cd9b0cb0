"""Checks circuits that come in as JSON, from outside, before anything trusts their shape."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from . import conditions
from .ir import ARITY, BLOCKS, Circuit, Op, UnsupportedError, decided, flat

QUBITS_MAX = 4096
OPS_MAX = 500_000


def checked(source: str, bindings: Mapping[str, float]) -> Circuit:
    """Return the circuit that a JSON text describes; a parameter may be a name that is bound.

    Raises UnsupportedError with the number of the operation that is wrong.
    """
    try:
        found = json.loads(source)
        qubits, bits = _count(found, "qubits"), _count(found, "bits")
        raw = found["ops"]
        if not isinstance(raw, list) or len(raw) > OPS_MAX:
            raise UnsupportedError(f"`ops` is a list of at most {OPS_MAX} operations.")
        ops = [_op(each, number, qubits, bits, bindings) for number, each in enumerate(raw)]
        if sum(1 for _ in flat(ops)) > OPS_MAX:
            raise UnsupportedError(f"A circuit has at most {OPS_MAX} operations.")
        registers = _registers(found.get("registers", [["c", 0, bits]] if bits else []))
        hidden = _registers(found.get("hidden", []))
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise UnsupportedError("The program is not a circuit in JSON.", str(error)) from error
    every = [*registers, *hidden]
    if any(start < 0 or size < 1 or start + size > bits for _, start, size in every):
        raise UnsupportedError("A register lies outside of the bits.")
    circuit: Circuit = {"qubits": qubits, "bits": bits, "registers": registers, "ops": ops}
    if hidden:
        circuit["hidden"] = hidden
    labels = found.get("labels")
    if labels is not None:
        if len(set(labels)) != qubits or not all(isinstance(each, str) for each in labels):
            raise UnsupportedError("`labels` names every qubit once.")
        circuit["labels"] = list(labels)
    if found.get("verbatim"):
        circuit["verbatim"] = True
    return circuit


def _registers(found: Any) -> list[tuple[str, int, int]]:
    return [(str(name), int(start), int(size)) for name, start, size in found]


def _count(found: Any, name: str) -> int:
    value = found[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= QUBITS_MAX:
        raise UnsupportedError(f"`{name}` is a whole number up to {QUBITS_MAX}.")
    return value


def _op(each: Any, number: int, qubits: int, bits: int, bindings: Mapping[str, float]) -> Op:
    name, places, params = each
    if name == "set" or name in BLOCKS:
        return _deciding(each, number, qubits, bits, bindings)
    if not all(isinstance(q, int) and 0 <= q < qubits for q in places):
        raise UnsupportedError(f"Operation {number} names a qubit that is not there.")
    if len(set(places)) != len(places):
        raise UnsupportedError(f"Operation {number} names one qubit twice.")
    if name == "measure":
        if len(places) != 1 or len(params) != 1 or not 0 <= int(params[0]) < bits:
            raise UnsupportedError(f"Operation {number} measures into no bit.")
        return ["measure", list(places), [int(params[0])]]
    values = [float(bindings[p]) if isinstance(p, str) else float(p) for p in params]
    if not all(map(math.isfinite, values)):
        raise UnsupportedError(f"Operation {number} has a parameter that is no number.")
    if name in ("barrier", "reset", "delay"):
        return [name, list(places), values]
    if name not in ARITY:
        raise UnsupportedError(f"Operation {number}: the gate {name} is not known.")
    if ARITY[name] != (len(places), len(values)):
        wires, angles = ARITY[name]
        raise UnsupportedError(f"Operation {number}: {name} takes {wires} qubits, {angles} angles.")
    return [name, list(places), values]


def _deciding(each: Any, number: int, qubits: int, bits: int, bindings: Mapping[str, float]) -> Op:
    """Return an operation that computes or decides while the circuit runs."""
    name, places, params = each
    if name == "set":
        bit, condition = params
        if places or not isinstance(bit, int) or not 0 <= bit < bits:
            raise UnsupportedError(f"Operation {number} writes no bit.")
        return ["set", [], [bit, conditions.checked(condition, bits)]]
    condition, then, otherwise, line = params
    parts = [[_op(e, number, qubits, bits, bindings) for e in p] for p in (then, otherwise)]
    asked = conditions.checked(condition, bits)
    if name == "while" and parts[1]:
        raise UnsupportedError(f"Operation {number}: a loop has one list of operations.")
    return decided([name, [], [asked, [], [], int(line)]], *parts)
