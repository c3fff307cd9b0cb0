"""Devices as Pasqal's cloud calls them, and what Pulser is told of each.

`FRESNEL` is the twin; what begins with `EMU` is the same machine without errors.
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import Fidelity
from skerry.kinds.quantum.twins import is_runnable

MACHINES = {"FRESNEL": "pasqal-fresnel", "FRESNEL_CAN1": "pasqal-fresnel-can1"}
EMULATORS = ("EMU_FREE", "EMU_FRESNEL", "EMU_MPS", "EMU_SV", "EMU_TN")
_MICRO = 1e-6
_NANO = 1e-9
_RYDBERG_LEVEL = 60
_CLOCK_NANOSECONDS, _SHORTEST_NANOSECONDS = 4, 16
"""As of Pulser's generic analog device."""


def find(name: str) -> tuple[Device, Fidelity]:
    """Return what a type of device runs on, and with or without errors; raise INVALID."""
    if name in EMULATORS:
        return load.find(MACHINES["FRESNEL"]), "ideal"
    if name not in MACHINES:
        known = ", ".join((*MACHINES, *EMULATORS))
        raise INVALID(f"There is no device {name[:40]!r}.", why=f"There are {known}.")
    return load.find(MACHINES[name]), "twin"


def listed(*, public: bool) -> Any:
    """Return what Pulser is told of the machines that have a twin."""
    found = {
        name: msgspec.json.encode(shape(name, load.find(device))).decode()
        for name, device in MACHINES.items()
        if is_runnable(load.find(device))
    }
    if public:
        return [{"device_type": name, "specs": specs} for name, specs in found.items()]
    return found


def shape(name: str, device: Device) -> dict[str, Any]:
    """Return a machine as Pulser reads it, under a name."""

    def micro(figure: str) -> float:
        return round((device.value(figure) or 0.0) / _MICRO, 9)

    def angular(figure: str) -> float:
        return (device.value(figure) or 0.0) * _MICRO

    return {
        "version": "1",
        "pulser_version": "1.9.1",
        "name": name,
        "dimensions": 2,
        "rydberg_level": _RYDBERG_LEVEL,
        "min_atom_distance": micro("spacing_min"),
        "max_atom_num": device.qubits,
        "max_radial_distance": round(micro("radius_max")),
        "interaction_coeff_xy": None,
        "supports_slm_mask": False,
        "max_layout_filling": 0.5,
        "max_sequence_duration": round((device.value("duration_max") or 0.0) / _NANO),
        "max_runs": device.shots[1],
        "reusable_channels": False,
        "pre_calibrated_layouts": [],
        "channels": [
            {
                "id": "rydberg_global",
                "basis": "ground-rydberg",
                "addressing": "Global",
                "max_abs_detuning": angular("detuning_max"),
                "max_amp": angular("rabi_max"),
                "min_retarget_interval": None,
                "fixed_retarget_t": None,
                "max_targets": None,
                "clock_period": _CLOCK_NANOSECONDS,
                "min_duration": _SHORTEST_NANOSECONDS,
                "max_duration": 100_000_000,
                "mod_bandwidth": None,
                "eom_config": None,
            }
        ],
        "is_virtual": False,
    }
