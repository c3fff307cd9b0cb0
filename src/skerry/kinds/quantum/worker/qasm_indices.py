"""Qubits and bits that a measured number names: `x q[k]` where `k` is known while it runs alone.

Such a statement becomes one for every value that the number may have, each done if it is that. What
the number has to be computed of counts: at most some bits of it may be measured.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from openqasm3 import ast

from .conditions import ALWAYS, NEVER, bits_of, equals
from .expressions import line, refuse
from .ir import UnsupportedError
from .qasm_choices import Choices
from .qasm_names import MeasuredIndexError
from .variables import Scope, Type, Variable
from .words import Word

INDEX_BITS_MAX = 6
"""Of how many measured bits an index may be made."""


class Indices(Choices):
    """Reads statements whose indices are measured."""

    def _each_value(self, node: Any, scope: Scope, error: MeasuredIndexError) -> None:
        """Do a statement for every value that an index of it may have."""
        if isinstance(node, ast.ReturnStatement | ast.AliasStatement):
            raise refuse(
                node,
                "What is returned or named again cannot depend on an index that is measured.",
                "Give it to a bit before: bit b = measure q[k];",
            )
        if isinstance(node, ast.ClassicalDeclaration):
            node = self._declared_before(node, scope)
        measured = dict(self._measured_names(error.index, scope))
        if not measured:
            raise refuse(
                node, "An index is computed of what is measured.", "Give it to a variable before."
            )
        is_gate = isinstance(node, ast.QuantumGate) and not self._is_subroutine(node.name.name)
        if is_gate or isinstance(node, ast.QuantumReset):
            numbers = measured  # these write no bits
        else:
            numbers = {name: self._frozen(node, word) for name, word in measured.items()}
        places = sorted({p for word in numbers.values() for bit in word.bits for p in bits_of(bit)})
        if len(places) > INDEX_BITS_MAX:
            raise refuse(
                node,
                f"An index depends on {len(places)} measured bits, of at most {INDEX_BITS_MAX}.",
                "Cut it to those that it needs: uint[3](k).",
            )
        for value in range(1 << len(places)):
            bits = {place: bool(value >> at & 1) for at, place in enumerate(places)}
            self._one_value(node, scope, error, bits, numbers)

    def _one_value(
        self,
        node: Any,
        scope: Scope,
        error: MeasuredIndexError,
        bits: dict[int, bool],
        numbers: dict[str, Word],
    ) -> None:
        """Do a statement if bits have a value, with the names in its index known."""
        inner = scope.block()
        for name, word in numbers.items():
            known = tuple(
                bit if bit in (ALWAYS, NEVER) else ALWAYS if bits[bit[1]] else NEVER
                for bit in word.bits
            )
            found = scope.variable(name)
            wanted = found.type if found is not None else Type("uint", len(known))
            inner.names[name] = Variable(wanted, word._replace(bits=known), fixed=True)
        try:
            self._pick(node, error.places, [error.index], inner)
        except MeasuredIndexError as again:
            raise refuse(
                node, "An index is computed of what is measured.", "Give it to a variable before."
            ) from again
        except UnsupportedError as outside:
            if self._level:
                return  # what asks before is trusted to keep the index inside
            raise UnsupportedError(
                outside.what, "Ask before: if (k < size) …", outside.line or line(node)
            ) from error
        places = sorted(bits)
        asked = equals(places, sum(bits[place] << at for at, place in enumerate(places)))
        self._decide(node, asked, scope, [node], lambda: self._statement(node, inner))

    def _measured_names(self, index: Any, scope: Scope) -> Iterator[tuple[str, Word]]:
        """Yield the variables of an index that are measured."""
        for name in sorted(set(_names(index))):
            found = scope.variable(name)
            value = None if found is None else self.value_of(found)
            if isinstance(value, Word) and any(bit not in (ALWAYS, NEVER) for bit in value.bits):
                yield name, value

    def _declared_before(self, node: Any, scope: Scope) -> Any:
        """Declare a variable without its value; return the statement that gives it one."""
        if node.identifier.name not in scope.names:
            bare = copy.copy(node)
            bare.init_expression = None
            self._classical(bare, scope)
        value = node.init_expression
        made: Any = ast.ClassicalAssignment(node.identifier, ast.AssignmentOperator["="], value)
        if isinstance(value, ast.QuantumMeasurement):
            made = ast.QuantumMeasurementStatement(value, node.identifier)
        made.span = node.span
        return made


def _names(node: Any) -> Iterator[str]:
    """Yield the names in an expression."""
    if isinstance(node, ast.Identifier):
        yield node.name
    elif isinstance(node, list | tuple):
        for each in node:
            yield from _names(each)
    elif isinstance(node, ast.QASMNode):
        for key, each in vars(node).items():
            if key not in ("span", "annotations"):
                yield from _names(each)
