"""Groups and manifest of a file, and the manifest's hash, as Akash's own SDKs derive them.

The manifest is JSON; its hash is SHA-256 over the compact form with sorted keys, with `<`, `>` and
`&` escaped and `null` for empty lists, which is what Go's encoder writes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from skerry.market.sdl import units
from skerry.market.sdl.model import Attribute, Endpoint, GroupSpec, Resources, ResourceUnit, Volume

SHARED_HTTP, RANDOM_PORT, LEASED_IP = 0, 1, 2

_HTTP_DEFAULTS = {
    "maxBodySize": ("max_body_size", 1_048_576),
    "readTimeout": ("read_timeout", 60_000),
    "sendTimeout": ("send_timeout", 60_000),
    "nextTries": ("next_tries", 3),
    "nextTimeout": ("next_timeout", 0),
    "nextCases": ("next_cases", ["error", "timeout"]),
}


def manifest_hash(manifest: list[dict[str, Any]]) -> str:
    """Return the manifest's version as lower-case hexadecimal."""
    return hashlib.sha256(manifest_bytes(manifest)).hexdigest()


def manifest_bytes(manifest: list[dict[str, Any]]) -> bytes:
    """Return the canonical bytes of a manifest."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def build(plain: dict[str, Any]) -> tuple[tuple[GroupSpec, ...], list[dict[str, Any]]]:
    """Return the groups and the manifest of a file that is known to be right."""
    return _Builder(plain).build()


class _Builder:
    def __init__(self, plain: dict[str, Any]) -> None:
        self._plain = plain
        self._sequence = _sequence_numbers(plain["services"])
        self._units: dict[str, list[ResourceUnit]] = {}
        self._located: dict[tuple[str, str], int] = {}
        self._tee: dict[str, str] = {}

    def build(self) -> tuple[tuple[GroupSpec, ...], list[dict[str, Any]]]:
        services, deployment = self._plain["services"], self._plain["deployment"]
        for name in sorted(services):
            for placement, wanted in deployment[name].items():
                self._place(name, placement, wanted)
        names = sorted(self._units)
        groups = tuple(self._group(name) for name in names)
        manifest = [
            {
                "name": placement,
                "services": [
                    self._service(name, placement)
                    for name in sorted(deployment)
                    if placement in deployment[name]
                ],
            }
            for placement in names
        ]
        return groups, manifest

    def _place(self, name: str, placement: str, wanted: dict[str, Any]) -> None:
        service, profile = self._plain["services"][name], wanted["profile"]
        found = self._units.setdefault(placement, [])
        tee = (service.get("params") or {}).get("tee")
        if tee:
            self._tee.setdefault(placement, tee)
        at = self._located.get((placement, profile))
        if at is None:
            self._located[placement, profile] = len(found)
            price = self._plain["profiles"]["placement"][placement]["pricing"][profile]
            found.append(
                ResourceUnit(
                    resources=self._resources(len(found) + 1, profile, service),
                    count=wanted["count"],
                    denom=price["denom"],
                    amount=str(price["amount"]),
                )
            )
            return
        unit = found[at]
        endpoints = (*unit.resources.endpoints, *self._endpoints(service))
        found[at] = ResourceUnit(
            resources=_with_endpoints(unit.resources, endpoints),
            count=unit.count + wanted["count"],
            denom=unit.denom,
            amount=unit.amount,
        )

    def _group(self, name: str) -> GroupSpec:
        placement = self._plain["profiles"]["placement"][name]
        attributes = _attributes(placement.get("attributes"))
        if name in self._tee:
            attributes = tuple(sorted((*attributes, Attribute("tee/type", self._tee[name]))))
        signed = placement.get("signedBy") or {}
        return GroupSpec(
            name=name,
            resources=tuple(
                ResourceUnit(
                    _with_endpoints(unit.resources, tuple(sorted(unit.resources.endpoints))),
                    unit.count,
                    unit.denom,
                    unit.amount,
                )
                for unit in self._units[name]
            ),
            attributes=attributes,
            signed_by_all=tuple(signed.get("allOf") or ()),
            signed_by_any=tuple(signed.get("anyOf") or ()),
        )

    def _resources(self, number: int, profile: str, service: dict[str, Any]) -> Resources:
        found = self._plain["profiles"]["compute"][profile]["resources"]
        volumes = found["storage"] if isinstance(found["storage"], list) else [found["storage"]]
        gpu = found.get("gpu") or {}
        return Resources(
            id=number,
            cpu_milli=units.cpu_milli(found["cpu"]["units"]),
            memory_bytes=units.size_bytes(found["memory"]["size"]),
            storage=tuple(_volume(each) for each in volumes),
            gpu_units=int(float(gpu.get("units") or 0)),
            cpu_attributes=_attributes(found["cpu"].get("attributes")),
            gpu_attributes=_gpu_attributes(gpu.get("attributes") or {}),
            endpoints=self._endpoints(service),
        )

    def _endpoints(self, service: dict[str, Any]) -> tuple[Endpoint, ...]:
        found: list[Endpoint] = []
        for expose in service.get("expose") or []:
            for to in expose.get("to") or []:
                if not to.get("global"):
                    continue
                found.append(Endpoint(SHARED_HTTP if is_ingress(expose) else RANDOM_PORT, 0))
                if to.get("ip"):
                    found.append(Endpoint(LEASED_IP, self._sequence.get(to["ip"], 0)))
        return tuple(found)

    def _service(self, name: str, placement: str) -> dict[str, Any]:
        service = self._plain["services"][name]
        wanted = self._plain["deployment"][name][placement]
        number = self._located[placement, wanted["profile"]] + 1
        found: dict[str, Any] = {
            "name": name,
            "image": service["image"],
            "command": service.get("command") or None,
            "args": service.get("args") or None,
            "env": service.get("env") or None,
            "resources": resources_json(self._resources(number, wanted["profile"], service)),
            "count": wanted["count"],
            "expose": self._expose(service),
            "credentials": _credentials(service.get("credentials")),
        }
        if service.get("params") is not None:
            found["params"] = _params(service["params"])
        return found

    def _expose(self, service: dict[str, Any]) -> list[dict[str, Any]]:
        found = [
            {
                "port": expose["port"],
                "externalPort": expose.get("as") or 0,
                "proto": (expose.get("proto") or "tcp").upper(),
                "service": to.get("service") or "",
                "global": bool(to.get("global")),
                "hosts": expose.get("accept") or None,
                "httpOptions": _http_options(expose.get("http_options") or {}),
                "ip": to.get("ip") or "",
                "endpointSequenceNumber": self._sequence.get(to.get("ip") or "", 0),
            }
            for expose in service.get("expose") or []
            for to in expose.get("to") or []
        ]
        return sorted(found, key=lambda e: (e["service"], e["port"], e["proto"], not e["global"]))


def is_ingress(expose: dict[str, Any]) -> bool:
    """Tell whether a global port is served by the shared HTTP ingress: TCP, outside port 80."""
    protocol = (expose.get("proto") or "tcp").upper()
    return protocol == "TCP" and (expose.get("as") or expose["port"]) == 80


def resources_json(resources: Resources) -> dict[str, Any]:
    """Return resources in the form of a manifest."""
    cpu: dict[str, Any] = {"units": {"val": str(resources.cpu_milli)}}
    if resources.cpu_attributes:
        cpu["attributes"] = _json(resources.cpu_attributes)
    gpu: dict[str, Any] = {"units": {"val": str(resources.gpu_units)}}
    if resources.gpu_attributes:
        gpu["attributes"] = _json(resources.gpu_attributes)
    return {
        "id": resources.id,
        "cpu": cpu,
        "memory": {"size": {"val": str(resources.memory_bytes)}},
        "storage": [_volume_json(each) for each in resources.storage],
        "gpu": gpu,
        "endpoints": [
            {"kind": each.kind, "sequence_number": each.sequence_number}
            if each.kind
            else {"sequence_number": each.sequence_number}
            for each in resources.endpoints
        ],
    }


def _volume_json(volume: Volume) -> dict[str, Any]:
    found: dict[str, Any] = {"name": volume.name, "size": {"val": str(volume.size_bytes)}}
    if volume.attributes:
        found["attributes"] = _json(volume.attributes)
    return found


def _json(attributes: tuple[Attribute, ...]) -> list[dict[str, str]]:
    return [{"key": each.key, "value": each.value} for each in attributes]


def _with_endpoints(resources: Resources, endpoints: tuple[Endpoint, ...]) -> Resources:
    return msgspec.structs.replace(resources, endpoints=endpoints)


def _sequence_numbers(services: dict[str, Any]) -> dict[str, int]:
    """Number the leased addresses in the order of their names; of a shared one the last counts."""
    used = sorted(
        to["ip"]
        for service in services.values()
        for expose in service.get("expose") or []
        for to in expose.get("to") or []
        if to.get("global") and to.get("ip")
    )
    return {name: place for place, name in enumerate(used, start=1)}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _attributes(found: dict[str, Any] | None) -> tuple[Attribute, ...]:
    return tuple(Attribute(key, _text(value)) for key, value in sorted((found or {}).items()))


def _gpu_attributes(found: dict[str, Any]) -> tuple[Attribute, ...]:
    keys: list[str] = []
    for vendor, models in sorted((found.get("vendor") or {}).items()):
        if not models:
            keys.append(f"vendor/{vendor}/model/*")
        for model in models or []:
            key = f"vendor/{vendor}/model/{model.get('model') or '*'}"
            key += f"/ram/{model['ram']}" if model.get("ram") else ""
            key += f"/interface/{model['interface']}" if model.get("interface") else ""
            keys.append(key)
    return tuple(Attribute(key, "true") for key in keys)


def _volume(found: dict[str, Any]) -> Volume:
    return Volume(
        name=found.get("name") or "default",
        size_bytes=units.size_bytes(found["size"]),
        attributes=_attributes(found.get("attributes")),
    )


def _http_options(found: dict[str, Any]) -> dict[str, Any]:
    options = {name: found.get(key, value) for name, (key, value) in _HTTP_DEFAULTS.items()}
    if found.get("proxy_buffer_size"):
        options["proxyBufferSize"] = found["proxy_buffer_size"]
    return options


def _credentials(found: dict[str, Any] | None) -> dict[str, str] | None:
    if found is None:
        return None
    return {key: found.get(key) or "" for key in ("host", "email", "username", "password")}


def _params(found: dict[str, Any]) -> dict[str, Any]:
    storage = found.get("storage") or {}
    params: dict[str, Any] = {
        "storage": [
            {
                "name": name,
                "mount": (storage[name] or {}).get("mount") or "",
                "readOnly": bool((storage[name] or {}).get("readOnly")),
            }
            for name in sorted(storage)
        ]
        or None
    }
    if found.get("permissions"):
        params["permissions"] = found["permissions"]
    if found.get("tee"):
        params["tee"] = {"type": found["tee"], "attestation": True}
    return params
