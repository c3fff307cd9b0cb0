"""Platforms: the catalogue's devices that Scaleway offers, and the simulator of this node."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from skerry.kernel.errors import NOT_FOUND
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device, Modality, Paradigm, Price
from skerry.kinds.quantum.checks import EXECUTIONS_MAX
from skerry.kinds.quantum.contract import JobRequest
from skerry.kinds.quantum.results import nature
from skerry.kinds.quantum.twins import is_runnable
from skerry.kinds.quantum.wires.pasqal import devices as pulser
from skerry.kinds.quantum.wires.quandela import platforms as photonic
from skerry.kinds.quantum.wires.scaleway.names import identity

CHANNEL = "Scaleway"
SIMULATOR = "EMU-SKERRY"
PHOTONS = "EMU-SKERRY-PHOTONIC"
_SIMULATORS = {"sim-ideal": SIMULATOR, "sim-photonic": PHOTONS}
SIMULATED_QUBITS = 30
_PREFIX = "QPU-"
_TECHNOLOGY = {
    Modality.SUPERCONDUCTING: "superconducting",
    Modality.TRAPPED_ION: "trapped_ion",
    Modality.NEUTRAL_ATOM: "neutral_atom",
    Modality.PHOTONIC: "photonic",
}
_PROVIDERS = {"Alpine Quantum Technologies": "AQT", "Skerry": "Skerry"}
_GATES = {"prx": "r", "zz": "rzz", "phasedx": "r"}
"""What Qiskit calls native gates that have another name there."""

_PARAMETERS = {"r": ["theta", "phi"], "rz": ["phi"], "rxx": ["theta"], "rzz": ["theta"]}


def name_of(device: Device) -> str:
    """Return Scaleway's name of a device, or nothing if it has none."""
    if device.id in _SIMULATORS:
        return _SIMULATORS[device.id]
    return next((each for each in device.aliases if each.startswith(_PREFIX)), "")


def _all() -> list[Device]:
    return [each for each in load.devices().values() if name_of(each) and is_runnable(each)]


def find(platform_id: str) -> Device:
    """Return the device of a platform; raise NOT_FOUND."""
    for each in _all():
        if platform_id == identity("platform", each.id):
            return each
    raise NOT_FOUND(f"There is no platform {platform_id[:60]}.")


def listed(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the platforms that a query asks for."""
    kept = {key: value for key, value in query.items() if key in _FILTERS and value}
    found = [told(each) for each in _all()]
    chosen = [
        row
        for row in found
        if all(row[_FILTERS[k]].casefold() == v.casefold() for k, v in kept.items())
    ]
    return {"total_count": len(chosen), "platforms": chosen}


_FILTERS = {
    "name": "name",
    "provider_name": "provider_name",
    "backend_name": "backend_name",
    "platform_type": "type",
    "platform_technology": "technology",
}


def told(device: Device) -> dict[str, Any]:
    """Return a device as a platform."""
    is_local = device.status == "local"
    price = next((each for each in device.prices if each.channel == CHANNEL), None)
    return {
        "id": identity("platform", device.id),
        "version": str(device.revision),
        "name": name_of(device),
        "provider_name": _PROVIDERS.get(device.vendor, device.vendor),
        "backend_name": "aer" if is_local else device.id,
        "type": "simulator" if is_local else "qpu",
        "technology": _TECHNOLOGY.get(device.modality, "general_purpose"),
        "max_qubit_count": SIMULATED_QUBITS if is_local else device.qubits,
        "max_shot_count": device.shots[1],
        "max_circuit_count": EXECUTIONS_MAX,
        "availability": "available",
        "metadata": msgspec.json.encode(_metadata(device)).decode(),
        "price_per_hour": _money("0"),
        "price_per_shot": _money(price.per_shot if price else "0"),
        "price_per_circuit": _money(price.per_task if price else "0"),
        "description": _described(device, price),
        "is_bookable": False,
    }


def _metadata(device: Device) -> dict[str, Any]:
    """Return what a device can do, as the client for its kind of programs reads it."""
    if device.paradigm is Paradigm.PHOTONIC:
        return photonic.specs(device)
    if device.paradigm is Paradigm.ANALOG:
        return {"specs": msgspec.json.encode(pulser.shape(name_of(device), device)).decode()}
    gates = [_GATES.get(each, each) for each in device.native_gates]
    instructions: list[Any] = [{"name": e, "params": _PARAMETERS.get(e)} for e in gates]
    instructions += [{"name": "measure"}] if gates else []
    return {"qiskit": {"target": {"instructions": instructions}}}


def _described(device: Device, price: Price | None) -> str:
    said = nature(device, JobRequest(device.id, ()))
    if price is None:
        return f"{said}."
    dated = device.sources[price.source].as_of
    return f"{said}. Prices are the machine's, of {dated}; here it costs nothing but compute."


def _money(amount: str) -> dict[str, Any]:
    value = Decimal(amount)
    units = int(value)
    return {"currency_code": "EUR", "units": units, "nanos": int((value - units) * 10**9)}
