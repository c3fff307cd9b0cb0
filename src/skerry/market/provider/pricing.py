"""What a provider asks for an order: standing prices, or a script with Akash's contract.

A script gets JSON on standard input and prints one decimal: micro-units per block for the whole
order. No number, zero, less, more than the order allows, or no answer in time: no bid.
"""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.money import Rate
from skerry.market.core import prices
from skerry.market.core.award import posted_price
from skerry.market.core.messages import PriceList
from skerry.market.link import OrderNotice
from skerry.market.sdl.build import LEASED_IP
from skerry.market.sdl.model import ResourceUnit

SCRIPT_SECONDS = 5.0
OUTPUT_BYTES_MAX = 4096
PRECISION = 6
STANDARD = PriceList(cpu=10_000, memory_gib=5_000, storage_gib=50, gpu=500_000)
"""Micro-units an hour: what a node charges its own apps for a core and a GiB of memory."""


class NoPriceError(Exception):
    """Why there is no price, for people."""


async def price_of(order: OrderNotice, script: Path | None, standing: PriceList) -> Rate:
    """Return what to ask for an order; raises `NoPriceError`."""
    if script is None:
        found = posted_price(standing, order.group)
    else:
        found = await _ask(script, order)
    if found.micro <= 0:
        raise NoPriceError("price: it came to nothing")
    if prices.dearer(found, order.limit):
        asked, limit = prices.per_hour(found, "EUR"), prices.per_hour(order.limit, "EUR")
        raise NoPriceError(f"price: it would ask {asked}, and the order's limit is {limit}")
    return found


def request(order: OrderNotice) -> dict[str, Any]:
    """Return what a script reads on standard input."""
    unit = order.group.resources[0]
    return {
        "resources": [_resource(each) for each in order.group.resources],
        "price": {"denom": unit.denom, "amount": prices.decimal_per_block(order.limit)},
        "price_precision": PRECISION,
    }


def _resource(unit: ResourceUnit) -> dict[str, Any]:
    resources = unit.resources
    found: dict[str, Any] = {
        "cpu": resources.cpu_milli,
        "memory": resources.memory_bytes,
        "storage": [
            {"class": each.storage_class, "size": each.size_bytes} for each in resources.storage
        ],
        "count": unit.count,
        "endpoint_quantity": len(resources.endpoints),
        "ip_lease_quantity": sum(each.kind == LEASED_IP for each in resources.endpoints),
    }
    if resources.gpu_units:
        found["gpu"] = {"units": resources.gpu_units, "attributes": _gpu(unit)}
    return found


def _gpu(unit: ResourceUnit) -> dict[str, Any]:
    """Return the attributes of a GPU in the form that scripts expect: by vendor and model."""
    vendors: dict[str, dict[str, Any]] = {}
    for attribute in unit.resources.gpu_attributes:
        parts = attribute.key.split("/")
        named = dict(zip(parts[::2], parts[1::2], strict=False))
        details = {key: named[key] for key in ("ram", "interface") if key in named}
        vendors.setdefault(named.get("vendor", ""), {})[named.get("model", "*")] = details or None
    return {"vendor": vendors}


async def _ask(script: Path, order: OrderNotice) -> Rate:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "AKASH_OWNER": order.id.owner,
        "AKASH_DENOM": order.group.resources[0].denom,
    }
    try:
        process = await asyncio.create_subprocess_exec(
            str(script),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise NoPriceError(f"price: its script does not start ({error.strerror})") from error
    try:
        async with asyncio.timeout(SCRIPT_SECONDS):
            output, errors = await process.communicate(msgspec.json.encode(request(order)))
    except TimeoutError as error:
        raise NoPriceError(f"price: its script did not answer in {SCRIPT_SECONDS:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = errors[:OUTPUT_BYTES_MAX].decode(errors="replace").strip()[-200:]
        raise NoPriceError(f"price: its script ended with {process.returncode}: {said}")
    return _read(output[:OUTPUT_BYTES_MAX].decode(errors="replace"))


def _read(text: str) -> Rate:
    try:
        number = Decimal(text.strip().strip('"'))
    except InvalidOperation as error:
        raise NoPriceError("price: its script printed no number") from error
    if not number.is_finite() or number <= 0:
        raise NoPriceError("price: its script printed no price above 0")
    return prices.per_block(str(round(number, 18)))
