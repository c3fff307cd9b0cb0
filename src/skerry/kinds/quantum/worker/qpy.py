"""Reads Qiskit's circuits: as QPY from outside, and as objects of Qiskit.

QPY is read only from version 13 on. Older ones hold symbolic expressions that are evaluated or
unpickled while they are read (CVE-2025-2000); they are refused by their header, before anything
else of them is looked at. Data is unpacked up to a bound, and whatever the reader raises, its
panics too, is a refusal.
"""

from __future__ import annotations

import base64
import binascii
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from . import qiskit_conditions
from .ir import NOT_GATES, Circuit, Op, UnsupportedError, decided
from .names import spelled_out

QPY_BYTES_MAX = 16 << 20
OLDEST = 13
"""The first version whose expressions are plain data."""

OPS_MAX = 500_000
DEPTH_MAX = 40
TICK_SECONDS = 1e-9
"""How long one `dt` is here; what is said of a device to Qiskit's clients says so."""

_NAMED = ("Parameter", "ParameterVectorElement")
_HEAD = struct.Struct("!6sBBBBQc")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12, "dt": TICK_SECONDS}


def unpacked(text: str, most: int = QPY_BYTES_MAX) -> bytes:
    """Return what zlib and base64 hold; raise UnsupportedError if it is broken or too large."""
    try:
        packed = base64.b64decode(text, validate=True)
        reader = zlib.decompressobj()
        data = reader.decompress(packed, most)
        if reader.unconsumed_tail:
            raise UnsupportedError(f"Packed data has at most {most >> 20} MiB.")
        if not reader.eof:
            raise UnsupportedError("Packed data ends too early.")
    except (binascii.Error, zlib.error, ValueError, TypeError) as error:
        raise UnsupportedError("Packed data is broken.", str(error)) from error
    return data


def load(data: bytes) -> Any:
    """Return the one circuit that QPY holds, as Qiskit's; raise UnsupportedError."""
    return load_all(data, 1)[0]


def load_all(data: bytes, most: int) -> list[Any]:
    """Return the circuits that QPY holds, at least one; raise UnsupportedError."""
    readable(data, most)
    return _loaded(data)


def readable(data: bytes, most: int) -> None:
    """Raise UnsupportedError unless QPY's header says that it is safe to read, and how many."""
    if len(data) < _HEAD.size:
        raise UnsupportedError("The circuit is not QPY.")
    preface, version, _, _, _, count, symbols = _HEAD.unpack_from(data)
    if preface != b"QISKIT":
        raise UnsupportedError("The circuit is not QPY.")
    from qiskit.qpy.common import QPY_VERSION  # noqa: PLC0415

    if not OLDEST <= version <= QPY_VERSION:
        raise UnsupportedError(
            f"QPY of version {version} is not read.",
            f"Versions {OLDEST} to {QPY_VERSION} are: older ones may hold pickled expressions.",
        )
    if symbols != b"p":
        raise UnsupportedError("QPY with expressions of symengine is not read.")
    if not 1 <= count <= most:
        raise UnsupportedError(
            f"QPY holds {'one circuit' if most == 1 else f'1 to {most} circuits'}."
        )


def _loaded(data: bytes) -> list[Any]:
    from qiskit import qpy  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: list[Any] = qpy.load(BytesIO(data))
            return found
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the reader is no Exception
        text = f"{type(error).__name__}: {error}"[:300]
        raise UnsupportedError("The circuit in QPY cannot be read.", text) from error


def circuit_of(found: Any, values: Sequence[float] = ()) -> Circuit:
    """Return a circuit of Qiskit as ours, its parameters bound in the order that it names them.

    There is one register, `c`, of all its bits. Raises UnsupportedError for what cannot be run.
    """
    if len(found.parameters) != len(values):
        raise UnsupportedError(
            f"The circuit has {len(found.parameters)} parameters, and {len(values)} values came."
        )
    return template_of(found.assign_parameters(list(values)) if values else found)


def template_of(found: Any) -> Circuit:
    """Return a circuit of Qiskit as ours, parameters that stand alone as their names.

    Raises UnsupportedError for what cannot be run, and for expressions of parameters.
    """
    ops: list[Op] = []
    _walk(found, list(range(found.num_qubits)), list(range(found.num_clbits)), ops, 0)
    bits = found.num_clbits
    registers = [["c", 0, bits]] if bits else []
    return {"qubits": found.num_qubits, "bits": bits, "registers": registers, "ops": ops}


def registers_of(found: Any) -> dict[str, list[int]]:
    """Return the bits of every classical register, the first one first."""
    return {
        each.name: [found.find_bit(bit).index for bit in each] for each in found.cregs if len(each)
    }


def _walk(found: Any, qubits: list[int], bits: list[int], ops: list[Op], depth: int) -> None:
    if depth > DEPTH_MAX:
        raise UnsupportedError("A gate is defined too deeply.")
    at = dict(zip(found.clbits, bits, strict=True))
    place = dict(zip(found.qubits, qubits, strict=True))
    for each in found.data:
        places = [place[qubit] for qubit in each.qubits]
        targets = [at[bit] for bit in each.clbits]
        if each.operation.name in ("if_else", "switch_case", "for_loop", "while_loop"):
            _control(each.operation, places, targets, at, ops, depth)
        elif each.operation.name == "store":
            ops.append(["set", [], qiskit_conditions.stored(each.operation, at.__getitem__)])
        else:
            _add(each.operation, places, targets, ops, depth)
        if len(ops) > OPS_MAX:
            raise UnsupportedError(f"The circuit has more than {OPS_MAX} operations.")


def _control(
    gate: Any, qubits: list[int], bits: list[int], at: dict[Any, int], ops: list[Op], depth: int
) -> None:
    """Add what a choice or a loop means; `at` says where bits are."""

    def branch(block: Any) -> list[Op]:
        found: list[Op] = []
        if block is not None:
            _walk(block, qubits, bits, found, depth + 1)
        return found

    if gate.name == "for_loop":
        numbers, parameter, body = gate.params
        if len(numbers) > OPS_MAX:
            raise UnsupportedError(f"A loop runs at most {OPS_MAX} times.")
        for number in numbers:
            each = body if parameter is None else body.assign_parameters({parameter: number})
            ops.extend(branch(each))
            if len(ops) > OPS_MAX:
                raise UnsupportedError(f"The circuit has more than {OPS_MAX} operations.")
    elif gate.name in ("if_else", "while_loop"):
        condition = qiskit_conditions.read(gate.condition, at.__getitem__)
        then, otherwise = (*map(branch, gate.blocks), [])[:2]
        kind = "if" if gate.name == "if_else" else "while"
        ops.append(decided([kind, [], [condition, [], [], 0]], then, otherwise))
    else:
        ops.extend(_switch(gate, at, branch))


def _switch(gate: Any, at: dict[Any, int], branch: Callable[[Any], list[Op]]) -> list[Op]:
    """Return a `switch` as choices inside of each other, the first case outermost."""
    from qiskit.circuit import CASE_DEFAULT  # noqa: PLC0415

    rest: list[Op] = []
    for values, block in reversed(list(gate.cases_specifier())):
        if CASE_DEFAULT in values:
            rest = branch(block)
            continue
        asked = [qiskit_conditions.is_value(gate.target, each, at.__getitem__) for each in values]
        rest = [decided(["if", [], [["or", *asked], [], [], 0]], branch(block), rest)]
    return rest


def _add(gate: Any, qubits: list[int], bits: list[int], ops: list[Op], depth: int) -> None:
    name = gate.name
    if name == "measure":
        ops.append(["measure", qubits, bits])
    elif name == "barrier":
        ops.append(["barrier", qubits, []])
    elif name == "reset":
        ops.append(["reset", qubits, []])
    elif name == "delay":
        ops.append(["delay", qubits, [_seconds(gate)]])
    elif getattr(gate, "blocks", ()) and name != "box":
        raise UnsupportedError(
            f"`{name}` cannot be done here.",
            "A circuit decides by `if` and `switch`, and repeats by `for` and `while`.",
        )
    else:
        _gate(gate, qubits, bits, ops, depth)


def _gate(gate: Any, qubits: list[int], bits: list[int], ops: list[Op], depth: int) -> None:
    known = None
    origin = getattr(gate, "base_class", type(gate)).__module__ or ""
    # A gate that a program defines may have the name of one that is known.
    if origin.startswith("qiskit.circuit.library") and _is_closed(gate):
        known = _spelled(gate, qubits)
    if known is not None:
        ops.extend(known)
        return
    inner = gate.blocks[0] if gate.name == "box" else gate.definition
    if inner is None:
        raise UnsupportedError(f"The gate {gate.name} is not known, and has no definition.")
    _walk(inner, qubits, bits, ops, depth + 1)


def _is_closed(gate: Any) -> bool:
    """Tell whether a gate's controls act on 1, as those of gates that are known by name do."""
    controls = getattr(gate, "num_ctrl_qubits", 0)
    return not controls or gate.ctrl_state == (1 << controls) - 1


def _spelled(gate: Any, qubits: list[int]) -> list[Op] | None:
    try:
        params = [_value(each) for each in gate.params]
    except (TypeError, ValueError):
        return None
    if gate.name in NOT_GATES:
        return None
    try:
        return spelled_out(gate.name, qubits, params)
    except (UnsupportedError, TypeError):  # one whose angle is computed takes no name
        return None


def _value(param: Any) -> Any:
    """Return a gate's parameter as a number, or as the name of the circuit's own."""
    return param.name if type(param).__name__ in _NAMED else float(param)


def _seconds(gate: Any) -> float:
    unit = _UNITS.get(getattr(gate, "unit", "dt"))
    if unit is None:
        raise UnsupportedError(f"A delay is in s or dt, not in {gate.unit!s:.20}.")
    return float(gate.params[0] if gate.params else gate.duration) * unit
