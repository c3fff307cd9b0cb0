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
            rows += [_simulator(region, arn) for region in REGIONS if arn]
        for price in device.prices if arn else ():
            if price.channel == CHANNEL:
                dated = device.sources[price.source].as_of
                rows.append(_machine(arn, "Quantum Task", price.per_task, dated))
                rows.append(_machine(arn, "Quantum Task-Shot", price.per_shot, dated))
    return rows


def _machine(arn: str, family: str, amount: str, dated: str) -> dict[str, str]:
    return {
        "Product Family": family,
        "Region Code": region_of(arn),
        "DeviceName": arn.rpartition("/")[2],
        "Unit": "task" if family == "Quantum Task" else "shot",
        "PricePerUnit": amount,
        "Currency": "USD",
        "EffectiveDate": dated,
    }


def _simulator(region: str, arn: str) -> dict[str, str]:
    """A simulator costs nothing but the node's own compute, which `skerry meter` shows."""
    return {
        "Product Family": "Simulator Task",
        "Region Code": region,
        "Version": arn.rpartition("/")[2].upper(),
        "operation": "CompleteTask",
        "Unit": "minutes",
        "PricePerUnit": "0",
        "Currency": "USD",
    }
