"""Which handler answers which request: by scope, method and the query's sub-resource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.wire import (
    acls,
    attributes,
    buckets,
    copying,
    cors,
    deleting,
    forms,
    lifecycle,
    listing,
    locking,
    multipart,
    reading,
    settings,
    tagging,
    writing,
)
from skerry.kinds.bucket.wire.call import Call, Reply

Handler = Callable[[Call], Awaitable[Reply]]
_MODULES = (
    acls,
    attributes,
    buckets,
    copying,
    cors,
    deleting,
    forms,
    lifecycle,
    listing,
    locking,
    multipart,
    reading,
    settings,
    tagging,
    writing,
)
HANDLERS: dict[tuple[str, str, str], Handler] = {}
for _module in _MODULES:
    for _route, _handler in _module.ROUTES.items():
        assert _route not in HANDLERS, _route
        HANDLERS[_route] = _handler

_SUBRESOURCES = frozenset(name for _, _, name in HANDLERS if name)
_REFUSED = frozenset(
    [
        "accelerate",
        "analytics",
        "intelligent-tiering",
        "inventory",
        "metrics",
        "notification",
        "replication",
        "restore",
        "select",
        "torrent",
        "website",
        "logging",
        "requestPayment",
    ]
)


def find(call: Call) -> Handler:
    """Return the handler of a request; raise MethodNotAllowed or NotImplemented."""
    scope = "object" if call.key else "bucket" if call.bucket_name else "service"
    method = call.method
    if method not in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        raise S3Error("MethodNotAllowed", f"{method} is not allowed here.")
    part = next((name for name in call.query if name in _SUBRESOURCES), "")
    if part == "uploadId" and method == "PUT" and "x-amz-copy-source" in call.headers:
        part = "uploadId+copy"
    elif not part and method == "PUT" and call.key and "x-amz-copy-source" in call.headers:
        part = "copy"
    elif not part and method == "GET" and call.query.get("list-type") == "2":
        part = "list-type"
    if "torrent" in call.query:
        raise S3Error("NoSuchKey", "There are no torrents.")
    found = HANDLERS.get((scope, method, part))
    unknown = next((name for name in call.query if name in _REFUSED), None)
    if found is not None and (part or unknown is None):
        return found
    if unknown is not None:
        raise S3Error("NotImplemented", f"{unknown} is not implemented.")
    raise S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.")


def billing_class(call: Call) -> str:
    """Return the unit that a request counts as."""
    reads = call.method in ("GET", "HEAD", "OPTIONS") and (call.key or call.method == "HEAD")
    return "class_b" if reads else "class_a"
