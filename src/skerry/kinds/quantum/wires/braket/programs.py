"""Actions of tasks: what comes in as JSON, and the programs of the neutral job that it means.

A program with result types is rewritten: it measures every qubit at its end, in the basis that its
observables ask for. All others stay as they came, byte for byte. So do those for simulators that
want exact results, noise of their own or matrices: `worker.exact` runs them.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID, TOO_LARGE, UNSUPPORTED, SkerryError
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.checks import EXECUTIONS_MAX
from skerry.kinds.quantum.contract import Program
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.twins import EXACT
from skerry.kinds.quantum.wires.braket import observables
from skerry.kinds.quantum.worker.ir import flat

PROGRAM = "braket.ir.openqasm.program"
PROGRAM_SET = "braket.ir.openqasm.program_set"
AHS = "braket.ir.ahs.program"
_MEASURE = re.compile(r"\bmeasure\b")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_WITHIN = re.compile(r"(?<=\S)[ \t]*(?=#pragma\b)")
_OWN = re.compile(
    r"^\s*#pragma\s+braket\s+(?:noise\b|unitary\b|result\b[^\n]*\bhermitian\b)", re.MULTILINE
)


class View(msgspec.Struct, frozen=True, omit_defaults=True):
    """How results of one program are told: its qubits' numbers and the result types it asks for.

    Without `qubits` a qubit's place is its number. The engine itself tells an `exact` program's.
    """

    qubits: tuple[int, ...] | None = None
    results: tuple[observables.ResultType, ...] = ()
    exact: bool = False


class Action(msgspec.Struct, frozen=True):
    """A task's action, read; `engine` is the one that it has to run on, if any."""

    kind: str
    programs: tuple[Program, ...]
    views: tuple[View, ...]
    engine: str = ""

    @property
    def executions(self) -> int:
        """How many programs with their values it means."""
        return sum(len(each.bindings) for each in self.programs)


async def read(desk: Desk, text: str, device: Device, shots: int) -> Action:
    """Return the action in a JSON text; raise INVALID, TOO_LARGE or UNSUPPORTED."""
    try:
        found = msgspec.json.decode(text)
        kind = str(found["braketSchemaHeader"]["name"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise INVALID("The action is no JSON with a braketSchemaHeader.", why=str(error)) from error
    if kind == AHS:
        return Action(kind, (Program(text, "ahs", dialect="braket"),), (View(),))
    if kind == PROGRAM:
        program, engine = _program(found, ()), EXACT.get(device.id, "")
        if engine:
            program = _one_a_line(program)
        if engine and (not shots or _OWN.search(program.source)):
            return Action(kind, (program,), (View(exact=True),), engine)
        program, view = await _with_results(desk, program)
        if measures_all(device):
            await _check_all_measured(desk, program)
        return Action(kind, (program,), (view,))
    if kind != PROGRAM_SET:
        raise UNSUPPORTED(f"Actions of the type {kind[:80]} cannot be run here.")
    members = found.get("programs")
    if not isinstance(members, list) or not members:
        raise INVALID("A program set has a list of programs.")
    if len(members) > EXECUTIONS_MAX:
        raise TOO_LARGE(f"A program set has at most {EXECUTIONS_MAX} executables.")
    programs = tuple(_program(each, None) for each in members)
    return Action(kind, programs, tuple([await _view(desk, each) for each in programs]))


def measures_all(device: Device) -> bool:
    """Tell whether a device takes only programs that measure all of their qubits, or none."""
    return device.vendor == "IonQ" or device.id in EXACT


async def _check_all_measured(desk: Desk, program: Program) -> None:
    """Raise INVALID, in the vendor's words, for a program that measures some of its qubits."""
    if program.format != "openqasm3" or not _MEASURE.search(_COMMENT.sub(" ", program.source)):
        return
    circuit = await desk.parse(program)
    measured = {op[1][0] for op in flat(circuit["ops"]) if op[0] == "measure"}
    if len(measured) != circuit["qubits"]:
        raise INVALID(
            "Device requires all qubits in the program to be measured.",
            why="This may be caused by declaring non-contiguous qubits or measuring partial qubits",
        )


def _program(found: Any, single: tuple[()] | None) -> Program:
    """Return a program; in a set (`single` is None) each input has a list of values."""
    if not isinstance(found, dict) or not isinstance(found.get("source"), str):
        raise INVALID("A program has a source, which is a text.")
    inputs = found.get("inputs") or {}
    if not isinstance(inputs, dict):
        raise INVALID("The inputs of a program are an object.")
    bindings: tuple[dict[str, float], ...]
    if single is not None:
        bindings = ({name: _number(name, value) for name, value in inputs.items()},)
    else:
        bindings = _rows(inputs)
    return Program(found["source"], "openqasm3", bindings, "braket")


def _one_a_line(program: Program) -> Program:
    """Return a program with every pragma on a line of its own, as Braket's simulators read them."""
    bare = _COMMENT.sub(" ", program.source)
    if _WITHIN.search(bare) is None:
        return program
    return msgspec.structs.replace(program, source=_WITHIN.sub("\n", bare))


def _rows(inputs: dict[str, Any]) -> tuple[dict[str, float], ...]:
    if not inputs:
        return ({},)
    if not all(isinstance(each, list) for each in inputs.values()):
        raise INVALID("Every input of a program in a set is a list of values.")
    counts = {len(each) for each in inputs.values()}
    if len(counts) != 1 or not 0 < next(iter(counts)) <= EXECUTIONS_MAX:
        raise INVALID("The inputs of a program in a set have lists of one length, at least 1.")
    return tuple(
        {name: _number(name, values[number]) for name, values in inputs.items()}
        for number in range(counts.pop())
    )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UNSUPPORTED(f"The input {name[:60]} is {value!r:.60}, not a number.")
    return float(value)


async def _view(desk: Desk, program: Program) -> View:
    """Return how a program of a set is told; result types are those of single programs alone."""
    if observables.asks(program.source):
        raise UNSUPPORTED("A program in a set measures its qubits; it has no result types.")
    if "$" not in program.source:
        return View()
    return View(_labels(await desk.parse(program)))


def _labels(circuit: dict[str, Any]) -> tuple[int, ...] | None:
    labels = circuit.get("labels")
    return None if labels is None else tuple(int(each) for each in labels)


async def _with_results(desk: Desk, program: Program) -> tuple[Program, View]:
    """Return a program that measures what its result types need, and how it is told."""
    if not observables.asks(program.source):
        return program, await _view(desk, program)
    source = _COMMENT.sub(" ", program.source)
    if _MEASURE.search(source):
        raise INVALID("A program has measurements or result types, not both.")
    circuit = await desk.parse(program)
    labels = _labels(circuit)
    named = observables.registers(source, circuit["qubits"], labels)
    results = tuple(observables.read(each, named) for each in circuit["pragmas"])
    turned = observables.turns(results, range(circuit["qubits"]))
    if turned and circuit.get("verbatim"):
        raise UNSUPPORTED(
            "A verbatim program is run as it is, so that it is measured in the z basis alone.",
            why="An observable of it needs a rotation first.",
        )
    return _measured(circuit, turned), View(labels, results)


def _measured(circuit: dict[str, Any], turned: list[Any]) -> Program:
    """Return a circuit without measurements as a program that rotates and measures all qubits."""
    count = circuit["qubits"]
    gates = [op for op in circuit["ops"] if op[0] != "measure"]
    reads = [["measure", [each], [each]] for each in range(count)]
    shape = {
        "qubits": count,
        "bits": count,
        "registers": [["b", 0, count]],
        "ops": [*gates, *turned, *reads],
    }
    kept = {name: circuit[name] for name in ("labels", "verbatim") if name in circuit}
    text = msgspec.json.encode(shape | kept).decode()
    return Program(text, "circuit", dialect="braket")


async def failures(desk: Desk, action: Action) -> list[dict[str, Any]]:
    """Return which programs of a set cannot be read, as Braket lists them."""
    found = []
    for number, program in enumerate(action.programs):
        for row in range(len(program.bindings)):
            try:
                await desk.parse(program, row)
            except SkerryError as error:
                text = f"{error.what} {error.why}".strip()
                found.append({"programIndex": number, "inputsIndex": row, "errors": [text]})
                break
    return found
