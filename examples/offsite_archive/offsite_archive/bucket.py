"""The bucket of another owner: put, get and list, over HTTP, signed (AWS Signature Version 4).

Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

SECONDS = 60.0
OBJECT_BYTES_MAX = 1 << 30


class BucketError(Exception):
    """The store answered something else than yes."""


@dataclass(frozen=True)
class Bucket:
    """A bucket: `https://endpoint/bucket`, and the key that may write and read there."""

    url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    provider: str = ""
    country: str = ""

    def __repr__(self) -> str:
        return f"Bucket({self.url!r})"

    def place(self) -> dict[str, str]:
        """Return whose place it is, for a policy: without a better name its host's."""
        host = urlsplit(self.url).hostname or ""
        return {"provider": self.provider or host, "country": self.country, "host": host}

    def put(self, key: str, data: bytes) -> None:
        """Store an object; it is there, whole, when this returns."""
        self._ask("PUT", key, data)

    def get(self, key: str) -> bytes:
        """Return an object."""
        return self._ask("GET", key)

    def _ask(self, method: str, key: str, body: bytes = b"") -> bytes:
        parts = urlsplit(self.url)
        path = f"{parts.path.rstrip('/')}/{quote(key)}"
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=SECONDS)
        try:
            connection.request(method, path, body, self._sign(method, parts.netloc, path, body))
            answer = connection.getresponse()
            found = answer.read(OBJECT_BYTES_MAX)
        finally:
            connection.close()
        if answer.status not in (200, 204):
            raise BucketError(f"{method} {key}: {answer.status} {found[:200]!r}")
        return found

    def _sign(self, method: str, host: str, path: str, body: bytes) -> dict[str, str]:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = "\n".join((method, path, "", lines, names, digest))
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"
        key = f"AWS4{self.secret_key}".encode()
        for step in (stamp[:8], self.region, "s3", "aws4_request"):
            key = hmac.digest(key, step.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        credential = f"{self.access_key}/{scope}"
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        return headers
