"""Whether a manifest is the one that a lease was made for: by its hash, and by what it asks for.

The hash shows that the tenant announced this manifest. That it asks for no more than the order did
is not implied by that, and is checked here.
"""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND
from skerry.market.link import LeaseNotice
from skerry.market.sdl.build import manifest_bytes, manifest_hash, resources_json
from skerry.market.sdl.model import GroupSpec

MANIFEST_BYTES_MAX = 512 * 1024
SERVICES_MAX = 50


def group_of(manifest: list[dict[str, Any]], notice: LeaseNotice) -> dict[str, Any]:
    """Return a lease's part of a manifest; raise why it is not the one that was agreed."""
    if len(manifest_bytes(manifest)) > MANIFEST_BYTES_MAX:
        raise INVALID(f"A manifest has at most {MANIFEST_BYTES_MAX} bytes.")
    found = manifest_hash(manifest)
    if found != notice.manifest_hash:
        raise CONFLICT(
            "The manifest is not the one that the deployment announced.",
            why=f"Its hash is {found}, and {notice.manifest_hash} was announced.",
        )
    for group in manifest:
        if isinstance(group, dict) and group.get("name") == notice.group.name:
            _check_group(group, notice.group)
            return group
    raise NOT_FOUND(f"The manifest has no group {notice.group.name}.")


def _check_group(group: dict[str, Any], spec: GroupSpec) -> None:
    """Raise CONFLICT unless a group asks for exactly what its order did."""
    services = group.get("services")
    if not isinstance(services, list) or not 0 < len(services) <= SERVICES_MAX:
        raise INVALID(f"A group has 1 to {SERVICES_MAX} services.")
    counts = {unit.resources.id: unit.count for unit in spec.resources}
    wanted = {unit.resources.id: resources_json(unit.resources) for unit in spec.resources}
    for service in services:
        try:
            asked, count = service["resources"], int(service["count"])
            number = asked["id"]
        except (TypeError, KeyError, ValueError) as error:
            raise INVALID("A service of the manifest is not well-formed.") from error
        if number not in wanted:
            raise CONFLICT(f"The order has no resources {number}.")
        for part in ("cpu", "memory", "storage", "gpu"):
            if asked.get(part) != wanted[number][part]:
                raise CONFLICT(
                    f"Service {service.get('name')} asks for other {part} than the order did."
                )
        counts[number] -= count
    if any(counts.values()):
        raise CONFLICT("The manifest has other counts of replicas than the order.")
