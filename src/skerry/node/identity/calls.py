"""Requests to an identity provider: few, small, without redirects. All of it blocks."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.errors import CONFIG_INVALID, ENGINE_FAILED, STORE_UNREACHABLE
from skerry.node.public import is_here

SECONDS = 10.0
ANSWER_BYTES_MAX = 1 << 20


def call(
    url: str, ca_file: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Get a JSON object, or post a form for one.

    Raises STORE_UNREACHABLE if nobody answers, ENGINE_FAILED for an answer that refuses or cannot
    be read, CONFIG_INVALID for an address that is not safe.
    """
    check_url(url)
    parts = urlsplit(url)
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    said = {"Accept": "application/json", **(headers or {})}
    if body is not None:
        said["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection = _open(url, ca_file)
    except (OSError, ValueError) as error:
        raise _away(url, str(error)) from error
    try:
        connection.request("GET" if body is None else "POST", path, body, said)
        with connection.getresponse() as answer:
            status, data = answer.status, answer.read(ANSWER_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _away(url, str(error)) from error
    finally:
        connection.close()
    return _read(url, status, data)


def check_url(url: str) -> None:
    """Raise CONFIG_INVALID unless an address is HTTPS, or HTTP on this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host and not parts.username:
        return
    if parts.scheme == "http" and is_here(host) and not parts.username:
        return
    raise CONFIG_INVALID(
        f"{url[:200]!r} is no address of an identity provider.",
        why="It is https://…, or http:// on this machine.",
        hint="skerry docs identity",
    )


def _open(url: str, ca_file: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
    context = ssl.create_default_context(cafile=ca_file or None)
    return http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=context)


def _read(url: str, status: int, data: bytes) -> dict[str, Any]:
    if status >= 500:
        raise _away(url, f"HTTP {status}")
    try:
        found = msgspec.json.decode(data) if len(data) <= ANSWER_BYTES_MAX else None
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        raise ENGINE_FAILED(
            f"The answer of {url[:200]} cannot be read.", why=f"HTTP {status}, and no JSON object."
        )
    if status >= 300:
        # What RFC 6749 calls `error` is a word, and `error_description` a sentence for developers.
        reason = f"{found.get('error', '')} {found.get('error_description', '')}".strip()
        raise ENGINE_FAILED(f"{url[:200]} answers HTTP {status}.", why=reason[:300])
    return found


def _away(url: str, why: str) -> Exception:
    return STORE_UNREACHABLE(
        f"The identity provider does not answer: {url[:200]}.", why=why, hint="skerry identity show"
    )
