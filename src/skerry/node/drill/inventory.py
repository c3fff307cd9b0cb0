"""Drills that take stock: software with its licences, hardware with its makers, source."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import os
from pathlib import Path
from typing import Any

import msgspec

from skerry import __version__
from skerry.kernel.policy import Request
from skerry.node.drill.verdict import Outcome, shortened
from skerry.node.home import write_secret
from skerry.node.node import Node
from skerry.node.sovereignty.silicon import read_silicon

SOURCE_VERSIONS = 5
DAY_SECONDS = 86_400


async def software(node: Node, app: str | None) -> Outcome:
    """Write a bill of materials (CycloneDX 1.5) of every package that is installed."""
    found = Outcome()
    components = await asyncio.to_thread(_components)
    engines = [
        {
            "type": "application",
            "name": each.engine_info.name,
            "version": each.engine_info.version,
            "properties": [{"name": "skerry:kind", "value": each.name}],
        }
        for each in node.manifests.values()
    ]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": "skerry", "version": __version__}
        },
        "components": [*components, *engines],
    }
    data = msgspec.json.format(msgspec.json.encode(document))
    path = node.home.service("drill") / "sbom.json"
    await asyncio.to_thread(write_secret, path, data)
    without = [str(each["name"]) for each in components if "licenses" not in each]
    found.check(bool(components), f"{len(components)} packages and {len(engines)} engines listed")
    found.check(len(data) > 0, f"written to {path}")
    found.detail |= {"sha256": hashlib.sha256(data).hexdigest(), "packages": len(components)}
    if without:
        found.lack(f"licences of {shortened(without)}: their metadata names none")
    found.lack("countries of origin: no package's metadata names one")
    own = next((each for each in components if each["name"] == "skerry"), {})
    if own.get("licenses") == [{"license": {"name": "Apache-2.0"}}]:
        found.check(True, "Skerry's own licence is Apache-2.0: use, change, pass on")
        found.answers["sov-6.3"] = 3
    found.answers["sov-5.4"] = 2
    return found


def _components() -> list[dict[str, Any]]:
    found = {}
    for each in importlib.metadata.distributions():
        name, version = each.metadata["Name"], each.version
        if not name:
            continue
        component: dict[str, Any] = {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name.lower()}@{version}",
        }
        licence = _field(each, "License-Expression") or _classified(each)
        if licence:
            component["licenses"] = [{"license": {"name": licence}}]
        record = each.read_text("RECORD")
        if record:
            digest = hashlib.sha256(record.encode()).hexdigest()
            component["hashes"] = [{"alg": "SHA-256", "content": digest}]
        found[name.lower()] = component
    return [found[name] for name in sorted(found)]


def _classified(distribution: importlib.metadata.Distribution) -> str:
    classifiers = distribution.metadata.get_all("Classifier") or []
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License")]
    stated = _field(distribution, "License").splitlines()
    return ", ".join(names) or (stated[0] if stated else "")


def _field(distribution: importlib.metadata.Distribution, name: str) -> str:
    return str(distribution.metadata[name]) if name in distribution.metadata else ""


async def hardware(node: Node, app: str | None) -> Outcome:
    """List the hardware that this machine shows, with makers and countries where known."""
    found = Outcome()
    silicon = await asyncio.to_thread(read_silicon)
    parts = await asyncio.to_thread(_parts, Path("/"))
    found.check(bool(silicon.processors), str(silicon))
    found.check(bool(parts), f"{len(parts)} further parts: {shortened(parts)}")
    found.detail |= {"silicon": str(silicon), "parts": parts[:200]}
    unknown = [who for who, where in (*silicon.processors, *silicon.accelerators) if not where]
    if unknown:
        found.lack(f"the countries of {shortened(unknown)}")
    else:
        view = node.placement.view(Request("drill", "drill:hardware", node.name))
        found.answers["sov-6.5"] = 2 if "EU" in view.attributes["jurisdictions"] else 1
    found.lack("where the parts were made: a machine shows makers' names, not places")
    return found


def _parts(root: Path) -> list[str]:
    """Return what the kernel names of boards, disks and network cards."""
    found = []
    for name in ("sys_vendor", "product_name", "board_vendor", "bios_vendor"):
        text = _text(root / "sys/class/dmi/id" / name)
        if text:
            found.append(f"{name.replace('_', ' ')} {text}")
    for disk in sorted((root / "sys/block").glob("*")):
        model = " ".join(filter(None, (_text(disk / "device" / x) for x in ("vendor", "model"))))
        if model:
            found.append(f"disk {disk.name} {model}")
    for card in sorted((root / "sys/class/net").glob("*")):
        driver = card / "device" / "driver"
        if driver.exists():
            found.append(f"network {card.name} {driver.resolve().name}")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


async def source(node: Node, app: str | None) -> Outcome:
    """Check that source of the last versions lies here unchanged, and Skerry's own with it."""
    found = Outcome()
    for name in node.catalogue.apps:
        if app not in (None, name):
            continue
        versions = sorted(node.catalogue.app(name).versions)[-SOURCE_VERSIONS:]
        there = [each for each in versions if node.workshop.code(name, each).is_dir()]
        text = f"{name}: {len(there)} of its last {len(versions)} versions are here"
        found.check(there == versions, text)
        if len(versions) < SOURCE_VERSIONS:
            found.lack(f"five versions of {name}: it has had {len(versions)}")
    package = Path(__file__).parents[2]
    files = await asyncio.to_thread(lambda: sum(1 for _ in package.rglob("*.py")))
    found.check(files > 0, f"Skerry {__version__} is here as source: {files} files")
    space = os.access(package, os.R_OK)
    if found.check(space, "it can be read and changed without anybody else"):
        found.answers["sov-6.4"] = 5
    found.lack("a copy elsewhere, not older than 24 hours")
    return found
