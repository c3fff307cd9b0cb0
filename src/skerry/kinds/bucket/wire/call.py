"""One request on the wire: what was asked, by whom, and how to answer."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from skerry.kinds._shared.s3 import chunks, sigv4, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import decide
from skerry.kinds.bucket.account import ANONYMOUS, Account, Identity
from skerry.kinds.bucket.state import buckets
from skerry.kinds.bucket.state.records import Bucket, Version
from skerry.kinds.bucket.state.store import Store
from skerry.kinds.bucket.wire.heads import Asked

XML_BYTES_MAX = 4 * 1024 * 1024
_DRAIN_BYTES_MAX = 1024 * 1024
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(slots=True)
class Reply:
    """An answer: headers are name and value; a body is bytes or a stream of `length` bytes."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    length: int = 0


def xml_reply(root: xml.Element, status: int = 200) -> Reply:
    """Return an answer whose body is an XML document."""
    return Reply(status, [("content-type", "application/xml")], xml.document(root))


@dataclass(slots=True)
class Call:
    """A request while it is carried out."""

    account: Account
    asked: Asked
    receive: Receive
    request_id: str
    now: int
    source_ip: str
    secure: bool
    key: str = ""
    identity: Identity = ANONYMOUS
    payload: str = sigv4.UNSIGNED
    seal: chunks.Seal | None = None
    written: int = 0
    _bucket: Bucket | None = None
    _body_read: bool = False

    def __post_init__(self) -> None:
        self.key = self.asked.key

    @property
    def request(self) -> sigv4.Request:
        """What of it is signed."""
        return self.asked.request

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers by lower-case name."""
        return self.asked.headers

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of its query."""
        return self.asked.query

    @property
    def bucket_name(self) -> str:
        """The bucket that it names, or nothing."""
        return self.asked.bucket

    @property
    def store(self) -> Store:
        """The state."""
        return self.account.store

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.request.method

    @property
    def resource(self) -> str:
        """The path of what is asked, for errors."""
        return f"/{self.bucket_name}/{self.key}" if self.key else f"/{self.bucket_name}"

    async def bucket(self) -> Bucket:
        """Return the bucket; raise NoSuchBucket, or AccessDenied if another owner is expected."""
        if self._bucket is None:
            found = await self.store.read(buckets.find, self.bucket_name)
            self._bucket = self.check_bucket(found, self.bucket_name, "x-amz-expected-bucket-owner")
        return self._bucket

    def check_bucket(self, found: Bucket | None, name: str, header: str) -> Bucket:
        """Return a bucket that exists and has the expected owner; raise S3Error."""
        if found is None:
            raise buckets.no_such_bucket(name)
        expected = self.headers.get(header)
        if expected is not None and expected != found.owner:
            raise S3Error("AccessDenied", "The bucket has another owner than expected.")
        return found

    async def allow(
        self,
        action: str,
        *,
        key: str | None = None,
        version: Version | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> Bucket:
        """Return the bucket if this user may do `action` in it; raise AccessDenied."""
        bucket = await self.bucket()
        key = self.key if key is None else key
        decide.allow(self.subject(keys), bucket, action, key, version)
        return bucket

    def subject(self, keys: Mapping[str, str] | None = None) -> decide.Subject:
        """Return who asks, and with what condition keys."""
        found = {
            "aws:sourceip": self.source_ip,
            "aws:securetransport": "true" if self.secure else "false",
            "aws:username": self.identity.name,
            "aws:userid": self.identity.id,
        }
        for name, value in self.headers.items():
            if name.startswith("x-amz-"):
                found[f"s3:{name}"] = value
        for header, name in (("referer", "aws:referer"), ("user-agent", "aws:useragent")):
            if header in self.headers:
                found[name] = self.headers[header]
        for name in ("prefix", "delimiter", "max-keys", "versionId"):
            if name in self.query:
                found[f"s3:{name.lower()}"] = self.query[name]
        found.update(keys or {})
        return decide.Subject(self.identity.id, self.identity.name, found)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a query parameter that is a number, at most `high`; raise InvalidArgument."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or int(text[:12]) < low:
            raise S3Error(
                "InvalidArgument",
                f"Argument {name} must be an integer between {low} and {high}.",
                fields={"ArgumentName": name, "ArgumentValue": text},
            )
        return min(int(text[:12]), high)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the raw body as it comes; raise IncompleteBody if the client goes away."""
        more = True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise S3Error("IncompleteBody", "The client went away.")
            more = message.get("more_body", False)
            self._body_read = not more
            data = message.get("body", b"")
            if data:
                yield data

    async def drained(self) -> bool:
        """Read a short rest of a refused body; tell whether the connection can go on.

        A client that waits for `100 Continue` sends no body after a refusal.
        """
        has_body = self.headers.get("content-length", "0") != "0" or (
            "transfer-encoding" in self.headers
        )
        if self._body_read or not has_body:
            return True
        if "expect" in self.headers:
            return False
        left = _DRAIN_BYTES_MAX
        try:
            async for data in self.body():
                left -= len(data)
                if left < 0:
                    return False
        except S3Error:
            return False
        return True

    async def small_body(self, limit: int = XML_BYTES_MAX) -> bytes:
        """Return a body of bounded size, checked against its digests; raise S3Error."""
        found = bytearray()
        decoder = self.decoder()
        async for data in self.body():
            for piece in decoder.feed(data) if decoder else [data]:
                found += piece
            if len(found) > limit:
                raise S3Error("MaxMessageLengthExceeded", "Your request was too big.")
        if decoder:
            decoder.finish()
        data = bytes(found)
        self.check_length(len(data), decoder is not None)
        self.check_md5(hashlib.md5(data, usedforsecurity=False).digest())
        self.check_sha256(hashlib.sha256(data).hexdigest())
        return data

    async def xml(self, name: str) -> xml.Element:
        """Return the body's XML, whose root must be `name`; raise MalformedXMLError."""
        data = await self.small_body()
        try:
            root = xml.parse(data)
        except xml.MalformedXMLError as error:
            raise malformed_xml() from error
        if root.name != name:
            raise malformed_xml()
        return root

    def decoder(self) -> chunks.Decoder | None:
        """Return what decodes the body's chunks, or None if it is plain."""
        if not self.payload.startswith(chunks.STREAMING):
            return None
        text = self.headers.get("x-amz-decoded-content-length", "")
        if not text.isascii() or not text.isdigit():
            raise S3Error("MissingContentLength", "x-amz-decoded-content-length is missing.")
        known = (chunks.SIGNED, chunks.SIGNED_TRAILER, chunks.UNSIGNED_TRAILER)
        if self.payload not in known:
            raise S3Error("NotImplemented", f"{self.payload} is not supported.")
        seal = None if self.payload == chunks.UNSIGNED_TRAILER else self.seal
        if self.payload != chunks.UNSIGNED_TRAILER and seal is None:
            raise S3Error("AccessDenied", "Signed chunks need a signed request.")
        return chunks.Decoder(int(text), seal, self.payload == chunks.SIGNED_TRAILER)

    def check_length(self, size: int, decoded: bool) -> None:
        """Raise IncompleteBody unless the body has its announced length."""
        name = "x-amz-decoded-content-length" if decoded else "content-length"
        announced = self.headers.get(name)
        if announced is not None and announced.isdigit() and int(announced) != size:
            raise S3Error("IncompleteBody", "The body does not have its announced length.")

    def check_md5(self, digest: bytes) -> None:
        """Raise BadDigest or InvalidDigest unless Content-MD5, if given, is right."""
        given = self.headers.get("content-md5")
        if given is None:
            return
        try:
            wanted = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            wanted = b""
        if len(wanted) != 16:
            raise S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.")
        if wanted != digest:
            raise S3Error("BadDigest", "The Content-MD5 did not match what we received.")

    def check_sha256(self, digest: str) -> None:
        """Raise XAmzContentSHA256Mismatch unless the signed digest, if given, is right."""
        if self.signs_payload and self.payload.lower() != digest:
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )

    @property
    def signs_payload(self) -> bool:
        """Whether the signature is over the digest of the body."""
        return len(self.payload) == 64


def malformed_xml() -> S3Error:
    """Return the error for XML that is not what the operation needs."""
    return S3Error(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published "
        "schema.",
    )
