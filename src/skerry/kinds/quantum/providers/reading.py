"""What vendors answer, read: states, names and bits, with bit 0 of the program first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skerry.kernel.errors import UNSUPPORTED
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import garbled


def state_of(states: Mapping[str, JobState], found: Any, vendor: str) -> JobState:
    """Return the state that a vendor's word means; raise VendorError for one that is not known."""
    state = states.get(str(found))
    if state is None:
        raise garbled(f"{vendor}'s state {str(found)[:40]!r} is not known.")
    return state


def name_in(found: Mapping[str, Any], key: str, vendor: str) -> str:
    """Return the name that the vendor gave a job; raise VendorError if it gave none."""
    name = found.get(key)
    if not isinstance(name, str) or not name or len(name) > 500:
        raise garbled(f"{vendor}'s answer names no job.", str(found)[:200])
    return name


def bits_of(circuit: dict[str, Any]) -> list[int]:
    """Return for every bit of a circuit the qubit that is read into it, or -1."""
    found = [-1] * circuit["bits"]
    for name, qubits, params in circuit["ops"]:
        if name == "measure":
            found[params[0]] = qubits[0]
    return found


def counted(rows: Iterable[Sequence[Any]], places: Sequence[int]) -> dict[str, int]:
    """Return counts from shots, each the values of what was read.

    `places` says for every bit of the program where in a row it is, -1 for a bit that is 0.
    """
    counts: dict[str, int] = {}
    for row in rows:
        text = "".join(str(int(row[place])) if place >= 0 else "0" for place in places)
        counts[text] = counts.get(text, 0) + 1
    return counts


def reordered(
    found: Mapping[str, Any], places: Sequence[int], shots: int | None = None
) -> dict[str, int]:
    """Return counts of the program's bits from a vendor's texts, by where each bit is in them.

    With `shots`, what came are chances.
    """
    counts: dict[str, int] = {}
    for word, value in found.items():
        text = "".join(word[place] if place >= 0 else "0" for place in places)
        count = round(float(value) * (1 if shots is None else shots))
        if count:
            counts[text] = counts.get(text, 0) + count
    return counts


def registers_of(circuit: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Return a circuit's registers as (name, first bit, bits)."""
    return [(name, start, size) for name, start, size in circuit["registers"]]


def whole(circuit: dict[str, Any], vendor: str) -> None:
    """Raise UNSUPPORTED unless nothing is done to a qubit after it was read, or reset."""
    read: set[int] = set()
    for name, qubits, _ in circuit["ops"]:
        if name == "reset" or (name != "barrier" and read.intersection(qubits)):
            raise UNSUPPORTED(
                f"{vendor} reads all qubits at the end; the circuit goes on with one after that."
            )
        if name == "measure":
            read.add(qubits[0])
