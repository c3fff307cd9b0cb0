"""A small HTTP client for tests: `*.localhost` leads to this machine without any resolver."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from skerry.kinds._shared.http.message import Answer

SECONDS = 30.0


def request(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send a request and return the whole answer; it blocks."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=SECONDS)
    try:
        query = f"?{parts.query}" if parts.query else ""
        target = quote(parts.path or "/", safe="/%=~@+") + query
        connection.request(method, target, body, {"Host": parts.netloc, **(headers or {})})
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()
