"""Which resource a request means when neither host nor path names it, and who may use it.

Official clients send the token in their own ways, some as an AWS access key; whatever the way,
the token names the resource. Only Azure's clients of blobs send none: the first segment of a
blob's address names the resource, and its signature opens it.
"""

from __future__ import annotations

import hmac
import re

from skerry.kernel.keys import Keys
from skerry.kernel.kind import Address, Head, Resource

ACCESS_KEY_PREFIX = "SKQP"
"""What the access key of a resource begins with, before its id in upper case."""

JOB_ACCESS_KEY_PREFIX = "SKQJ"
"""What the access key of a hybrid job begins with, before the resource's id and its own."""

_HEADERS = (b"authorization", b"x-auth-token", b"x-ms-quantum-api-key")
_TOKEN = re.compile(rb"(?:^|[ =])skt_([0-9a-f]{16})_[0-9A-Za-z]{1,64}(?:$|[ ,])")
_STORE = re.compile(rb"/azure-([0-9a-f]{16})-")
_SIGNED = re.compile(rb"AWS4-HMAC-SHA256 .{0,4096}?Credential=SKQP([0-9A-F]{16})/")


def claim(head: Head) -> str | None:
    """Return the resource id in a request's token, access key or address of a blob."""
    for name in _HEADERS:
        value = head.header(name) or b""
        found = _TOKEN.search(value) or _SIGNED.match(value)
        if found is not None:
            return found[1].decode().lower()
    stored = _STORE.match(head.path)
    return None if stored is None else stored[1].decode()


def token(resource_id: str, keys: Keys) -> str:
    """Return the token that opens a resource."""
    return f"skt_{resource_id}_{keys.secret('token')}"


def matches(presented: str, resource_id: str, keys: Keys) -> bool:
    """Tell whether a text is the resource's token."""
    expected = token(resource_id, keys).encode()
    return hmac.compare_digest(presented.strip().encode("utf-8", "replace"), expected)


def opens(header: bytes, resource_id: str, keys: Keys) -> bool:
    """Tell whether an Authorization header holds the resource's token."""
    scheme, _, presented = header.partition(b" ")
    return scheme.lower() == b"bearer" and matches(presented.decode("latin-1"), resource_id, keys)


def access_key(resource_id: str) -> str:
    """Return the AWS access key of a resource."""
    return f"{ACCESS_KEY_PREFIX}{resource_id.upper()}"


def secret_key(keys: Keys) -> str:
    """Return the AWS secret key of a resource."""
    return keys.secret("aws-secret-key", 40)


def job_access_key(resource_id: str, job: str) -> str:
    """Return the AWS access key of a hybrid job, which opens its own resource while it runs."""
    return f"{JOB_ACCESS_KEY_PREFIX}{resource_id.upper()}{job.replace('-', '').upper()}"


def job_of(access_key: str, resource_id: str) -> str:
    """Return the hybrid job that an access key is of, or nothing."""
    start = f"{JOB_ACCESS_KEY_PREFIX}{resource_id.upper()}"
    text = access_key.removeprefix(start).lower()
    if text == access_key.lower() or not re.fullmatch("[0-9a-f]{32}", text):
        return ""
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def job_secret_key(job: str, keys: Keys) -> str:
    """Return the AWS secret key of a hybrid job."""
    return keys.secret(f"aws-secret-key/{job}", 40)


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return the fields of the lines that `skerry connect` prints.

    `url` serves clients that send a token; `base` names the resource in its path for the others.
    """
    url, ref = address.http.rstrip("/"), resource.ref
    return {
        "url": url,
        "base": f"{url}/@{ref.app}/{ref.branch}/@{ref.name}",
        "token": token(resource.id, resource.keys),
        "access_key": access_key(resource.id),
        "secret_key": secret_key(resource.keys),
        "app": ref.app,
        "name": ref.name,
        "id": resource.id,
    }
