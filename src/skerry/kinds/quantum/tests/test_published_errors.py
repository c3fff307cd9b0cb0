"""Every twin errs as often as its published figures say: reckoned here from the catalogue alone.

The chance that nothing goes wrong in a shot is the product over the gates and the readings of a
compiled circuit. The worker's own reckoning has to equal it; and what it samples has to lie within
bounds that follow from it, five standard deviations wide (a false alarm in 1.7 million draws, for
one that is not seeded). Errors are made so much likelier for the sample that a twin without any
would be far outside.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import pytest

from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.tests.conftest import ghz
from skerry.kinds.quantum.worker import noise, running

SHOTS = 2000
TWINS = [each.id for each in load.devices().values() if each.twin and each.native_gates]
LIKELY = 0.5
"""How likely it is made that something goes wrong, about."""


class Published:
    """The figures of a device, as they stand in its file or among its averages."""

    def __init__(self, device_id: str) -> None:
        self.device = load.find(device_id)
        self.calibration = load.calibration(device_id)

    def _error(self, name: str) -> float:
        return 1 - (self.device.value(name) or 1.0)

    def _of(self, label: str, name: str) -> float:
        assert self.calibration is not None
        own = getattr(self.calibration.qubits[label], name)
        if own is not None:
            return float(own)
        every = [getattr(each, name) for each in self.calibration.qubits.values()]
        return float(median([each for each in every if each is not None] or [0.0]))

    def gate(self, label: str) -> float:
        if self.calibration is None:
            return self._error("one_qubit_fidelity")
        return self._of(label, "gate_error")

    def reading(self, label: str) -> float:
        if self.calibration is None:
            return self._error("readout_fidelity")
        return (self._of(label, "read_0_as_1") + self._of(label, "read_1_as_0")) / 2

    def pair(self, one: str, other: str) -> float:
        if self.calibration is None:
            return self._error("two_qubit_fidelity")
        if self.device.topology.kind == "all":
            return median([each for each in self.calibration.pairs.values() if each is not None])
        pairs = self.calibration.pairs
        found = pairs.get(f"{one}-{other}")
        found = pairs.get(f"{other}-{one}") if found is None else found
        assert found is not None
        return found


def chance_of_none(device_id: str, circuit: dict[str, Any], factor: float = 1.0) -> float:
    """Return how likely it is that no gate and no reading errs.

    An average infidelity e of a gate of d dimensions is a Pauli error with the chance e (d + 1) / d
    (Nielsen, Physics Letters A 303, 249).
    """
    published, labels, odds = Published(device_id), circuit["labels"], 1.0
    for name, qubits, params in circuit["ops"]:
        places = [labels[each] for each in qubits]
        if name == "measure":
            odds *= 1 - published.reading(*places) * factor
        elif name in noise.CHANNELS or name in ("barrier", "delay", "rz", "p", "id"):
            continue
        elif len(places) == 1:
            idle = name == "phased_xz" and params[0] == 0
            odds *= 1 if idle else 1 - published.gate(*places) * 1.5 * factor
        else:
            odds *= 1 - published.pair(*places) * 1.25 * factor
    return odds


def asked(device_id: str, qubits: int, *, waits: bool = True, **more: Any) -> dict[str, Any]:
    found = load.find(device_id)
    shape = twins.for_worker(found, load.calibration(device_id))
    assert shape is not None
    if not waits:
        for each in [shape.get("average", {}), *shape.get("one", {}).values()]:
            each |= {"t1": None, "t2": None}
    source = {"source": ghz(qubits), "format": "openqasm3", "device": shape, "shots": SHOTS}
    return source | {"seed": 11, "memory_bytes": 1 << 30} | more


@pytest.mark.parametrize("device_id", TWINS)
def test_a_twins_chance_of_no_error_is_that_of_the_published_figures(device_id: str) -> None:
    _, noisy = running.prepared(asked(device_id, 5, waits=False))
    assert noisy.fidelity == pytest.approx(chance_of_none(device_id, noisy.circuit), rel=1e-9)
    assert noisy.fidelity < 1
    _, waiting = running.prepared(asked(device_id, 5))
    assert waiting.fidelity <= noisy.fidelity


@pytest.mark.parametrize("device_id", TWINS)
@pytest.mark.parametrize("qubits", [2, 5])
def test_populations_are_within_the_published_errors(device_id: str, qubits: int) -> None:
    """At least what is left without an error; at most that and three quarters of the rest."""
    _, noisy = running.prepared(asked(device_id, qubits))
    factor = max(1.0, LIKELY / (1 - chance_of_none(device_id, noisy.circuit)))
    low = chance_of_none(device_id, noisy.circuit, factor)
    found = running.run(asked(device_id, qubits, waits=False, pessimism=factor))
    good = (found["counts"].get("0" * qubits, 0) + found["counts"].get("1" * qubits, 0)) / SHOTS
    spread = 5 * math.sqrt(0.25 / SHOTS)
    assert low - spread <= good <= low + 0.75 * (1 - low) + spread < 1
    assert found["engine"] == "stim"
