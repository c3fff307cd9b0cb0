"""How a service of a manifest becomes a workload of the node's sandboxes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from skerry.kernel.errors import INVALID
from skerry.market.core.names import LeaseId
from skerry.market.link import LeaseNotice
from skerry.market.sdl.build import is_ingress
from skerry.node.workload import Mount, Port, Restart, WorkloadSpec

MILLISECOND = 1_000_000
PROCESSES = 256
DISK_BYTES_LEAST = 16 << 20
LABEL_LEASE = "lease"
LABEL_SERVICE = "service"


def name_of(lease: LeaseId, service: str, replica: int) -> str:
    """Return the workload's name: a label of a host name, the same at every start."""
    digest = hashlib.sha256(f"{lease}/{service}/{replica}".encode()).hexdigest()[:16]
    return f"l{digest}"


def labels(lease: LeaseId, service: str) -> dict[str, str]:
    """Return the labels of a workload of a lease."""
    return {LABEL_LEASE: str(lease), LABEL_SERVICE: service}


def spec_of(service: dict[str, Any], notice: LeaseNotice, replica: int) -> WorkloadSpec:
    """Return what to run for a service of a lease's manifest."""
    resources = service["resources"]
    cpu = int(resources["cpu"]["units"]["val"])
    return WorkloadSpec(
        image=service["image"],
        command=tuple(service["command"] or ()),
        args=tuple(service["args"] or ()),
        env=_environment(service["env"] or ()),
        isolation=notice.terms.isolation or "bwrap",
        cpu_millicores=cpu,
        gpus=int(resources["gpu"]["units"]["val"]),
        memory_bytes=int(resources["memory"]["size"]["val"]),
        disk_bytes=max(_disk_bytes(resources), DISK_BYTES_LEAST),
        pids=PROCESSES,
        ports=_ports(service),
        mounts=_mounts(service),
        restart=Restart.ON_FAILURE,
        expires=notice.funded_until * MILLISECOND if notice.funded_until < 1 << 53 else None,
        hosts=_hosts(service) if replica == 0 else (),
        account=f"lease/{notice.id}",
        labels=labels(notice.id, service["name"]),
    )


def _environment(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark or not name:
            raise INVALID(f"{name[:40]!r} sets no variable.", why="Write NAME=value.")
        found[name] = value
    return found


def _disk_bytes(resources: dict[str, Any]) -> int:
    return sum(int(each["size"]["val"]) for each in resources["storage"])


def _ports(service: dict[str, Any]) -> tuple[Port, ...]:
    found: dict[int, Port] = {}
    for expose in service["expose"] or ():
        if not expose["global"]:
            continue
        number, transport = expose["port"], expose["proto"].lower()
        shape = {"port": number, "as": expose["externalPort"], "proto": transport}
        protocol = "http" if is_ingress(shape) else transport
        known = found.get(number)
        if known is not None and (known.protocol == "udp") != (protocol == "udp"):
            raise INVALID(f"Port {number} is exposed by TCP and by UDP; one of both is offered.")
        if known is None or protocol == "http":
            found[number] = Port(number=number, protocol=protocol)
    return tuple(found.values())


def _mounts(service: dict[str, Any]) -> tuple[Mount, ...]:
    volumes = ((service.get("params") or {}).get("storage")) or ()
    return tuple(Mount(name=each["name"], path=each["mount"]) for each in volumes if each["mount"])


def _hosts(service: dict[str, Any]) -> tuple[str, ...]:
    names = {host: None for each in service["expose"] or () for host in each["hosts"] or ()}
    return tuple(names)


def digest_of(lines: Sequence[str]) -> str:
    """Return the digest of what a program printed."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
