"""The price list that the SDK's cost tracker reads, made of the catalogue's dated prices.

Anybody may read it, as with AWS: it holds nothing of the resource. Columns and products are those
that the tracker looks for.
"""

from __future__ import annotations

import csv
import io

from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.wires.braket.names import REGIONS, arn_of, region_of

CHANNEL = "Amazon Braket"
_COLUMNS = (
    "Product Family",
    "Region Code",
    "DeviceName",
    "Device Name",
    "Version",
    "operation",
    "Unit",
    "PricePerUnit",
    "Currency",
    "EffectiveDate",
)
_MACHINE = (
    ("Quantum Task", "Quantum Task-Shot", "DeviceName"),
    ("Braket Managed Jobs QPU Task", "Braket Managed Jobs QPU Task Shot", "Device Name"),
)
_LOCAL = (
    ("Simulator Task", "CompleteTask"),
    ("Braket Managed Jobs Simulator Task", "Managed-Jobs"),
)
"""What tasks are called, and tasks of hybrid jobs; a device's name has a column in each."""


def table() -> str:
    """Return the list as CSV, after the five lines of metadata that such lists begin with."""
    text = io.StringIO()
    text.write("FormatVersion,v1.0\nDisclaimer,catalogue of this node\n")
    text.write(f"Publication Date,\nVersion,\nOfferCode,{CHANNEL.replace(' ', '')}\n")
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows())
    return text.getvalue()


def _rows() -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for device in load.devices().values():
        arn = arn_of(device)
        if device.status == "local":
            rows += [_simulator(region, arn, *each) for region in REGIONS if arn for each in _LOCAL]
        for price in device.prices if arn else ():
            if price.channel == CHANNEL:
                dated = device.sources[price.source].as_of
                for task, shot, column in _MACHINE:
                    rows.append(_machine(arn, column, task, price.per_task, dated))
                    rows.append(_machine(arn, column, shot, price.per_shot, dated))
    return rows


def _machine(arn: str, column: str, family: str, amount: str, dated: str) -> dict[str, str]:
    return {
        "Product Family": family,
        "Region Code": region_of(arn),
        column: arn.rpartition("/")[2],
        "Unit": "shot" if family.lower().endswith("shot") else "task",
        "PricePerUnit": amount,
        "Currency": "USD",
        "EffectiveDate": dated,
    }


def _simulator(region: str, arn: str, family: str, operation: str) -> dict[str, str]:
    """A simulator costs nothing but the node's own compute, which `skerry meter` shows."""
    return {
        "Product Family": family,
        "Region Code": region,
        "Version": arn.rpartition("/")[2].upper(),
        "operation": operation,
        "Unit": "minutes",
        "PricePerUnit": "0",
        "Currency": "USD",
    }
