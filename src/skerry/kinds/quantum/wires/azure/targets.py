"""Targets as Azure calls them, and the devices of the catalogue that stand for them.

`<maker>.qpu.…` is the machine's twin; what Quantinuum calls an emulator (`…e`) is the same twin,
and a syntax checker (`…sc`) tells of a program what the twin would.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from skerry.kernel.errors import INVALID, NOT_FOUND
from skerry.kernel.names import did_you_mean
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import Fidelity
from skerry.kinds.quantum.twins import IDEAL, is_runnable
from skerry.kinds.quantum.wires.frame import Call

MAKERS = ("ionq", "pasqal", "quantinuum", "rigetti")
ESTIMATOR = "microsoft.estimator"
ESTIMATOR_PROVIDER = "microsoft-qc"
IONQ_SIMULATOR = "ionq.simulator"
_FRESNEL = "pasqal-fresnel"
_CHECKED = "a syntax checker: nothing of the program was run, and every outcome is 0"
_MACHINE, _SIMULATOR = ".qpu.", ".sim."


class Target(NamedTuple):
    """A target: what it runs on, with or without errors, and how many qubits it has.

    One that `checks` runs nothing of a program: it tells whether the machine would take it.
    """

    name: str
    device: Device
    qubits: int
    fidelity: Fidelity = "twin"
    nature: str = "a twin on this node, not the machine"
    checks: bool = False

    @property
    def provider(self) -> str:
        """The provider that it belongs to."""
        return self.name.partition(".")[0]


_SIMULATORS = (
    (IONQ_SIMULATOR, IDEAL, 29),
    ("rigetti.sim.qvm", IDEAL, 20),
    ("pasqal.sim.emu-free", _FRESNEL, 12),
    ("pasqal.sim.emu-mps", _FRESNEL, 80),
    ("pasqal.sim.emu-sv", _FRESNEL, 25),
    ("pasqal.sim.emu-tn", _FRESNEL, 100),
)
"""Simulators, what they run on without errors, and how many qubits Azure's have."""


def known() -> Iterator[Target]:
    """Yield all targets that programs can be run on."""
    for name, own, qubits in _SIMULATORS:
        yield Target(name, load.find(own), qubits, "ideal", "a simulator on this node")
    for device in load.devices().values():
        if not is_runnable(device):
            continue
        for alias in device.aliases:
            if _MACHINE not in alias or alias.partition(".")[0] not in MAKERS:
                continue
            yield Target(alias, device, device.qubits)
            if alias.startswith("quantinuum"):
                emulator = f"{alias.replace(_MACHINE, _SIMULATOR)}e"
                yield Target(emulator, device, device.qubits)
                checker = f"{emulator.removesuffix('e')}sc"
                yield Target(checker, device, device.qubits, "ideal", _CHECKED, checks=True)


def find(name: str, provider: str = "") -> Target:
    """Return a target; raise NOT_FOUND, or INVALID if it is none of the provider's."""
    every = {each.name: each for each in known()}
    target = every.get(name.lower())
    if target is None:
        known_ones = f"Known: {', '.join(sorted(every))}."
        raise NOT_FOUND(
            f"There is no target {name[:60]} here.",
            why=f"{did_you_mean(name, every)} {known_ones}".strip(),
        )
    if provider and provider.lower() != target.provider:
        raise INVALID(f"{target.name} is a target of {target.provider}, not of {provider[:40]}.")
    return target


async def statuses(call: Call) -> dict[str, Any]:
    """Return every provider with its targets, as `providerStatus` tells them."""
    found: dict[str, list[dict[str, Any]]] = {}
    seconds = call.desk.runner.seconds_until(call.desk.runner.waiting + 1)
    for each in sorted(known(), key=lambda target: target.name):
        row = {
            "id": each.name,
            "currentAvailability": "Available",
            "averageQueueTime": round(seconds or 0),
            "numQubits": each.qubits,
            "metadata": {"nature": each.nature, "device": each.device.id},
        }
        if each.provider != "pasqal":
            decides = each.provider == "quantinuum"
            row["targetProfile"] = "Adaptive_RIF" if decides else "Base"
        found.setdefault(each.provider, []).append(row)
    found[ESTIMATOR_PROVIDER] = [
        {
            "id": ESTIMATOR,
            "currentAvailability": "Available",
            "averageQueueTime": 0,
            "targetProfile": "Base",
            "metadata": {"nature": "an estimate, which runs nothing"},
        }
    ]
    rows = [
        {"id": provider, "currentAvailability": "Available", "targets": targets}
        for provider, targets in found.items()
    ]
    return {"value": rows}
