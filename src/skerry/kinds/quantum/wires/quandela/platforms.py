"""Platforms as Perceval sees them: what they can do, and how large a circuit may be.

`sim:slos` is the simulator of this node. `sim:belenos`, `qpu:belenos` and their like are the same
simulator within the limits of a machine: every platform is told as a simulator.
"""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import NOT_FOUND
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device, Paradigm
from skerry.kinds.quantum.contract import JobRequest
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.results import nature
from skerry.kinds.quantum.worker.perceval import COMMANDS
from skerry.kinds.quantum.worker.sizes import MODES_MAX, PHOTONS_MAX

_PARAMETERS = {"min_detected_photons": "The fewest photons of an outcome that counts."}
_PERFECT = {"HOM (%)": 100.0, "Transmittance (%)": 100.0, "g2 (%)": 0.0}


def find(name: str) -> Device:
    """Return the device of a platform; raise NOT_FOUND."""
    family, _, machine = name.partition(":")
    alias = f"qpu:{machine}" if family == "sim" and machine != "slos" else name
    try:
        found = load.find(alias)
    except Exception as error:
        raise _unknown(name) from error
    if found.paradigm is not Paradigm.PHOTONIC or alias not in found.aliases:
        raise _unknown(name)
    return found


def _unknown(name: str) -> Exception:
    known = [
        alias
        for each in load.devices().values()
        if each.paradigm is Paradigm.PHOTONIC
        for alias in each.aliases
        if ":" in alias
    ]
    return NOT_FOUND(f"There is no platform {name[:60]}.", why=f"There are {', '.join(known)}.")


async def shown(desk: Desk, name: str) -> dict[str, Any]:
    """Return a platform; its performance is that of a simulator without noise of its own."""
    device = find(name)
    return {
        "name": name,
        "description": nature(device, JobRequest(device.id, ())),
        "type": "simulator",
        "status": "available",
        "waiting_jobs": await desk.waiting(device.id),
        "specs": specs(device),
        "perfs": _PERFECT,
    }


def specs(device: Device) -> dict[str, Any]:
    """Return what a platform can do, as Perceval reads it."""
    return {
        "available_commands": list(COMMANDS),
        "constraints": {
            "min_mode_count": 1,
            "max_mode_count": min(MODES_MAX, int(device.value("modes") or MODES_MAX)),
            "min_photon_count": 1,
            "max_photon_count": min(PHOTONS_MAX, int(device.value("photons") or PHOTONS_MAX)),
            "support_multi_photon": True,
            "accepted_state_kinds": ["FS"],
        },
        "description": f"{device.name}: {nature(device, JobRequest(device.id, ()))}",
        "architecture": None,
        "parameters": _PARAMETERS,
    }
