"""Chunked bodies, claims and addresses: what decides before anything is stored."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.kind import Head
from skerry.kernel.names import ResourceRef
from skerry.kinds._shared.s3 import checksums
from skerry.kinds._shared.s3.chunks import Decoder, Seal
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.claim import claim
from skerry.kinds.bucket.wire.address import split_host

KEY, STAMP, SCOPE, SEED = b"k" * 32, "20261123T000000Z", "20261123/r/s3/aws4_request", "0" * 64
EMPTY = hashlib.sha256(b"").hexdigest()


def sealed(chunks: list[bytes], trailers: dict[str, str] | None = None) -> bytes:
    previous, found = SEED, b""
    for data in [*chunks, b""]:
        digest = hashlib.sha256(data).hexdigest()
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{STAMP}\n{SCOPE}\n{previous}\n{EMPTY}\n{digest}"
        previous = hmac.digest(KEY, text.encode(), hashlib.sha256).hex()
        head = f"{len(data):x};chunk-signature={previous}\r\n".encode()
        found += head + (data + b"\r\n" if data else b"")
    if trailers is not None:
        lines = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        digest = hashlib.sha256(lines.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256-TRAILER\n{STAMP}\n{SCOPE}\n{previous}\n{digest}"
        signature = hmac.digest(KEY, text.encode(), hashlib.sha256).hex()
        found += lines.replace("\n", "\r\n").encode()
        found += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return found + b"\r\n"


def decode(raw: bytes, length: int, step: int, trailer: bool) -> tuple[bytes, dict[str, str]]:
    decoder = Decoder(length, Seal(KEY, STAMP, SCOPE, SEED), trailer)
    found = b""
    for start in range(0, len(raw), step):
        found += b"".join(decoder.feed(raw[start : start + step]))
    decoder.finish()
    return found, decoder.trailers


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 70), st.booleans())
def test_chunks_come_back_however_they_are_cut(
    chunks: list[bytes], step: int, trailer: bool
) -> None:
    trailers = {"x-amz-checksum-crc32": "AAAAAA=="} if trailer else None
    data = b"".join(chunks)
    found, told = decode(sealed(chunks, trailers), len(data), step, trailer)
    assert (found, told) == (data, trailers or {})


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_changed_byte_is_never_accepted(data: bytes, draw: st.DataObject) -> None:
    raw = bytearray(sealed([data], {"x-amz-checksum-crc32": "AAAAAA=="}))
    position = draw.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= draw.draw(st.integers(1, 255))
    try:
        found, trailers = decode(bytes(raw), len(data), 1000, True)
    except (S3Error, UnicodeError):
        return
    assert (found, trailers) == (data, {"x-amz-checksum-crc32": "AAAAAA=="})


def test_a_body_that_ends_early_is_refused() -> None:
    raw = sealed([b"abc", b"def"])
    for end in range(len(raw) - 4):
        with pytest.raises(S3Error):
            decode(raw[:end], 6, 1000, False)


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_crcs_of_parts_make_the_crc_of_the_whole(parts: list[bytes]) -> None:
    for name in checksums.CRCS:
        pairs = []
        for part in parts:
            one = checksums.new(name)
            one.update(part)
            pairs.append((one.digest(), len(part)))
        whole = checksums.new(name)
        whole.update(b"".join(parts))
        assert checksums.combine(name, pairs) == checksums.encode(whole.digest())


def head(query: bytes = b"", authorization: bytes | None = None) -> Head:
    headers = () if authorization is None else ((b"authorization", authorization),)
    return Head(b"GET", b"/media/k", query, headers)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (
            head(
                authorization=b"AWS4-HMAC-SHA256 Credential=SKRY0123456789ABCDEF/20260101/r/s3/"
                b"aws4_request, SignedHeaders=host, Signature=00"
            ),
            "0123456789abcdef",
        ),
        (head(b"X-Amz-Credential=SKRY0123456789ABCDEFQRST%2F2026"), "0123456789abcdef"),
        (head(b"AWSAccessKeyId=SKRY0123456789ABCDEF&Signature=x"), "0123456789abcdef"),
        (head(authorization=b"AWS SKRY0123456789ABCDEF:x"), "0123456789abcdef"),
        (head(authorization=b"AWS4-HMAC-SHA256 Credential=AKIA0123456789ABCDEF/x"), None),
        (head(authorization=b"AWS4-HMAC-SHA256 Credential=SKRY0123456789abcdef/x"), None),
        (head(authorization=b"AWS4-HMAC-SHA256 Credential=SKRY01"), None),
        (head(authorization=b"Bearer skt_0123456789abcdef_x"), None),
        (head(), None),
    ],
)
def test_an_access_key_names_its_resource(asked: Head, found: str | None) -> None:
    assert claim(asked) == found


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("media--main--app.localhost:7878", ""),
        ("photos.media--main--app.localhost:7878", "photos"),
        ("my.photos.media--main--app.localhost", "my.photos"),
        ("photos.localhost:7878", "photos"),
        ("localhost:7878", ""),
        ("127.0.0.1:7878", ""),
        ("[::1]:7878", ""),
        ("photos.s3.example.org", "photos"),
        ("s3.example.org", ""),
        ("example.org", ""),
    ],
)
def test_a_host_may_name_a_bucket(host: str, bucket: str) -> None:
    ref = ResourceRef("app", "main", "bucket", "media")
    assert split_host(host, ref, ("s3.example.org",)) == bucket
