"""A device as compilers and noise models here see it, from the JSON that the catalogue sends.

    {"id": "iqm-garnet", "native": ["prx", "cz"], "all": false, "labels": ["1", "2"],
     "one": {"1": {"t1": 4e-5, "t2": 8e-6, "error": 7e-4, "r01": 0.01, "r10": 0.02}},
     "pairs": {"1-2": 0.004}, "seconds": {"one": 2e-8, "two": 4e-8, "readout": 1e-6},
     "feedforward": "pulses"}

Where every pair can interact (`all`), `average` holds the figures of each qubit and `pair_error`
that of each pair. Errors are average gate infidelities. `feedforward` says what may depend on a
measured bit: `any` operation, `loops` (and how often something is repeated), `pulses` (gates on one
qubit, and one bit), or nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

VIRTUAL = frozenset({"rz", "p", "id"})
"""Gates that a device does by relabelling: no time passes and no error is made."""


@dataclass(frozen=True)
class Qubit:
    """The figures of one qubit; what is not published is 0, and None for times."""

    error: float = 0.0
    r01: float = 0.0
    r10: float = 0.0
    t1: float | None = None
    t2: float | None = None


@dataclass(frozen=True, eq=False)
class Device:
    """A gate-model device; what is compiled for it is kept by its identity."""

    id: str
    native: tuple[str, ...]
    all_to_all: bool
    labels: tuple[str, ...]
    pairs: dict[str, float] = field(default_factory=dict)
    one: dict[str, Qubit] = field(default_factory=dict)
    average: Qubit = Qubit()
    pair_average: float = 0.0
    one_seconds: float = 0.0
    two_seconds: float = 0.0
    read_seconds: float = 0.0
    feedforward: str = ""

    def first(self, count: int) -> Device:
        """Return a device of the first qubits alone, for one whose qubits are all alike."""
        return _first(self, count)

    def qubit(self, label: str) -> Qubit:
        """Return the figures of a qubit."""
        return self.one.get(label, self.average)

    def pair_error(self, first: str, second: str) -> float | None:
        """Return the error of a pair; None if the two cannot interact."""
        if self.all_to_all:
            return self.pair_average
        found = self.pairs.get(f"{first}-{second}")
        return self.pairs.get(f"{second}-{first}") if found is None else found


def device(found: dict[str, Any]) -> Device:
    """Return the device that the JSON describes; pairs without a figure are left out."""
    return _made(json.dumps(found, sort_keys=True))


@lru_cache(maxsize=256)
def _first(device: Device, count: int) -> Device:
    return replace(device, labels=device.labels[:count])


@lru_cache(maxsize=64)
def _made(text: str) -> Device:
    found = json.loads(text)
    seconds = found.get("seconds") or {}
    return Device(
        id=found["id"],
        native=tuple(found["native"]),
        all_to_all=bool(found.get("all")),
        labels=tuple(found["labels"]),
        pairs={pair: error for pair, error in found.get("pairs", {}).items() if error is not None},
        one={label: _qubit(each) for label, each in found.get("one", {}).items()},
        average=_qubit(found.get("average") or {}),
        pair_average=float(found.get("pair_error") or 0.0),
        one_seconds=float(seconds.get("one") or 0.0),
        two_seconds=float(seconds.get("two") or 0.0),
        read_seconds=float(seconds.get("readout") or 0.0),
        feedforward=found.get("feedforward") or "",
    )


def _qubit(found: dict[str, Any]) -> Qubit:
    return Qubit(
        error=float(found.get("error") or 0.0),
        r01=float(found.get("r01") or 0.0),
        r10=float(found.get("r10") or 0.0),
        t1=found.get("t1"),
        t2=found.get("t2"),
    )


def is_virtual(name: str, params: list[float]) -> bool:
    """Tell whether a native gate is done by relabelling."""
    return name in VIRTUAL or (name == "phased_xz" and params[0] == 0.0)
