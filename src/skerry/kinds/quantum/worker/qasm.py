"""Reads OpenQASM 2 and 3 by the official parser and unrolls it into a circuit.

Loops, constants, inputs, variables, subroutines, gate definitions and modifiers are resolved as far
as they are known before the program runs. What measured bits decide is kept: as an `if`, as a loop,
as bits that are computed. Pulses and external functions are refused with their line. Braket's
pragmas and physical qubits (`$3`) are understood, and its names of gates beside those of
`stdgates.inc` and `qelib1.inc`, whether a program includes these or not.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from openqasm3 import ast
from openqasm3 import parse as parse_text
from openqasm3.parser import QASM3ParsingError

from .expressions import refuse
from .ir import Circuit, UnsupportedError
from .qasm_choices import EndedError
from .qasm_indices import Indices
from .qasm_names import MeasuredIndexError
from .stretching import taken_by
from .variables import Scope, Variable

_SYNTAX = re.compile(r"line (\d+):\d+ (.+)")
_PULSES = (
    ast.CalibrationDefinition,
    ast.CalibrationGrammarDeclaration,
    ast.CalibrationStatement,
)


def read(source: str, bindings: Mapping[str, float]) -> Circuit:
    """Return the circuit of a program; raise UnsupportedError with a line if there is none."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            tree = parse_text(source)
    except (QASM3ParsingError, RecursionError) as error:
        raise UnsupportedError("The program is not OpenQASM.", *_reason(error, said)) from error
    except Exception as error:  # the parser's own failures on odd input have no common class
        what = f"The parser fails on the program: {type(error).__name__}."
        raise UnsupportedError(what, str(error)) from error
    try:
        return _Reader(bindings).read(tree)
    except RecursionError as error:
        raise UnsupportedError("The program is nested too deeply.") from error


def _reason(error: Exception, said: io.StringIO) -> tuple[str, int]:
    """Return why the parser gave up, and on which line."""
    found = _SYNTAX.search(said.getvalue())
    if found:
        return found[2], int(found[1])
    cause = getattr(error.__cause__, "args", ())
    token = getattr(cause[0], "offendingToken", None) if cause else None
    if token is not None:
        return f"It ends or goes on unexpectedly at {token.text!r}.", int(token.line)
    return str(error) or type(error).__name__, 0


class _Reader(Indices):
    def __init__(self, bindings: Mapping[str, float]) -> None:
        super().__init__(bindings)
        self._gates = {}
        self._pragmas = []
        self._verbatim = False
        self._boxes = 0
        self._defining = 0
        self._keys = {}
        self._subroutines = {}
        self._externs = set()
        self._flags = []
        self._do: dict[type, Callable[[Any, Scope], None]] = {
            ast.Include: self._include,
            ast.IODeclaration: self._io,
            ast.QubitDeclaration: self._qubits,
            ast.ClassicalDeclaration: self._declared,
            ast.ConstantDeclaration: self._constant,
            ast.QuantumGateDefinition: self._definition,
            ast.QuantumGate: self._gate,
            ast.QuantumPhase: self._phase,
            ast.QuantumMeasurementStatement: self._measure,
            ast.QuantumReset: self._reset,
            ast.QuantumBarrier: self._barrier,
            ast.DelayInstruction: self._delay,
            ast.ForInLoop: self._for,
            ast.WhileLoop: self._while,
            ast.AliasStatement: self._alias,
            ast.Pragma: self._pragma,
            ast.Box: self._box,
            ast.ClassicalAssignment: self._assign,
            ast.BranchingStatement: self._branch,
            ast.SwitchStatement: self._switch,
            ast.CompoundStatement: self._compound,
            ast.SubroutineDefinition: self._subroutine,
            ast.ExternDeclaration: self._extern,
            ast.ExpressionStatement: self._called,
            ast.ReturnStatement: self._return,
            ast.BreakStatement: self._leave,
            ast.ContinueStatement: self._leave,
            ast.EndStatement: self._end,
        }

    def read(self, tree: Any) -> Circuit:
        with contextlib.suppress(EndedError):
            self._run(tree.statements, self._scope)
        unknown = sorted(set(self._bindings) - set(self._inputs))
        if unknown:
            raise UnsupportedError(f"The program has no input {unknown[0]}.")
        if self._labels and self._count > len(self._labels):
            raise UnsupportedError("Physical and declared qubits cannot be mixed.")
        self._put_out()
        circuit: Circuit = {
            "qubits": self._count,
            "bits": self._bits,
            "registers": self._registers,
            "ops": self._ops,
        }
        if self._hidden:
            circuit["hidden"] = self._hidden
        if self._labels:
            circuit["labels"] = self._labels
        if self._boxes:
            circuit["verbatim"] = True
        if self._pragmas:
            circuit["pragmas"] = self._pragmas
        return circuit

    def _put_out(self) -> None:
        """Make bits of what is told at the end: all registers, or what is called an output."""
        for name in self._outputs:
            self._promote(None, name, self._scope)
        if self._outputs:
            places = {
                place
                for name in self._outputs
                if isinstance(found := self._scope.find(name), Variable)
                for place in found.places or ()
            }
            every = [*self._registers, *self._hidden]
            self._registers = [each for each in every if each[1] in places]
            self._hidden = [each for each in every if each[1] not in places]
        shown = {p for _, start, size in self._registers for p in range(start, start + size)}
        self._memory.drop(set(range(self._bits)) - shown)
        self._extend(self._memory.flush())

    def _statement(self, node: Any, scope: Scope) -> None:
        do = self._do.get(type(node))
        if isinstance(node, _PULSES):
            raise refuse(
                node, "Pulses cannot be run here.", "No engine plays them, and no twin has any."
            )
        if do is None:
            raise refuse(node, f"{type(node).__name__} cannot be run here.")
        if self._verbatim and not isinstance(node, ast.Box):
            raise refuse(node, "A box must follow `#pragma braket verbatim`.")
        done = len(self._ops)
        try:
            do(node, scope)
        except MeasuredIndexError as error:
            if any(op[0] != "set" for op in self._ops[done:]):
                raise refuse(
                    node,
                    "Something is done before an index that is measured in one statement.",
                    "Give what is done first to a variable of its own.",
                ) from error
            self._each_value(node, scope, error)

    def duration_of(self, node: Any, scope: Scope) -> Any:
        """Return how long statements take."""
        ops = self._aside(lambda: self._run(node.target, scope.block()))
        found = taken_by(ops)
        if found is None:
            raise refuse(node, "Only the time of operations that follow on each other is known.")
        return found
