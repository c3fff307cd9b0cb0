"""How an answer of S3 is framed, and how a failure is told; light, for the engine and its gate."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from skerry.kernel.clock import SystemEntropy
from skerry.kinds._shared.s3.errors import S3Error

Headers = list[tuple[str, str]]


def new_request_id() -> str:
    """Return a name for a request, 16 hexadecimal digits."""
    return SystemEntropy().bytes(8).hex().upper()


def told(error: S3Error, resource: str, request_id: str) -> tuple[Headers, bytes]:
    """Return headers and body of the answer that tells an error."""
    headers = [("content-type", "application/xml"), *error.headers]
    return headers, b"" if error.status == 304 else error.body(resource, request_id)


def framed(
    status: int, headers: Iterable[tuple[str, str]], length: int, request_id: str
) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers as they are sent, with the body's length and the request's id."""
    found = [*headers, ("x-amz-request-id", request_id)]
    if status not in (204, 304) and all(name != "content-length" for name, _ in found):
        found.append(("content-length", str(length)))
    return [(name.encode("latin-1"), _raw(value)) for name, value in found]


def _raw(text: str) -> bytes:
    """Return a header's value as it is sent; what Latin-1 lacks is encoded as RFC 2047 tells."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return b"=?UTF-8?B?" + base64.b64encode(text.encode("utf-8", "surrogateescape")) + b"?="
