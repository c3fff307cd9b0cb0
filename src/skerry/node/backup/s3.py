"""The few requests to an S3 store that the engine does not make itself, signed in the header."""

from __future__ import annotations

import hashlib
import hmac
import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from skerry.kernel.errors import STORE_UNREACHABLE
from skerry.kinds._shared.s3 import sigv4, times
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
    stamp = times.moment(now_ns).strftime("%Y%m%dT%H%M%SZ")
    region = destination.region or "us-east-1"
    credential = sigv4.Credential(destination.access_key, stamp[:8], region, "s3")
    headers = {
        "host": urlsplit(destination.endpoint).netloc,
        "x-amz-content-sha256": payload,
        "x-amz-date": stamp,
        **more,
    }
    names = tuple(sorted(headers))
    request = sigv4.Request(method, path, query, tuple(headers.items()))
    signed = sigv4.Signed(credential, names, "", stamp, payload, query=False)
    text = sigv4.string_to_sign(stamp, credential.scope, sigv4.canonical_request(request, signed))
    key = sigv4.signing_key(destination.secret_key, stamp[:8], region, "s3")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"{sigv4.ALGORITHM} Credential={destination.access_key}/{credential.scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return {**headers, "authorization": authorization}
