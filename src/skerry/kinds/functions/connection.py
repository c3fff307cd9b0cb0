"""The fields of the lines that `skerry connect` prints for a function."""

from __future__ import annotations

from skerry.kernel.kind import Address, Resource


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return `url`, which needs no name of its own, and `host_url`, which has one."""
    ref = resource.ref
    return {
        "url": f"{address.http.rstrip('/')}/@{ref.app}/{ref.branch}/@{ref.name}/",
        "host_url": f"{address.host_url}/",
        "name": ref.name,
        "id": resource.id,
    }
