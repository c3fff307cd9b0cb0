"""Reads the catalogue's files, once; calibrations when they are first asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import NOT_FOUND
from skerry.kernel.names import did_you_mean
from skerry.kinds.quantum.catalogue.model import (
    Calibration,
    Device,
    Modality,
    Paradigm,
    Status,
)
from skerry.kinds.quantum.worker.natives import basis

_DATA = Path(__file__).parent / "data"
_MODALITIES = {
    "superconducting": Modality.SUPERCONDUCTING,
    "ions": Modality.TRAPPED_ION,
    "atoms": Modality.NEUTRAL_ATOM,
    "photons": Modality.PHOTONIC,
}
_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
EU = frozenset(_EU.split())
"""The member states of the European Union (ISO 3166)."""


@cache
def devices() -> dict[str, Device]:
    """Return every device by its id."""
    found: dict[str, Device] = {}
    for path in sorted(_DATA.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        for each in content["device"]:
            device = _device(each, content["sources"], path.stem)
            assert device.id not in found, device.id
            found[device.id] = device
    return found


def _device(each: dict[str, Any], sources: dict[str, Any], group: str) -> Device:
    used = {figure[3] for figure in each.get("figures", ())}
    used |= {price["source"] for price in each.get("prices", ())}
    used |= {each["feedforward"]["source"]} if "feedforward" in each else set()
    shape = {"paradigm": Paradigm.GATE, "modality": _MODALITIES.get(group), **each}
    shape["sources"] = {key: sources[key] for key in sorted(used)}
    plain = msgspec.convert(shape, Device)
    return msgspec.structs.replace(plain, twin=_has_twin(plain))


def _has_twin(device: Device) -> bool:
    """Tell whether what is published is enough for a twin: gates, topology and their errors."""
    if device.status is Status.LOCAL:
        return False
    if device.paradigm is Paradigm.ANALOG:
        return device.figure("rydberg_detection_error") is not None
    if device.paradigm is not Paradigm.GATE or not device.native_gates:
        return False
    known = device.calibration or device.figure("two_qubit_fidelity")
    return bool(known and device.topology.kind != "none" and basis(device.native_gates))


@cache
def _aliases() -> dict[str, str]:
    return {alias: device.id for device in devices().values() for alias in device.aliases}


def find(name: str) -> Device:
    """Return a device by its id or by a vendor's name for it; raise NOT_FOUND."""
    known = devices()
    found = known.get(name) or known.get(_aliases().get(name, ""))
    if found is None:
        raise NOT_FOUND(
            f"There is no device {name[:100]} in the catalogue.",
            why=did_you_mean(name, known),
            hint="skerry quantum devices",
        )
    return found


@cache
def calibration(device_id: str) -> Calibration | None:
    """Return the calibration that ships with a device, if it has one."""
    name = devices()[device_id].calibration
    if not name:
        return None
    data = (_DATA / "calibrations" / f"{name}.json").read_bytes()
    return msgspec.json.decode(data, type=Calibration)


def is_in(country: str, places: Iterable[str]) -> bool:
    """Tell whether a country is one of some places; EU stands for its member states."""
    wanted = {place.upper() for place in places}
    if not wanted or country == "*" or country in wanted:
        return True
    return "EU" in wanted and (country in EU or country == "EU")
