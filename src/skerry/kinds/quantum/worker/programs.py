"""The circuits that one call of Qiskit's primitives comes to, each over the qubits that it uses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .ir import Circuit, Op, UnsupportedError, flat, mapped
from .qpy import circuit_of, template_of

PROGRAMS_MAX = 4096
TEXT_BYTES_MAX = 64 << 20
_BINDING_BYTES = 40
"""What a parameter's name and value take, about."""


class Programs:
    """The circuits so far, with the values that each is bound to; every binding is an execution.

    `labels` names the device's qubits, if it has any.
    """

    def __init__(self, labels: list[str] | None) -> None:
        self._labels = labels
        self._bytes = 0
        self._count = 0
        self.made: list[dict[str, Any]] = []

    def add(
        self,
        circuit: Circuit,
        bindings: Sequence[dict[str, float]] = ({},),
        places: Sequence[int] = (),
    ) -> list[int]:
        """Keep a circuit; return the numbers of its executions.

        `places` says which qubits of the device the circuit's are, if they are not the first ones.
        """
        if self._count + len(bindings) > PROGRAMS_MAX:
            raise too_many()
        if not any(op[0] == "measure" for op in flat(circuit["ops"])):
            raise UnsupportedError("The circuit measures nothing.")
        text = json.dumps(self._compact(circuit, places), separators=(",", ":"))
        self._bytes += len(text) + sum(map(len, bindings)) * _BINDING_BYTES
        if self._bytes > TEXT_BYTES_MAX:
            raise UnsupportedError(
                f"The circuits of a job have at most {TEXT_BYTES_MAX >> 20} MiB together.",
                "Fewer randomisations, or fewer sets of parameters, make it smaller.",
            )
        self.made.append({"source": text, "bindings": list(bindings)})
        start, self._count = self._count, self._count + len(bindings)
        return list(range(start, self._count))

    def sweep(
        self, found: Any, rows: Sequence[Sequence[float]], places: Sequence[int] = ()
    ) -> list[int]:
        """Keep a circuit of Qiskit with rows of values for its parameters; return the numbers."""
        if not rows or not found.parameters:
            return self.add(circuit_of(found), [{}] * len(rows), places) if rows else []
        names = [each.name for each in found.parameters]
        if self._count + len(rows) > PROGRAMS_MAX:
            raise too_many()
        try:
            template = template_of(found)
        except UnsupportedError:  # it computes with its parameters: that is done for each row
            return [
                number for row in rows for number in self.add(circuit_of(found, row), ({},), places)
            ]
        return self.add(template, [dict(zip(names, row, strict=True)) for row in rows], places)

    def _compact(self, circuit: Circuit, places: Sequence[int]) -> Circuit:
        acting = (op for op in flat(circuit["ops"]) if op[0] != "barrier")
        used = sorted({place for op in acting for place in op[1]})
        at = {place: number for number, place in enumerate(used)}

        def moved(op: Op) -> Op:
            return [op[0], [at[q] for q in op[1] if q in at], op[2]]

        ops = mapped(circuit["ops"], moved)
        found = circuit | {"qubits": len(used), "ops": ops}
        if self._labels is None:
            return found
        at_device = [places[each] for each in used] if places else used
        if max(at_device) >= len(self._labels):
            raise UnsupportedError(f"The device has no qubit {max(at_device)}.")
        return found | {"labels": [self._labels[each] for each in at_device], "verbatim": True}


def too_many() -> UnsupportedError:
    """Make the error of a call that comes to more circuits than a job has."""
    return UnsupportedError(f"A job has at most {PROGRAMS_MAX} circuits.")


def shots_of(found: Any) -> int:
    """Return a number of shots from outside; raise UnsupportedError if it is none."""
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UnsupportedError("Shots are a whole number above 0.")
    return found
