"""Writes a compiled circuit in Quil, which Rigetti's machines read (arXiv:1608.03355)."""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import UNSUPPORTED
from skerry.kinds.quantum.providers.reading import whole

_GATES = {"rx": "RX", "rz": "RZ", "cz": "CZ", "iswap": "ISWAP", "xy": "XY"}


def quil(compiled: dict[str, Any]) -> str:
    """Return a circuit whose bits are those of the memory `ro`; raise UNSUPPORTED."""
    whole(compiled, "Rigetti")
    labels = compiled["labels"]
    lines = [f"DECLARE ro BIT[{compiled['bits']}]"]
    for name, qubits, params in compiled["ops"]:
        places = " ".join(labels[each] for each in qubits)
        if name == "measure":
            lines.append(f"MEASURE {places} ro[{params[0]}]")
        elif name in _GATES:
            values = ", ".join(repr(float(each)) for each in params)
            lines.append(f"{_GATES[name]}{f'({values})' if values else ''} {places}")
        elif name != "barrier":
            raise UNSUPPORTED(f"Quil has no {name} here.")
    return "\n".join(lines) + "\n"
