"""Amazon Resource Names: of devices, of tasks, and the account that a resource stands for."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from skerry.kernel.errors import NOT_FOUND
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device

REGIONS = ("us-east-1", "us-west-1", "us-west-2", "eu-west-2", "eu-north-1")
"""Regions that Braket's SDK searches; one without machines has the simulator alone."""

_DEVICE = "arn:aws:braket:"
_TASK = re.compile(r"arn:aws:braket:([a-z0-9-]{1,30}):(\d{12}):quantum-task/([0-9a-f-]{36})")
_HYBRID = re.compile(r"arn:aws:braket:([a-z0-9-]{1,30}):(\d{12}):job/([0-9a-f-]{36})")


def arn_of(device: Device) -> str:
    """Return Braket's name of a device, or nothing if Braket does not have it."""
    return next((each for each in device.aliases if each.startswith(_DEVICE)), "")


def region_of(arn: str) -> str:
    """Return the region in a name; nothing for simulators, which are in all."""
    return arn.split(":")[3]


def find(arn: str) -> Device:
    """Return the device of a name; raise NOT_FOUND."""
    if arn.startswith(_DEVICE):
        return load.find(arn)
    raise NOT_FOUND(f"There is no device {arn[:200]}.", hint="SearchDevices")


def account(resource_id: str) -> str:
    """Return the number of the account that a resource is to AWS's clients."""
    return f"{int(resource_id, 16) % 10**12:012}"


def task_arn(job_id: str, region: str, resource_id: str) -> str:
    """Return the name of a task."""
    return f"arn:aws:braket:{region}:{account(resource_id)}:quantum-task/{job_id}"


def job_of(arn: str, resource_id: str) -> str:
    """Return the job of a task's name; raise NOT_FOUND if it is none of this resource."""
    found = _TASK.fullmatch(arn)
    if found is None or found[2] != account(resource_id):
        raise NOT_FOUND(f"There is no task {arn[:200]}.")
    return found[3]


def hybrid_arn(job_id: str, region: str, resource_id: str) -> str:
    """Return the name of a hybrid job."""
    return f"arn:aws:braket:{region}:{account(resource_id)}:job/{job_id}"


def is_hybrid(arn: str) -> bool:
    """Tell whether a name is one of a hybrid job."""
    return _HYBRID.fullmatch(arn) is not None


def hybrid_of(arn: str, resource_id: str) -> str:
    """Return the hybrid job of a name; raise NOT_FOUND if it is none of this resource."""
    found = _HYBRID.fullmatch(arn)
    if found is None or found[2] != account(resource_id):
        raise NOT_FOUND(f"There is no job {arn[:200]}.")
    return found[3]


def reservation_of(arn: str, resource_id: str) -> str:
    """Return the id in a reservation's name, nothing if it is none of this resource."""
    head, _, given = arn.rpartition("/")
    return given if head.endswith(f":{account(resource_id)}:reservation") else ""


def moment(nanoseconds: int) -> str:
    """Return a time as Braket writes it, to the millisecond."""
    found = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
