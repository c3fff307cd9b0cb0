"""The silicon of this machine: whose processors and accelerators it has, as the machine tells.

No European design is in general use in servers. Whatever cannot be identified is called unknown.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

_VENDOR = re.compile(r"^vendor_id\s*:\s*(\S+)", re.MULTILINE)
_IMPLEMENTER = re.compile(r"^CPU implementer\s*:\s*(\S+)", re.MULTILINE)
_X86 = {
    "GenuineIntel": ("Intel", "US"),
    "AuthenticAMD": ("AMD", "US"),
    "HygonGenuine": ("Hygon", "CN"),
    "CentaurHauls": ("Zhaoxin", "CN"),
}
_ARM = {
    "0x41": ("Arm", "GB"),
    "0x46": ("Fujitsu", "JP"),
    "0x48": ("HiSilicon", "CN"),
    "0x4e": ("Nvidia", "US"),
    "0x51": ("Qualcomm", "US"),
    "0x61": ("Apple", "US"),
    "0xc0": ("Ampere", "US"),
}
"""Implementer codes of the main identification register (Arm Architecture Reference Manual)."""
_PCI = {"0x10de": ("Nvidia", "US"), "0x1002": ("AMD", "US"), "0x8086": ("Intel", "US")}
_ACCELERATORS = ("0x0300", "0x0302", "0x0380", "0x1200")
"""Classes of the PCI code: display controllers and processing accelerators."""


class Silicon(msgspec.Struct, frozen=True):
    """Makers of the processors and accelerators, with the country of the design."""

    processors: tuple[tuple[str, str], ...]
    accelerators: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        def names(found: tuple[tuple[str, str], ...]) -> str:
            return ", ".join(f"{who} ({where or 'unknown'})" for who, where in found)

        accelerators = names(self.accelerators) or "none seen"
        return f"processors: {names(self.processors)}; accelerators: {accelerators}"


def read_silicon(root: Path = Path("/")) -> Silicon:
    """Read what the kernel tells of the processors and of PCI devices."""
    cpuinfo = root / "proc" / "cpuinfo"
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    makers = [
        _X86.get(each, (each, ""))
        for each in re.findall(r"^vendor_id\s*:\s*(\S+)", text, re.MULTILINE)
    ]
    makers += [
        _ARM.get(each, (f"implementer {each}", ""))
        for each in re.findall(r"^CPU implementer\s*:\s*(\S+)", text, re.MULTILINE)
    ]
    found = set()
    devices = root / "sys" / "bus" / "pci" / "devices"
    for device in devices.glob("*") if devices.is_dir() else ():
        code = _text(device / "class")[:6]
        if code in _ACCELERATORS:
            vendor = _text(device / "vendor")
            found.add(_PCI.get(vendor, (f"vendor {vendor}", "")))
    return Silicon(tuple(dict.fromkeys(makers)) or (("unknown", ""),), tuple(sorted(found)))


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
