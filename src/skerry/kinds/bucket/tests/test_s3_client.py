"""The wire, spoken to by boto3, the client that most people use."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import socket
import urllib.request
import zlib
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from skerry.kinds._shared.s3 import sigv4
from skerry.kinds.bucket.account import owner_credential
from skerry.kinds.bucket.config import BucketConfig
from skerry.kinds.bucket.messages import UserParams
from skerry.kinds.bucket.presigning import Presign, presign

MIB = 1024 * 1024


def code_of(caught: Any) -> str:
    return str(caught.value.response["Error"]["Code"])


def test_the_default_bucket_is_there_and_holds_objects(s3: Any) -> None:
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["media"]
    data = os.urandom(3 * MIB + 17)
    put = s3.put_object(
        Bucket="media", Key="a/ü 1.bin", Body=data, Metadata={"by": "me"}, ContentType="x/y"
    )
    assert put["ETag"].strip('"') == hashlib.md5(data).hexdigest()
    got = s3.get_object(Bucket="media", Key="a/ü 1.bin")
    assert got["Body"].read() == data
    assert (got["Metadata"], got["ContentType"]) == ({"by": "me"}, "x/y")
    part = s3.get_object(Bucket="media", Key="a/ü 1.bin", Range="bytes=1000000-2000000")
    assert part["Body"].read() == data[1000000:2000001]
    s3.delete_object(Bucket="media", Key="a/ü 1.bin")
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket="media", Key="a/ü 1.bin")
    assert code_of(caught) == "404"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_are_computed_kept_and_told(s3: Any, algorithm: str) -> None:
    for size in (0, 1, 8192, 8193, 100_000):
        body = b"x" * size
        put = s3.put_object(Bucket="media", Key="k", Body=body, ChecksumAlgorithm=algorithm)
        told = s3.head_object(Bucket="media", Key="k", ChecksumMode="ENABLED")
        assert put[f"Checksum{algorithm}"] == told[f"Checksum{algorithm}"]
        if algorithm == "CRC32":
            right = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
            assert told["ChecksumCRC32"] == right


def test_a_wrong_checksum_is_refused_and_nothing_kept(s3: Any) -> None:
    wrong = base64.b64encode(b"\0\0\0\0").decode()
    for size in (10, 100_000):
        with pytest.raises(ClientError) as caught:
            s3.put_object(Bucket="media", Key="k", Body=b"x" * size, ChecksumCRC32=wrong)
        assert code_of(caught) == "BadDigest"
    assert "Contents" not in s3.list_objects_v2(Bucket="media")


def test_conditions_decide_a_write(s3: Any) -> None:
    etag = s3.put_object(Bucket="media", Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="media", Key="k", Body=b"2", IfNoneMatch="*")
    assert code_of(caught) == "PreconditionFailed"
    s3.put_object(Bucket="media", Key="k", Body=b"3", IfMatch=etag)
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="media", Key="k", Body=b"4", IfMatch=etag)
    assert code_of(caught) == "PreconditionFailed"
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="media", Key="none", Body=b"5", IfMatch=etag)
    assert code_of(caught) == "NoSuchKey"
    assert s3.get_object(Bucket="media", Key="k")["Body"].read() == b"3"


def test_a_multipart_upload_becomes_one_object(s3: Any) -> None:
    s3.put_object(Bucket="media", Key="source", Body=b"s" * 6 * MIB)
    upload = s3.create_multipart_upload(Bucket="media", Key="big")["UploadId"]
    named: dict[str, Any] = {"Bucket": "media", "Key": "big", "UploadId": upload}
    bodies = [os.urandom(5 * MIB), b"", b"tail"]
    etags = {1: s3.upload_part(**named, PartNumber=1, Body=bodies[0])["ETag"]}
    copied = s3.upload_part_copy(
        **named, PartNumber=2, CopySource="media/source", CopySourceRange=f"bytes=0-{5 * MIB - 1}"
    )
    etags[2] = copied["CopyPartResult"]["ETag"]
    etags[3] = s3.upload_part(**named, PartNumber=3, Body=bodies[2])["ETag"]
    assert [each["PartNumber"] for each in s3.list_parts(**named)["Parts"]] == [1, 2, 3]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in etags.items()]
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    again = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert done["ETag"] == again["ETag"]
    whole = bodies[0] + b"s" * 5 * MIB + b"tail"
    assert s3.get_object(Bucket="media", Key="big")["Body"].read() == whole
    span = f"bytes={5 * MIB - 10}-{10 * MIB + 1}"
    middle = s3.get_object(Bucket="media", Key="big", Range=span)["Body"].read()
    assert middle == whole[5 * MIB - 10 : 10 * MIB + 2]
    second = s3.get_object(Bucket="media", Key="big", PartNumber=2)
    assert (second["PartsCount"], second["ContentLength"]) == (3, 5 * MIB)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="media")


def test_of_a_part_that_is_named_twice_the_later_counts(s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket="media", Key="twice")["UploadId"]
    named = {"Bucket": "media", "Key": "twice", "UploadId": upload}
    tags = [
        s3.upload_part(**named, PartNumber=1, Body=body)["ETag"] for body in (b"first", b"second")
    ]
    for order, code in (((1, 0), "InvalidPart"), ((0, 1), None)):
        parts = [{"PartNumber": 1, "ETag": tags[each]} for each in order]
        if code is None:
            s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
        else:
            with pytest.raises(ClientError, match=code):
                s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="media", Key="twice")["Body"].read() == b"second"


def test_versions_are_kept_and_markers_hide(s3: Any) -> None:
    s3.put_bucket_versioning(Bucket="media", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="media", Key="k", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket="media", Key="k", Body=b"2")["VersionId"]
    marker = s3.delete_object(Bucket="media", Key="k")["VersionId"]
    listed = s3.list_object_versions(Bucket="media")
    assert [each["VersionId"] for each in listed["Versions"]] == [second, first]
    assert listed["DeleteMarkers"][0]["VersionId"] == marker
    got = s3.get_object(Bucket="media", Key="k", VersionId=first)
    assert got["Body"].read() == b"1"
    s3.delete_object(Bucket="media", Key="k", VersionId=marker)
    assert s3.get_object(Bucket="media", Key="k")["Body"].read() == b"2"


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_path_before_the_bucket_is_signed_or_not_as_the_version_wants(
    served: Any, version: str
) -> None:
    prefix = "/%40shop/main/%40media"
    s3 = served.client(signature_version=version)
    s3.put_object(Bucket="media", Key="a b", Body=b"hello")
    beyond = served.client(path="/@shop/main/@media", signature_version=version)
    url = beyond.generate_presigned_url("get_object", Params={"Bucket": "media", "Key": "a b"})
    assert prefix in url
    behind = url.replace(prefix, "", 1)
    request = urllib.request.Request(behind, headers={"x-forwarded-prefix": prefix})
    with urllib.request.urlopen(request) as answer:
        assert answer.read() == b"hello"
    request = urllib.request.Request(behind, headers={"x-forwarded-prefix": f"{prefix}2"})
    if version == "s3v4":
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value:
            assert caught.value.code == 403


@pytest.mark.parametrize("version", [None, "s3v4"])
def test_presigned_urls_open_one_object_until_they_expire(served: Any, version: str | None) -> None:
    s3 = served.client(signature_version=version)
    key = {"Bucket": "media", "Key": "k +&?"}
    put = s3.generate_presigned_url("put_object", Params=key, ExpiresIn=60)
    request = urllib.request.Request(put, data=b"hello", method="PUT", headers={"Content-Type": ""})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    get = s3.generate_presigned_url("get_object", Params=key, ExpiresIn=60)
    with urllib.request.urlopen(get) as answer:
        assert answer.read() == b"hello"
    endpoint = f"http://127.0.0.1:{served.port}"
    expired = endpoint + sigv4.presign(
        "GET",
        f"127.0.0.1:{served.port}",
        "/media/k%20%2B%26%3F",
        (served.engine.account.owner.access_key, served.engine.account.owner.secret),
        served.engine.account.now() - 120 * 10**9,
        60,
    )
    for broken in (get.replace("k%20", "j%20"), get.split("?", 1)[0], expired):
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(broken)
        assert caught.value.code == 403
        caught.value.close()
    owner = owner_credential(served.engine.context.id, served.engine.context.keys)
    ask = Presign("media", "k +&?", "GET", 60, endpoint)
    url = presign(served.engine.context, BucketConfig(), owner, ask)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"hello"


def post_form(url: str, fields: dict[str, str], body: bytes) -> int:
    mark = "----form"
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    data = ("".join(parts) + head).encode() + body + f"\r\n--{mark}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize(("version", "field"), [(None, "signature"), ("s3v4", "x-amz-signature")])
def test_a_form_may_upload_what_its_policy_allows(
    served: Any, version: str | None, field: str
) -> None:
    s3 = served.client(signature_version=version)
    form = s3.generate_presigned_post(
        "media", "up/${filename}", Conditions=[["content-length-range", 1, 200_000]]
    )
    body = b"--almost a boundary\r\n" * 5000
    assert post_form(form["url"], form["fields"], body) == 204
    assert s3.get_object(Bucket="media", Key="up/f")["Body"].read() == body
    assert post_form(form["url"], form["fields"], b"x" * 200_001) == 400
    assert post_form(form["url"], {**form["fields"], "acl": "public-read"}, b"x") == 403
    changed = {**form["fields"], field: "0" * 64}
    assert post_form(form["url"], changed, b"x") == 403
    assert [each["Key"] for each in s3.list_objects_v2(Bucket="media")["Contents"]] == ["up/f"]


def test_a_bucket_may_be_named_by_the_host(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if str(name).endswith(".localhost") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for host in ("media--main--app.localhost", "localhost"):
        client = served.client(host, s3={"addressing_style": "virtual"})
        client.put_object(Bucket="media", Key="a/b", Body=host.encode())
        assert client.get_object(Bucket="media", Key="a/b")["Body"].read() == host.encode()


def test_a_path_prefix_that_the_router_took_off_is_signed(served: Any) -> None:
    account = served.engine.account
    url = f"http://127.0.0.1:{served.port}/@app/main/media/media?list-type=2&prefix=a%20b"
    request = AWSRequest("GET", url, headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    keys = Credentials(account.owner.access_key, account.owner.secret)
    SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
    parts = urlsplit(url)
    for prefix, status in (("/@app/main/media", 200), ("/@app/main/other", 403)):
        connection = http.client.HTTPConnection("127.0.0.1", served.port)
        path = parts.path.removeprefix("/@app/main/media")
        headers = {**dict(request.headers.items()), "X-Forwarded-Prefix": prefix}
        connection.request("GET", f"{path}?{parts.query}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        connection.close()


def test_strangers_get_only_what_a_policy_gives(served: Any, s3: Any) -> None:
    s3.put_object(Bucket="media", Key="open/a", Body=b"a")
    s3.put_object(Bucket="media", Key="shut/a", Body=b"a")
    anonymous = served.client(signature_version=UNSIGNED)
    with pytest.raises(ClientError) as caught:
        anonymous.get_object(Bucket="media", Key="open/a")
    assert code_of(caught) == "AccessDenied"
    policy = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
        '"Action":"s3:GetObject","Resource":"arn:aws:s3:::media/open/*"}]}'
    )
    s3.put_bucket_policy(Bucket="media", Policy=policy)
    assert anonymous.get_object(Bucket="media", Key="open/a")["Body"].read() == b"a"
    refusals: tuple[Any, ...] = (
        lambda: anonymous.get_object(Bucket="media", Key="shut/a"),
        lambda: anonymous.put_object(Bucket="media", Key="open/a", Body=b"b"),
        lambda: anonymous.list_objects_v2(Bucket="media"),
        anonymous.list_buckets,
    )
    for refused in refusals:
        with pytest.raises(ClientError) as caught:
            refused()
        assert code_of(caught) == "AccessDenied"


def test_a_granted_user_has_a_key_of_its_own_until_it_is_revoked(served: Any, s3: Any) -> None:
    key = served.do(served.engine.word_grant(UserParams("press")))
    assert key.access_key.startswith("SKRY0123456789ABCDEF")
    press = served.client(name="press")
    with pytest.raises(ClientError) as caught:
        press.list_objects_v2(Bucket="media")
    assert code_of(caught) == "AccessDenied"
    s3.put_object(Bucket="media", Key="k", Body=b"1", GrantRead=f"id={key.user_id}")
    assert press.get_object(Bucket="media", Key="k")["Body"].read() == b"1"
    served.do(served.engine.word_revoke(UserParams("press")))
    with pytest.raises(ClientError) as caught:
        press.get_object(Bucket="media", Key="k")
    assert code_of(caught) == "InvalidAccessKeyId"


def test_a_customers_key_opens_what_it_shut(served: Any, s3: Any) -> None:
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}
    body = b"secret" * 20_000
    s3.put_object(Bucket="media", Key="k", Body=body, **key)
    assert s3.get_object(Bucket="media", Key="k", **key)["Body"].read() == body
    ranged = s3.get_object(Bucket="media", Key="k", Range="bytes=12345-100000", **key)
    assert ranged["Body"].read() == body[12345:100001]
    with pytest.raises(ClientError):
        s3.get_object(Bucket="media", Key="k")
    with pytest.raises(ClientError):
        s3.get_object(Bucket="media", Key="k", **{**key, "SSECustomerKey": b"x" * 32})
    files = [each for each in served.engine.context.directory.rglob("*") if each.is_file()]
    assert not any(b"secretsecret" in each.read_bytes() for each in files)


def test_a_copy_shares_content_and_outlives_its_source(served: Any, s3: Any) -> None:
    body = os.urandom(50_000)
    s3.put_object(Bucket="media", Key="one", Body=body)
    s3.copy_object(Bucket="media", Key="two", CopySource="media/one")
    status = served.do(served.engine.status())
    assert (status["objects"], status["stored_bytes"]) == (2, 50_000)
    s3.delete_object(Bucket="media", Key="one")
    assert s3.get_object(Bucket="media", Key="two")["Body"].read() == body


def test_units_are_counted(served: Any, s3: Any) -> None:
    counts = served.engine.context.meter.counts
    counts.clear()
    s3.put_object(Bucket="media", Key="k", Body=b"x" * 1000)
    s3.get_object(Bucket="media", Key="k")["Body"].read()
    expected = {"class_a": 1, "class_b": 1, "bytes_in": 1000, "bytes_out": 1000}
    assert counts == {**expected, "stored_bytes": 1000}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/media/%ff", {}, b"", 400),
        ("GET", "/media?prefix=%ff", {}, b"", 400),
        ("PUT", "/media/" + "k" * 1025, {}, b"", 400),
        ("PATCH", "/media/k", {}, b"", 405),
        ("GET", "/", {"Authorization": "nonsense"}, b"", 400),
        ("GET", "/", {"Authorization": "AWS4-HMAC-SHA256 x"}, b"", 400),
        ("GET", "/", {"Authorization": "AWS SKRY:abc"}, b"", 403),
        ("GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256", {}, b"", 400),
        ("PUT", "/media/k", {"x-amz-content-sha256": "STREAMING-X"}, b"abc", 403),
        ("POST", "/media", {"Content-Type": "multipart/form-data; boundary=b"}, b"--b\r\n", 400),
    ],
)
def test_garbage_gets_an_error_and_changes_nothing(
    served: Any, s3: Any, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    connection.request(method, path, body=body or None, headers=headers)
    answer = connection.getresponse()
    assert (answer.status, answer.read()[:5]) == (status, b"<?xml")
    connection.close()
    assert "Contents" not in s3.list_objects_v2(Bucket="media")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a",
        b"<Delete></Delete>",
        b"<!DOCTYPE d [<!ENTITY a 'b'>]><Delete>&a;</Delete>",
        b"<a>" * 40,
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
    ],
)
def test_bad_xml_is_refused(served: Any, body: bytes) -> None:
    account = served.engine.account
    url = f"http://127.0.0.1:{served.port}/media?delete="
    headers = {"x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
    request = AWSRequest("POST", url, data=body, headers=headers)
    keys = Credentials(account.owner.access_key, account.owner.secret)
    SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    connection.request("POST", "/media?delete=", body=body, headers=dict(request.headers.items()))
    answer = connection.getresponse()
    assert (answer.status, b"MalformedXML" in answer.read()) == (400, True)
    connection.close()
