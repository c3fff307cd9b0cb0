"""Reading from host and path which bucket and key a request means."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from skerry.kernel.names import ResourceRef, host_label
from skerry.kinds._shared.s3.errors import S3Error

KEY_BYTES_MAX = 1024


def split_host(host: str, ref: ResourceRef, domains: tuple[str, ...]) -> str:
    """Return the bucket that a host names, or '' if the path does.

    `<bucket>.<our label>.localhost`, `<bucket>.<domain>` for a configured domain, and
    `<bucket>.localhost` (how clients address buckets below an endpoint `localhost`) name one.
    """
    name = host.lower()
    if not name.startswith("["):
        name = name.partition(":")[0]
    label = host_label(ref.app, ref.branch, ref.name)
    if name == label or name.startswith(f"{label}."):
        return ""
    bucket, found, _ = name.partition(f".{label}.")
    if found:
        return bucket
    for domain in domains:
        if name.endswith(f".{domain.lower()}"):
            return name[: -len(domain) - 1]
    bucket, found, rest = name.rpartition(".")
    if found and rest == "localhost" and "--" not in bucket:
        return bucket
    return ""


def split_path(path: str, bucket: str) -> tuple[str, str]:
    """Return bucket and key of a raw path; raise InvalidURI or KeyTooLongError."""
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise S3Error("InvalidURI", "The path is not UTF-8.") from error
    text = text.removeprefix("/")
    if not bucket:
        bucket, _, text = text.partition("/")
    if len(text.encode()) > KEY_BYTES_MAX:
        raise S3Error("KeyTooLongError", f"A key has at most {KEY_BYTES_MAX} bytes.")
    return bucket, text
