"""The circuits that one call of Qiskit's primitives comes to, each over the qubits that it uses."""

from __future__ import annotations

import json
from typing import Any

from .ir import Circuit, Op, UnsupportedError, flat, mapped

PROGRAMS_MAX = 4096
TEXT_BYTES_MAX = 64 << 20


class Programs:
    """The circuits so far, as texts; `labels` names the device's qubits, if it has any."""

    def __init__(self, labels: list[str] | None) -> None:
        self._labels = labels
        self._bytes = 0
        self.texts: list[str] = []

    def add(self, circuit: Circuit) -> int:
        """Keep a circuit; return its number."""
        if len(self.texts) >= PROGRAMS_MAX:
            raise too_many()
        if not any(op[0] == "measure" for op in flat(circuit["ops"])):
            raise UnsupportedError("The circuit measures nothing.")
        self.texts.append(json.dumps(self._compact(circuit), separators=(",", ":")))
        self._bytes += len(self.texts[-1])
        if self._bytes > TEXT_BYTES_MAX:
            raise UnsupportedError(
                f"The circuits of a job have at most {TEXT_BYTES_MAX >> 20} MiB together.",
                "Fewer randomisations, or fewer sets of parameters, make it smaller.",
            )
        return len(self.texts) - 1

    def _compact(self, circuit: Circuit) -> Circuit:
        acting = (op for op in flat(circuit["ops"]) if op[0] != "barrier")
        used = sorted({place for _, places, _ in acting for place in places})
        at = {place: number for number, place in enumerate(used)}

        def moved(op: Op) -> Op:
            return [op[0], [at[q] for q in op[1] if q in at], op[2]]

        ops = mapped(circuit["ops"], moved)
        found = circuit | {"qubits": len(used), "ops": ops}
        if self._labels is None:
            return found
        if used[-1] >= len(self._labels):
            raise UnsupportedError(f"The device has no qubit {used[-1]}.")
        return found | {"labels": [self._labels[place] for place in used], "verbatim": True}


def too_many() -> UnsupportedError:
    """Make the error of a call that comes to more circuits than a job has."""
    return UnsupportedError(f"A job has at most {PROGRAMS_MAX} circuits.")


def shots_of(found: Any) -> int:
    """Return a number of shots from outside; raise UnsupportedError if it is none."""
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UnsupportedError("Shots are a whole number above 0.")
    return found
