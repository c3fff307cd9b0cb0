"""How long a machine takes for a shot, from its published figures."""

from __future__ import annotations

from skerry.kinds.quantum.catalogue.model import Calibration, Device


def shot_seconds(device: Device, calibration: Calibration | None, depth: int) -> float | None:
    """Return the time of one shot: depth times the gate time, and reading; None without figures.

    Where the vendor says how many shots a second it takes, that is used.
    """
    rate = device.value("repetition_hz")
    if rate:
        return 1 / rate
    two = device.value("two_qubit_seconds")
    read = device.value("readout_seconds")
    if calibration is not None:
        two = calibration.two_qubit_seconds or two
        read = calibration.readout_seconds or read
    return None if two is None else depth * two + (read or 0.0)
