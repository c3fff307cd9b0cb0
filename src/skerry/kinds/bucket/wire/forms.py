"""POST Object: an upload from a browser's form, allowed by a signed policy.

Source: Amazon S3 API Reference, "Browser-Based Uploads Using POST".
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from skerry.kinds._shared.s3 import sigv2, sigv4, times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.account import ANONYMOUS, Identity
from skerry.kinds.bucket.state.objects import NO_CONDITION
from skerry.kinds.bucket.state.records import Record, Version
from skerry.kinds.bucket.state.sink import Sink, Taken
from skerry.kinds.bucket.wire import encrypting, intake, tagging, writing
from skerry.kinds.bucket.wire.address import KEY_BYTES_MAX
from skerry.kinds.bucket.wire.authenticate import identify
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml
from skerry.kinds.bucket.wire.formdata import Form

_UNCONDITIONAL = frozenset(["policy", "signature", "awsaccesskeyid", "x-amz-signature", "file"])
_STEP_BYTES = 1 << 20
_FREE = ("x-ignore-", "x-amz-checksum-")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def post_object(call: Call) -> Reply:
    """POST Object."""
    form = Form(call.headers.get("content-type", ""), call.body())
    await form.read_fields()
    fields = form.fields
    if "key" not in fields:
        raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'key'.")
    key = fields["key"].replace("${filename}", form.file_name)
    if not key or len(key.encode("utf-8", "surrogateescape")) > KEY_BYTES_MAX:
        raise S3Error("KeyTooLongError", "The key is empty or too long.")
    call.identity, low, high = _authenticate(call, fields, key)
    call.key = key
    tags = _tags(fields)
    bucket = await call.allow("s3:PutObject", keys=tagging.request_keys(tags))
    headers = {name: value for name, value in fields.items() if name != "acl"}
    if "acl" in fields:
        headers["x-amz-acl"] = fields["acl"]
    record = writing.new_record(call, bucket, headers)
    record.tags = tags
    taken = await _take_in(call, form, record, headers, (low, high))
    version = await writing.store(call, bucket, key, record, taken, NO_CONDITION)
    reply = _reply(call, fields, version)
    reply.headers += writing.written_headers(bucket, version)
    return reply


def _tags(fields: dict[str, str]) -> dict[str, str]:
    if "tagging" not in fields:
        return {}
    try:
        return tagging.from_xml(xml.parse(fields["tagging"].encode()))
    except xml.MalformedXMLError as error:
        raise malformed_xml() from error


def _authenticate(call: Call, fields: dict[str, str], key: str) -> tuple[Identity, int, int]:
    """Return who signed the form's policy, and the sizes it allows; raise S3Error."""
    limits = (0, intake.OBJECT_BYTES_MAX)
    signed = "signature" in fields or "x-amz-signature" in fields
    if "policy" not in fields:
        if signed or "awsaccesskeyid" in fields:
            raise S3Error("InvalidArgument", "A signed form needs a policy.")
        return ANONYMOUS, *limits
    if not signed:
        raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'signature'.")
    text = fields["policy"]
    if "x-amz-signature" in fields:
        credential = sigv4.parse_credential(fields.get("x-amz-credential", ""))
        identity = identify(call.account, credential.access_key)
        sigv4.verify_policy(text, fields, identity.secret)
    else:
        if not call.account.config.signature_v2:
            raise S3Error("InvalidRequest", "Please use AWS4-HMAC-SHA256.")
        if not fields.get("awsaccesskeyid"):
            raise S3Error("InvalidArgument", "The form has no field AWSAccessKeyId.")
        identity = identify(call.account, fields["awsaccesskeyid"])
        if not sigv2.matches(identity.secret, text, fields["signature"]):
            raise S3Error("SignatureDoesNotMatch", "The policy's signature does not match.")
    have = {**fields, "key": key, "bucket": call.bucket_name}
    return identity, *_check_policy(text, have, call.now, limits)


def _invalid(message: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", message)


def _check_policy(
    text: str, fields: dict[str, str], now: int, limits: tuple[int, int]
) -> tuple[int, int]:
    """Raise S3Error unless the policy allows the fields; return the sizes it allows."""
    try:
        document = json.loads(base64.b64decode(text))
        if not _TIME.fullmatch(document["expiration"]):
            raise ValueError("expiration must be of the form yyyy-mm-ddThh:mm:ssZ")
        expires = times.parse_iso(document["expiration"])
        conditions = document["conditions"]
        if not isinstance(conditions, list):
            raise TypeError("conditions must be a list")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _invalid(f"The policy document is malformed: {error}") from error
    if expires <= now:
        raise S3Error("AccessDenied", "Invalid according to Policy: Policy expired.")
    covered: set[str] = set()
    for condition in conditions:
        for operator, name, value in _tests(condition):
            if operator == "content-length-range":
                limits = _range(name, value)
            else:
                covered.add(name)
                _check(operator, name, value, fields.get(name))
    for name in fields:
        free = name in _UNCONDITIONAL or name.startswith(_FREE) or name == "bucket"
        if name not in covered and not free:
            raise S3Error(
                "AccessDenied", f"Invalid according to Policy: Extra input fields: {name}"
            )
    return limits


def _tests(condition: Any) -> list[tuple[str, str, Any]]:
    if isinstance(condition, dict):
        if not condition:
            raise _invalid("A condition is empty.")
        return [("eq", str(name).lower(), value) for name, value in condition.items()]
    if not isinstance(condition, list) or len(condition) != 3:
        raise _invalid("A condition must be an object or a list of three.")
    operator, name, value = str(condition[0]).lower(), condition[1], condition[2]
    if operator == "content-length-range":
        return [(operator, name, value)]
    if operator not in ("eq", "starts-with") or not str(name).startswith("$"):
        raise _invalid(f"Unknown condition {operator!r}.")
    return [(operator, str(name)[1:].lower(), value)]


def _range(low: Any, high: Any) -> tuple[int, int]:
    try:
        found = int(low), int(high)
    except (TypeError, ValueError) as error:
        raise _invalid("content-length-range needs two numbers.") from error
    if min(found) < 0:
        raise _invalid("content-length-range needs two numbers.")
    return found


def _check(operator: str, name: str, value: Any, have: str | None) -> None:
    wanted = str(value)
    if have is None and operator == "starts-with":
        have = ""
    right = have is not None and (have == wanted if operator == "eq" else have.startswith(wanted))
    if not right:
        raise S3Error(
            "AccessDenied",
            f"Invalid according to Policy: Policy Condition failed: {operator} ${name}",
        )


async def _take_in(
    call: Call, form: Form, record: Record, headers: dict[str, str], limits: tuple[int, int]
) -> Taken:
    """Take in the file, whose size must be within the limits in bytes."""
    key = encrypting.key_for(call.account, record.encryption, headers)
    given = intake.stated(headers)
    sink = Sink(call.store.blobs, sorted(given), key)
    try:
        waiting, size = bytearray(), 0
        async for data in form.file():
            waiting += data
            size += len(data)
            if size > limits[1]:
                raise S3Error(
                    "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size."
                )
            if len(waiting) >= _STEP_BYTES:
                await call.store.disk(sink.write, bytes(waiting))
                waiting.clear()
        await call.store.disk(sink.write, bytes(waiting))
        if size < limits[0]:
            raise S3Error("EntityTooSmall", "Your proposed upload is smaller than allowed.")
        taken = await call.store.disk(sink.finish)
    except BaseException:
        sink.abandon()
        raise
    for name, value in given.items():
        if taken.sums[name] != value:
            taken.close()
            raise S3Error("BadDigest", f"The {name} you specified did not match.")
    call.written += taken.size
    return taken


def _reply(call: Call, fields: dict[str, str], version: Version) -> Reply:
    key = version.key
    location = f"http://{call.headers.get('host', '')}{call.request.path.rstrip('/')}/{quote(key)}"
    target = fields.get("success_action_redirect") or fields.get("redirect")
    if target:
        parts = urlsplit(target)
        pairs = {"bucket": call.bucket_name, "key": key, "etag": f'"{version.etag}"'}
        query = "&".join(filter(None, (parts.query, urlencode(pairs, quote_via=quote))))
        return Reply(303, [("location", urlunsplit(parts._replace(query=query)))])
    status = fields.get("success_action_status", "")
    if status == "201":
        root = xml.Element("PostResponse")
        root.add("Location", location)
        root.add("Bucket", call.bucket_name)
        root.add("Key", key)
        root.add("ETag", f'"{version.etag}"')
        body = xml.document(root, namespace="")
        reply = Reply(201, [("content-type", "application/xml")], body)
    else:
        reply = Reply(200 if status == "200" else 204)
    reply.headers.append(("location", location))
    return reply


ROUTES = {("bucket", "POST", ""): post_object}
