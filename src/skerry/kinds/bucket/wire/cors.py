"""Cross-origin rules of a bucket, and what they add to answers.

Source: the Fetch standard, "CORS protocol"; Amazon S3 User Guide, "Elements of a CORS
configuration".
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from skerry.kinds._shared.s3 import xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access.policy import like
from skerry.kinds.bucket.state import buckets
from skerry.kinds.bucket.state.records import Bucket, pack
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply

_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
_RULES_MAX = 100


class Rule(msgspec.Struct, frozen=True):
    """One rule: which origins may send which methods and headers."""

    id: str
    origins: list[str]
    methods: list[str]
    headers: list[str]
    expose: list[str]
    seconds: int | None

    def allows(self, origin: str, method: str, headers: Iterable[str]) -> bool:
        """Tell whether the rule allows a request."""
        return (
            method in self.methods
            and any(like(each, origin) for each in self.origins)
            and all(
                any(like(each.lower(), name.lower()) for each in self.headers) for name in headers
            )
        )

    def answer(self, origin: str) -> list[tuple[str, str]]:
        """Return the headers that tell the browser so."""
        anybody = "*" in self.origins
        found = [("access-control-allow-origin", "*" if anybody else origin)]
        found.append(("access-control-allow-methods", ", ".join(self.methods)))
        if self.expose:
            found.append(("access-control-expose-headers", ", ".join(self.expose)))
        if not anybody:
            found.append(("access-control-allow-credentials", "true"))
        found.append(("vary", "Origin, Access-Control-Request-Headers"))
        if self.seconds is not None:
            found.append(("access-control-max-age", str(self.seconds)))
        return found


def _rules(bucket: Bucket) -> list[Rule]:
    found: list[Rule] | None = bucket.load("cors", list[Rule])
    return found or []


async def get_cors(call: Call) -> Reply:
    """GetBucketCors."""
    bucket = await call.allow("s3:GetBucketCORS")
    rules = _rules(bucket)
    if not rules:
        raise S3Error("NoSuchCORSConfiguration", "The CORS configuration does not exist")
    root = xml.Element("CORSConfiguration")
    for rule in rules:
        each = root.add("CORSRule")
        each.add("ID", rule.id or None)
        for name, values in (
            ("AllowedOrigin", rule.origins),
            ("AllowedMethod", rule.methods),
            ("AllowedHeader", rule.headers),
            ("ExposeHeader", rule.expose),
        ):
            for value in values:
                each.add(name, value)
        each.add("MaxAgeSeconds", rule.seconds)
    return xml_reply(root)


async def put_cors(call: Call) -> Reply:
    """PutBucketCors."""
    bucket = await call.allow("s3:PutBucketCORS")
    root = await call.xml("CORSConfiguration")
    rules = [_parse(each) for each in root.all("CORSRule")]
    if not rules or len(rules) > _RULES_MAX:
        raise malformed_xml()
    await call.store.write(buckets.set_setting, bucket.id, "cors", pack(rules))
    return Reply()


def _parse(each: xml.Element) -> Rule:
    def texts(name: str) -> list[str]:
        return [child.text.strip() for child in each.all(name)]

    seconds = each.get("MaxAgeSeconds")
    rule = Rule(
        each.get("ID"),
        texts("AllowedOrigin"),
        texts("AllowedMethod"),
        texts("AllowedHeader"),
        texts("ExposeHeader"),
        int(seconds) if seconds.isdigit() else None,
    )
    if not rule.origins or not rule.methods:
        raise malformed_xml()
    for method in rule.methods:
        if method not in _METHODS:
            raise S3Error("InvalidRequest", f"Found unsupported HTTP method in CORS: {method}")
    for pattern in rule.origins + rule.headers:
        if pattern.count("*") > 1:
            raise S3Error("InvalidRequest", f"{pattern!r} can not have more than one wildcard.")
    return rule


async def delete_cors(call: Call) -> Reply:
    """DeleteBucketCors."""
    bucket = await call.allow("s3:PutBucketCORS")
    await call.store.write(buckets.drop_setting, bucket.id, "cors")
    return Reply(204)


async def preflight(call: Call) -> Reply:
    """Answer a browser's question before a cross-origin request."""
    origin = call.headers.get("origin")
    method = call.headers.get("access-control-request-method")
    if not origin or not method:
        raise S3Error("InvalidRequest", "Insufficient information. Origin request header needed.")
    asked = call.headers.get("access-control-request-headers", "")
    names = [each.strip() for each in asked.split(",") if each.strip()]
    bucket = await call.store.read(buckets.find, call.bucket_name)
    for rule in _rules(bucket) if bucket else []:
        if rule.allows(origin, method, names):
            reply = Reply(headers=rule.answer(origin))
            if asked:
                reply.headers.append(("access-control-allow-headers", asked))
            return reply
    raise S3Error("AccessDenied", "CORSResponse: This CORS request is not allowed.")


async def headers_of(call: Call) -> list[tuple[str, str]]:
    """Return what an answer to a cross-origin request says to the browser."""
    origin = call.headers.get("origin")
    if not origin or call.method == "OPTIONS" or not call.bucket_name:
        return []
    bucket = await call.store.read(buckets.find, call.bucket_name)
    method = call.headers.get("access-control-request-method", call.method)
    for rule in _rules(bucket) if bucket else []:
        if rule.allows(origin, method, ()):
            return rule.answer(origin)
    return []


ROUTES = {
    ("bucket", "GET", "cors"): get_cors,
    ("bucket", "PUT", "cors"): put_cors,
    ("bucket", "DELETE", "cors"): delete_cors,
}
