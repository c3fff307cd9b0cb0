"""The fields of the lines that `skerry connect` prints for a database."""

from __future__ import annotations

from skerry.kernel.kind import Address, Resource
from skerry.kinds.sqlite.claim import database_id, token


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return `url` (any HTTP client; the token selects), `socket_url`, `token` and ids.

    A WebSocket carries its token inside, so its URL names the database by path. The final slash
    matters: clients resolve their endpoints relative to it.
    """
    ref = resource.ref
    path = f"/@{ref.app}/{ref.branch}/@{ref.name}/"
    base = address.http.rstrip("/")
    return {
        "url": base,
        "path_url": base + path,
        "host_url": address.host_url,
        "socket_url": "ws" + base.removeprefix("http") + path,
        "token": token(resource.id, resource.keys),
        "database_id": database_id(resource.id),
        "app": ref.app,
        "name": ref.name,
        "id": resource.id,
    }
