"""Devices in the sandbox: used where they are granted, and nowhere else."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest
from tests.node.boxed import confinement, needs_landlock, refused, run

from skerry.node.sandbox import landlock

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

RANDOM_COUNT = 0x80045200
"""RNDGETENTCNT of random(4), which any user may ask."""


@needs_landlock
def test_devices_are_used_only_where_they_are_granted() -> None:
    """A driver's library also names its threads, by files of /proc."""
    comm = "/proc/self/task/{}/comm"

    def count() -> int:
        with Path("/dev/random").open("rb") as device:
            return len(fcntl.ioctl(device, RANDOM_COUNT, bytes(4)))

    def name() -> str:
        path = Path(comm.format(threading.get_native_id()))
        path.write_text("gpu")
        return path.read_text()

    granted = confinement(devices=("/dev/random",))
    assert run(granted, count) == ("ok", 4)
    assert run(granted, name) == ("ok", "gpu\n")
    assert refused(run(granted, lambda: Path("/dev/kmsg").read_bytes()))
    assert refused(run(granted, lambda: os.open("/dev/fuse", os.O_RDWR)))
    assert refused(run(confinement(), name))
    if landlock.abi() >= landlock.DEVICES_HELD_SINCE:
        assert refused(run(confinement(), count))
