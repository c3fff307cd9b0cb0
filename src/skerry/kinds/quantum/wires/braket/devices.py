"""GetDevice and SearchDevices: the catalogue's devices that Braket has a name for."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum import sessions
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.twins import is_runnable
from skerry.kinds.quantum.wires.braket.capabilities import capabilities
from skerry.kinds.quantum.wires.braket.names import arn_of, find, region_of
from skerry.kinds.quantum.wires.braket.tasks import Search
from skerry.kinds.quantum.wires.frame import Call, Reply

_PROVIDERS = {"Alpine Quantum Technologies": "AQT", "Skerry": "Amazon Braket"}
"""What Braket calls a vendor; its own simulators' place is taken by this node's."""


async def show(call: Call, _region: str) -> Reply:
    """Answer GetDevice."""
    device, calibration, _ = call.desk.device(find(call.parts[1]).id)
    found = _summary(device)
    found["deviceCapabilities"] = msgspec.json.encode(capabilities(device, calibration)).decode()
    found["deviceQueueInfo"] = await _queues(call.desk, device)
    return Reply(found)


async def _queues(desk: Desk, device: Device) -> list[dict[str, str]]:
    """Return how many tasks wait for a device, and how many hybrid jobs, whose tasks go first."""
    tasks = {"queue": "QUANTUM_TASKS_QUEUE"}
    waiting = await desk.waiting(device.id)
    first = await desk.stored(sessions.waiting, device.id)
    return [
        tasks | {"queueSize": str(waiting - first), "queuePriority": "Normal"},
        tasks | {"queueSize": str(first), "queuePriority": "Priority"},
        {"queue": "JOBS_QUEUE", "queueSize": str(desk.hybrid.waiting(device.id))},
    ]


def _summary(device: Device) -> dict[str, Any]:
    """Return a device; it is online if this node can run it, whatever became of the machine."""
    arn = arn_of(device)
    last = arn.rpartition("/")[2]
    is_local = device.status == "local"
    gone = "RETIRED" if device.status == "retired" else "OFFLINE"
    return {
        "deviceArn": arn,
        "deviceName": last.upper() if is_local else last,
        "providerName": _PROVIDERS.get(device.vendor, device.vendor),
        "deviceType": "SIMULATOR" if is_local else "QPU",
        "deviceStatus": "ONLINE" if is_runnable(device) else gone,
    }


async def search(call: Call, region: str) -> Reply:
    """Answer SearchDevices: machines of the caller's region, and simulators."""
    asked = msgspec.convert(await call.json(), Search)
    if any(each.name != "deviceArn" for each in asked.filters):
        raise INVALID("Devices are searched by deviceArn.")
    wanted = [set(each.values) for each in asked.filters]
    found = []
    for device in load.devices().values():
        arn = arn_of(device)
        if arn and region_of(arn) in ("", region) and all(arn in each for each in wanted):
            found.append(_summary(device))
    return Reply({"devices": found})
