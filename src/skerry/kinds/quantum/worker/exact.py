"""Circuits on the simulators of Braket's own SDK: exact results, and the noise that programs name.

Without shots a program's result types are told as they are, not estimated: states, amplitudes,
density matrices, probabilities, expectations and variances, the last two of Hermitian matrices too.
With shots, outcomes are sampled with the job's seed, and result types are computed of them. Complex
numbers are pairs of a real and an imaginary part; the first qubit is the most significant bit.
"""

from __future__ import annotations

import io
import json
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from braket.default_simulator import DensityMatrixSimulator, StateVectorSimulator
from braket.default_simulator.openqasm import interpreter
from braket.default_simulator.operation import KrausOperation
from braket.default_simulator.result_types import from_braket_result_type
from braket.ir.jaqcd import Expectation
from braket.ir.openqasm import Program

from . import gradients
from .exactly import COPIES, DENSITY, NUMBERS_MAX, VECTOR
from .ir import UnsupportedError
from .outcomes import counts_of, text_of

_INPUT = re.compile(r"\binput\s+\w+(?:\s*\[[^\]]*\])?\s+(\w+)\s*;")
_INCLUDES = frozenset({"stdgates.inc", "qelib1.inc"})
_STANDARD = """
gate id a { i a; }
gate sdg a { si a; }
gate tdg a { ti a; }
gate sx a { v a; }
gate p(t) a { phaseshift(t) a; }
gate phase(t) a { phaseshift(t) a; }
gate u1(t) a { phaseshift(t) a; }
gate u2(f, l) a { U(pi / 2, f, l) a; }
gate u3(t, f, l) a { U(t, f, l) a; }
gate cx a, b { cnot a, b; }
gate CX a, b { cnot a, b; }
gate ch a, b { ctrl @ h a, b; }
gate cp(t) a, b { cphaseshift(t) a, b; }
gate cphase(t) a, b { cphaseshift(t) a, b; }
gate crx(t) a, b { ctrl @ rx(t) a, b; }
gate cry(t) a, b { ctrl @ ry(t) a, b; }
gate crz(t) a, b { ctrl @ rz(t) a, b; }
gate ccx a, b, c { ccnot a, b, c; }
"""
"""What `include "stdgates.inc"` adds to the gates that Braket's interpreter knows by itself."""

_PURE = frozenset({"statevector", "amplitude"})
_STATES = _PURE | {"densitymatrix"}


def _included(name: Any, *_: Any, **__: Any) -> io.StringIO:
    """Stand for `open` in the interpreter: a program's `include` reads no file of this machine."""
    if name in _INCLUDES:
        return io.StringIO(_STANDARD)
    raise UnsupportedError(f"{str(name)[:80]} cannot be included.")


vars(interpreter)["open"] = _included


class _Read(NamedTuple):
    """A program that was read and can be run."""

    program: Program
    circuit: Any
    types: list[Any]
    qubits: int
    bytes_needed: int


def plan(params: dict[str, Any]) -> dict[str, Any]:
    """Return what a run would be; raise UnsupportedError, with the number, for what cannot be."""
    if gradients.asks(params["source"]):
        return _gradient_planned(params, _gradient(params))
    return _planned(params, _read(params))


def _planned(params: dict[str, Any], found: _Read) -> dict[str, Any]:
    gates = [each for each in found.circuit.instructions if not isinstance(each, KrausOperation)]
    one = sum(len(each.targets) == 1 for each in gates)
    return {
        "qubits": found.qubits,
        "bits": found.qubits,
        "program_qubits": found.qubits,
        "one_qubit_gates": one,
        "two_qubit_gates": len(gates) - one,
        "measurements": found.qubits if int(params["shots"]) else 0,
        "depth": _depth(gates),
        "fidelity": 1.0,
        "engine": params["engine"],
        "reason": _reason(params, found),
        "bytes_needed": found.bytes_needed,
        "layout": [],
    }


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Return counts (none without shots), the result types' values, and how they came about."""
    if gradients.asks(params["source"]):
        return _gradient_told(params)
    found, shots = _read(params), int(params["shots"])
    planned = _planned(params, found)
    simulator = _simulator(params["engine"], int(params["seed"]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = simulator.run(found.program, shots=shots)
    except (ValueError, TypeError, NameError, IndexError) as error:
        raise UnsupportedError("The program cannot be run.", str(error)[:400]) from error
    rows = np.array(outcome.measurements if shots else [], dtype=np.uint8)
    if shots:
        values = [_sampled(each, rows) for each in outcome.resultTypes or ()]
    else:
        values = [_told(each.value) for each in outcome.resultTypes]
    types = [json.loads(each.json(exclude_none=True)) for each in found.types]
    qubits = list(map(int, outcome.measuredQubits)) if shots else []
    result: dict[str, Any] = {
        "counts": counts_of(rows.astype(bool)) if shots else {},
        "registers": [["b", 0, len(qubits)]] if qubits else [],
        "measured": qubits,
        "engine": params["engine"],
        "reason": planned["reason"],
        "compiled": found.program.source,
        "layout": [],
        "fidelity": 1.0,
        "versions": _versions(),
        "pragmas": [],
        "gates": [planned[f"{each}_qubit_gates"] for each in ("one", "two")]
        + [planned["measurements"]],
        "values": [
            {"type": kind, "value": value} for kind, value in zip(types, values, strict=True)
        ],
    }
    if params.get("memory") and shots:
        result["memory"] = [text_of(row) for row in rows]
    return result


def _gradient(params: dict[str, Any]) -> gradients.Asked:
    """Return the gradient that a program asks for; raise UnsupportedError where it is not told."""
    if params["engine"] != VECTOR or int(params["shots"]):
        raise UnsupportedError(
            "Adjoint gradients are told on a state vector and without shots only.",
            "Run it on sim-ideal (SV1), with 0 shots.",
        )
    source, bindings = _bound(params)
    found = _careful(lambda: gradients.read(source, bindings))
    _check_memory(params, found.qubits, gradients.COPIES * 16 << found.qubits)
    return found


def _gradient_planned(params: dict[str, Any], found: gradients.Asked) -> dict[str, Any]:
    one = sum(len(each.targets) == 1 for each in found.gates)
    return {
        "qubits": found.qubits,
        "bits": found.qubits,
        "program_qubits": found.qubits,
        "one_qubit_gates": one,
        "two_qubit_gates": len(found.gates) - one,
        "measurements": 0,
        "depth": _depth(found.gates),
        "fidelity": 1.0,
        "engine": params["engine"],
        "reason": f"{found.qubits} qubits: a state vector, and its gradient by the adjoint method.",
        "bytes_needed": gradients.COPIES * 16 << found.qubits,
        "layout": [],
    }


def _gradient_told(params: dict[str, Any]) -> dict[str, Any]:
    found = _gradient(params)
    planned = _gradient_planned(params, found)
    value = _careful(lambda: gradients.told(found))
    kind = {
        "type": "adjoint_gradient",
        "observable": found.observable,
        "targets": [[place for _, place in each.factors] for each in found.terms],
        "parameters": found.parameters,
    }
    return {
        "counts": {},
        "registers": [],
        "measured": [],
        "engine": params["engine"],
        "reason": planned["reason"],
        "compiled": params["source"],
        "layout": [],
        "fidelity": 1.0,
        "versions": _versions(),
        "pragmas": [],
        "gates": [planned["one_qubit_gates"], planned["two_qubit_gates"], 0],
        "values": [{"type": kind, "value": value}],
    }


def _simulator(engine: str, seed: int) -> Any:
    """Return the simulator of an engine; it samples with a seed, where Braket's own does not."""
    base = DensityMatrixSimulator if engine == DENSITY else StateVectorSimulator
    generator = np.random.default_rng(seed)

    class Seeded(base):  # type: ignore[valid-type,misc]
        def initialize_simulation(self, **kwargs: Any) -> Any:
            simulation = super().initialize_simulation(**kwargs)

            def samples() -> Any:
                chances = np.cumsum(simulation.probabilities)
                found = np.searchsorted(chances, generator.random(simulation.shots) * chances[-1])
                return np.minimum(found, len(chances) - 1)

            simulation.retrieve_samples = samples
            return simulation

    return Seeded()


def _bound(params: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """Return a program's text and the values of its inputs, all of which have one."""
    source, bindings = params["source"], params.get("bindings") or {}
    if params["format"] != "openqasm3":
        raise UnsupportedError("Exact results and named noise are of programs in OpenQASM 3.")
    missing = [name for name in _INPUT.findall(source) if name not in bindings]
    if missing:
        raise UnsupportedError(f"The input {missing[0]} was given no value.", "Bind it.")
    return source, bindings


T = TypeVar("T")


def _careful(work: Callable[[], T]) -> T:
    """Do what calls Braket's interpreter, whose errors have no common class."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except UnsupportedError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"[:400]
        raise UnsupportedError("The program cannot be read.", why) from error


def _check_memory(params: dict[str, Any], qubits: int, needed: int) -> None:
    if needed > int(params["memory_bytes"]):
        raise UnsupportedError(
            f"{qubits} qubits on {params['engine']} need {needed / 2**30:.3g} GiB, "
            f"and {int(params['memory_bytes']) / 2**30:.3g} GiB are free."
        )


def _read(params: dict[str, Any]) -> _Read:
    source, bindings = _bound(params)
    shots = int(params["shots"])
    # The simulator takes a source that ends in ".qasm" for the name of a file.
    program = Program(source=source + "\n", inputs=dict(bindings) or None)

    def parsed() -> Any:
        found = _simulator(params["engine"], 0).parse_program(program).circuit
        if shots:
            _ = found.basis_rotation_instructions
        return found

    circuit = _careful(parsed)
    _check(params["engine"], circuit, shots)
    qubits = circuit.num_qubits
    needed = COPIES * 16 << (qubits if params["engine"] == VECTOR else 2 * qubits)
    _check_memory(params, qubits, needed)
    return _Read(program, circuit, list(circuit.results), qubits, needed)


def _check(engine: str, circuit: Any, shots: int) -> None:
    """Raise UnsupportedError for what the engine cannot do, or what would be too long to tell."""
    qubits, kinds = circuit.num_qubits, [each.type for each in circuit.results]
    if not qubits:
        raise UnsupportedError("The program uses no qubits.")
    if engine == VECTOR and any(isinstance(e, KrausOperation) for e in circuit.instructions):
        raise UnsupportedError("A state vector has no noise.", "Run it on sim-density (DM1).")
    if engine == DENSITY and not _PURE.isdisjoint(kinds):
        raise UnsupportedError("A density matrix has no state vector and no amplitudes.")
    if not shots and (not kinds or "sample" in kinds):
        raise UnsupportedError(
            "0 shots are too few.", "Without shots a program has exact result types, no samples."
        )
    if shots and not _STATES.isdisjoint(kinds):
        raise UnsupportedError("States and amplitudes are told without shots only.")
    for each in circuit.results:
        numbers = _numbers(each, qubits)
        if numbers > NUMBERS_MAX:
            raise UnsupportedError(
                f"The result type {each.type.value} has {numbers} numbers; {NUMBERS_MAX} are told."
            )
        if each.type == "amplitude" and any(len(state) != qubits for state in each.states):
            raise UnsupportedError(f"The states of amplitudes have {qubits} bits here.")


def _numbers(asked: Any, qubits: int) -> int:
    """Return how many numbers a result type is."""
    targets = getattr(asked, "targets", None)
    width = qubits if targets is None else len(targets)
    if asked.type == "densitymatrix":
        return 1 << (2 * width)
    if asked.type in ("statevector", "probability"):
        return 1 << width
    return 1


def _reason(params: dict[str, Any], found: _Read) -> str:
    what = "a density matrix" if params["engine"] == DENSITY else "a state vector"
    noise = sum(isinstance(each, KrausOperation) for each in found.circuit.instructions)
    how = "exact" if not int(params["shots"]) else "sampled once"
    named = f", with the program's own noise ({noise} channels)" if noise else ""
    return f"{found.qubits} qubits: {what}, {how}{named}."


def _depth(gates: list[Any]) -> int:
    level: dict[int, int] = {}
    for each in gates:
        deep = 1 + max((level.get(qubit, 0) for qubit in each.targets), default=0)
        level.update(dict.fromkeys(each.targets, deep))
    return max(level.values(), default=0)


def _sampled(asked: Any, rows: Any) -> Any:
    """Return a result type's value of outcomes, which are in its observables' bases."""
    count = rows.shape[1]
    if asked.type == "probability":
        places = list(range(count)) if asked.targets is None else list(asked.targets)
        chances = np.bincount(_indices(rows, places), minlength=1 << len(places)) / len(rows)
        return chances.tolist()
    observable = from_braket_result_type(
        Expectation(observable=asked.observable, targets=asked.targets)
    ).observable
    if asked.targets:
        return _moment(asked.type, _outcomes(observable, rows))
    every = (observable.fix_qubit(place) for place in range(count))
    return [_moment(asked.type, _outcomes(each, rows)) for each in every]


def _outcomes(observable: Any, rows: Any) -> Any:
    """Return the eigenvalue that each outcome stands for."""
    found = np.ones(len(rows))
    for each in getattr(observable, "factors", (observable,)):
        values = np.real(np.asarray(each.eigenvalues))
        found = found * values[_indices(rows, list(each.measured_qubits))]
    return found


def _indices(rows: Any, places: list[int]) -> Any:
    weights = 1 << np.arange(len(places) - 1, -1, -1, dtype=np.int64)
    return rows[:, places].astype(np.int64) @ weights


def _moment(kind: str, values: Any) -> Any:
    if kind == "sample":
        return values.tolist()
    return float(np.mean(values) if kind == "expectation" else np.var(values))


def _told(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, dict):
        return {state: _told(each) for state, each in value.items()}
    found = np.asarray(value)
    if np.iscomplexobj(found):
        found = np.stack([found.real, found.imag], axis=-1)
    return found.tolist()


def _versions() -> dict[str, str]:
    from importlib.metadata import version  # noqa: PLC0415

    name = "amazon-braket-default-simulator"
    return {"python": sys.version.split()[0], name: version(name), "numpy": version("numpy")}
