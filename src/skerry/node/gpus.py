"""The GPUs of a machine, as NVIDIA's kernel driver tells of them, and the devices that lead there.

A workload has the GPUs that it was given to itself, and sees no device of another; engines share
those that the operator keeps for them. What else CUDA needs are the driver's libraries: an image
brings them, or is `host`, which shows the machine's.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

PROC = Path("/proc/driver/nvidia/gpus")
DEVICES = Path("/dev")
SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
"""The driver's devices that every user of any GPU opens."""


class Gpu(msgspec.Struct, frozen=True):
    """A GPU: its model, and the number of its device."""

    model: str
    minor: int


class Gpus:
    """The GPUs of this machine, of which the last `kept` are for engines."""

    def __init__(self, kept: int = 0, *, proc: Path = PROC, devices: Path = DEVICES) -> None:
        self._kept = kept
        self._proc = proc
        self._devices = devices

    def for_workloads(self) -> list[Gpu]:
        """Return those that workloads may be given. Reads files."""
        found = self._all()
        return found[: max(0, len(found) - self._kept)]

    def for_engines(self) -> list[Gpu]:
        """Return those that engines share. Reads files."""
        found = self._all()
        return found[max(0, len(found) - self._kept) :]

    def _all(self) -> list[Gpu]:
        """Return those whose device is there, in the order of their numbers."""
        found = []
        for path in self._proc.glob("*/information") if self._proc.is_dir() else ():
            fields = dict(_fields(path.read_text(errors="replace")))
            minor = fields.get("Device Minor", "")
            if minor.isdigit() and (self._devices / f"nvidia{minor}").exists():
                found.append(Gpu(fields.get("Model", ""), int(minor)))
        return sorted(found, key=lambda each: each.minor)

    def devices_of(self, minors: tuple[int, ...]) -> dict[str, str]:
        """Return the devices that lead to some of them: where each is, by what it is inside."""
        names = [*(f"nvidia{each}" for each in minors), *SHARED]
        return {
            f"/dev/{name}": str(self._devices / name)
            for name in names
            if (self._devices / name).exists()
        }


def _fields(text: str) -> list[tuple[str, str]]:
    """Return the fields of the driver's `information` file."""
    pairs = (line.partition(":") for line in text.splitlines())
    return [(name.strip(), value.strip()) for name, _, value in pairs]
