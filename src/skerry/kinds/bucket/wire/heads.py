"""What a request's head says, as far as it can be told without the state; light, for the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_plus

from skerry.kernel.kind import Head
from skerry.kernel.names import ResourceRef
from skerry.kinds._shared.s3 import sigv4
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.wire import address


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked; `prefix` is the beginning of the path that chose the resource."""

    request: sigv4.Request
    headers: Mapping[str, str]
    query: Mapping[str, str]
    bucket: str
    key: str
    prefix: str
    bucket_in_host: bool

    @property
    def signs_in_form(self) -> bool:
        """Whether the signature is in a form's fields, not in the head."""
        kind = self.headers.get("content-type", "").lower()
        return (
            self.request.method == "POST"
            and bool(self.bucket)
            and not self.key
            and not self.query
            and kind.startswith("multipart/form-data")
        )


def read(head: Head, ref: ResourceRef, domains: tuple[str, ...]) -> Asked:
    """Read a head; raise S3Error if its path or query is not to be read."""
    headers: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
        if name != "x-forwarded-prefix":
            pairs.append((name, value))
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        else:
            headers[name] = value
    prefix = headers.pop("x-forwarded-prefix", "").rstrip("/")
    path, query = head.path.decode("latin-1"), head.query.decode("latin-1")
    in_host = "" if prefix else address.split_host(headers.get("host", ""), ref, domains)
    bucket, key = address.split_path(path, in_host)
    return Asked(
        request=sigv4.Request(head.method.decode(), prefix + path, query, tuple(pairs)),
        headers=headers,
        query=parse_query(query),
        bucket=bucket,
        key=key,
        prefix=prefix,
        bucket_in_host=bool(in_host),
    )


def _text(raw: bytes) -> str:
    """Return a header's value, which clients send in UTF-8 or in Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def parse_query(query: str) -> dict[str, str]:
    """Return the query's parameters; the first of a name counts. Raise InvalidURI."""
    found: dict[str, str] = {}
    for item in query.split("&"):
        name, _, value = item.partition("=")
        if not item:
            continue
        try:
            found.setdefault(unquote_plus(name), unquote_plus(value, errors="strict"))
        except UnicodeDecodeError as error:
            raise S3Error("InvalidURI", "The query is not UTF-8.") from error
    return found
