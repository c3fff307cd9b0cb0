"""IonQ's machines and its simulator, as its API describes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from skerry.kernel.errors import NOT_FOUND
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.twins import is_runnable

SIMULATOR, SIMULATOR_DEVICE = "simulator", "sim-ideal"
SIMULATOR_QUBITS = 29
ANY = {"qpu": "ionq-forte-1"}
"""What `qpu` alone stands for."""


def backends() -> Iterator[tuple[str, Device]]:
    """Yield the names of IonQ's backends and their devices here."""
    yield SIMULATOR, load.find(SIMULATOR_DEVICE)
    for device in load.devices().values():
        if device.vendor == "IonQ" and is_runnable(device):
            yield f"qpu.{device.id.removeprefix('ionq-')}", device


def find(name: str, noise: str = "ideal") -> Device:
    """Return the device of a backend; the simulator's is that of its noise model."""
    if name == SIMULATOR and noise not in ("", "ideal"):
        name = f"qpu.{noise}"
    wanted = ANY.get(name, "")
    for known, device in backends():
        if name == known or device.id == wanted:
            return device
    raise NOT_FOUND(
        f"There is no backend or noise model {name[:40]}.",
        why=f"Known: {', '.join(known for known, _ in backends())}.",
    )


def listed(name: str, device: Device, waiting: int, at: str) -> dict[str, Any]:
    """Return a backend as it is listed; twins of machines that are gone are there too."""
    return {
        "backend": name,
        "status": "available",
        "degraded": False,
        "qubits": SIMULATOR_QUBITS if name == SIMULATOR else device.qubits,
        "average_queue_time": 0,
        "queue_length": waiting,
        "last_updated": at,
        "has_access": True,
        "note": "a twin on this node" if name != SIMULATOR else "a simulator on this node",
    }


def characterization(name: str, device: Device) -> dict[str, Any]:
    """Return the figures of a machine."""
    count = device.qubits
    pairs = [[a, b] for a in range(count) for b in range(a + 1, count)]

    def fidelity(figure: str) -> dict[str, Any]:
        return {"median": device.value(figure), "mean": device.value(figure), "stderr": None}

    return {
        "id": f"{device.id}-{device.revision}",
        "backend": name,
        "target": name,
        "date": f"{device.as_of}T00:00:00Z",
        "status": "available",
        "qubits": count,
        "connectivity": pairs,
        "fidelity": {
            "spam": fidelity("readout_fidelity"),
            "1q": fidelity("one_qubit_fidelity"),
            "2q": fidelity("two_qubit_fidelity"),
        },
        "timing": {
            "t1": device.value("t1"),
            "t2": device.value("t2"),
            "1q": device.value("one_qubit_seconds"),
            "2q": device.value("two_qubit_seconds"),
            "readout": device.value("readout_seconds"),
            "reset": device.value("reset_seconds"),
        },
    }
