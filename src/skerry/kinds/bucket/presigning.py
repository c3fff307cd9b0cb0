"""URLs with which anybody can do one thing with one object until they expire."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from skerry.kernel.errors import INVALID, UNSUPPORTED
from skerry.kernel.kind import Context
from skerry.kinds._shared.s3 import sigv4
from skerry.kinds.bucket.config import BucketConfig


@dataclass(frozen=True, slots=True)
class Presign:
    """What a URL is for; without an `endpoint` it is the configured one, or the node's."""

    bucket: str
    key: str
    method: str
    expires_seconds: int
    endpoint: str = ""


def presign(context: Context, config: BucketConfig, owner: tuple[str, str], ask: Presign) -> str:
    """Return a presigned URL; `owner` is access key and secret. Raises INVALID, UNSUPPORTED."""
    base = urlsplit(ask.endpoint or config.endpoint or context.url)
    if base.scheme not in ("http", "https") or not base.netloc:
        raise INVALID(
            "A presigned URL needs the URL under which clients reach the bucket.",
            hint='Set endpoint = "https://…" in skerry.toml, or give --endpoint.',
        )
    if ask.method not in ("GET", "PUT", "HEAD", "DELETE"):
        raise UNSUPPORTED(f"A URL for {ask.method} cannot be presigned.")
    if not 0 < ask.expires_seconds <= sigv4.EXPIRES_SECONDS_MAX:
        raise INVALID("A presigned URL lives 1 second to 7 days.")
    path = f"{base.path.rstrip('/')}/{ask.bucket}/{quote(ask.key, safe='/-_.~')}"
    now = context.clock.now()
    signed = sigv4.presign(ask.method, base.netloc, path, owner, now, ask.expires_seconds)
    return f"{base.scheme}://{base.netloc}{signed}"
