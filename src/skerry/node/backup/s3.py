"""The few requests to an S3 store that the engine does not make itself, signed in the header."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from skerry.kernel.errors import STORE_UNREACHABLE
from skerry.kinds._shared.s3 import sigv4
from skerry.node.backup.destination import Destination

_SECONDS = 60.0


def ask(
    destination: Destination,
    method: str,
    path: str,
    query: str,
    body: bytes,
    now_ns: int,
    *more: tuple[str, str],
) -> tuple[int, str]:
    """Send a signed request; return the status and the beginning of the answer. Blocks.

    `more` are headers that are signed as well. Raises STORE_UNREACHABLE.
    """
    endpoint = urlsplit(destination.endpoint)
    kind = http.client.HTTPSConnection if endpoint.scheme == "https" else http.client.HTTPConnection
    connection = kind(endpoint.netloc, timeout=_SECONDS)
    target = endpoint.path.rstrip("/") + path
    digest = hashlib.sha256(body).hexdigest()
    headers = sign(destination, method, target, query, digest, now_ns, dict(more))
    try:
        connection.request(method, f"{target}?{query}" if query else target, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise STORE_UNREACHABLE(
            f"{destination.endpoint} does not answer.", why=str(error)
        ) from error
    finally:
        connection.close()


def sign(
    destination: Destination,
    method: str,
    path: str,
    query: str,
    payload: str,
    now_ns: int,
    more: Mapping[str, str],
) -> dict[str, str]:
    """Return the headers of a request signed in the header, with `more` that are signed as well.

    `payload` is the SHA-256 of the body, or what S3 writes there instead.
    """
    headers = {"host": urlsplit(destination.endpoint).netloc, **more}
    credential = (destination.access_key, destination.secret_key)
    region = destination.region or "us-east-1"
    return sigv4.sign(method, path, query, headers, credential, payload, now_ns, region)
