"""Multipart uploads: create, upload a part, list, complete, abort."""

from __future__ import annotations

from skerry.kinds._shared.s3 import checksums, times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.access import acl
from skerry.kinds.bucket.state import listing, multipart
from skerry.kinds.bucket.state.database import Db
from skerry.kinds.bucket.state.multipart import PARTS_MAX, Completion, Named, NewPart
from skerry.kinds.bucket.state.records import Bucket, Part, Upload
from skerry.kinds.bucket.wire import encrypting, intake, tagging
from skerry.kinds.bucket.wire.call import Call, Reply, malformed_xml, xml_reply
from skerry.kinds.bucket.wire.listing import add_prefixes, asked, encoder
from skerry.kinds.bucket.wire.writing import condition_of, new_record, stored_headers


async def create(call: Call) -> Reply:
    """CreateMultipartUpload."""
    tags = tagging.from_header(call.headers.get("x-amz-tagging", ""))
    bucket = await call.allow("s3:PutObject", keys=tagging.request_keys(tags))
    record = new_record(call, bucket, call.headers)
    record.tags = tags
    algorithm = call.headers.get("x-amz-checksum-algorithm", "")
    kind = call.headers.get("x-amz-checksum-type", "").upper()
    headers = encrypting.headers_of(record.encryption)
    if algorithm:
        name = intake.algorithm_of(algorithm)
        kind = kind or ("FULL_OBJECT" if name == "CRC64NVME" else "COMPOSITE")
        _check_type(name, kind)
        record.checksums, record.checksum_type = {name: ""}, kind
        headers += [("x-amz-checksum-algorithm", name), ("x-amz-checksum-type", kind)]
    elif kind:
        raise S3Error("InvalidRequest", "A checksum type needs a checksum algorithm.")
    encrypting.key_for(call.account, record.encryption, call.headers)
    upload = await call.store.write(multipart.create, bucket.id, call.key, record, call.now)
    root = xml.Element("InitiateMultipartUploadResult")
    root.add("Bucket", call.bucket_name)
    root.add("Key", call.key)
    root.add("UploadId", upload.id)
    reply = xml_reply(root)
    reply.headers += headers
    return reply


def _check_type(algorithm: str, kind: str) -> None:
    composite = ("CRC32", "CRC32C", "SHA1", "SHA256")
    allowed = composite if kind == "COMPOSITE" else checksums.CRCS
    if kind not in ("COMPOSITE", "FULL_OBJECT") or algorithm not in allowed:
        raise S3Error(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm.lower()} algorithm.",
        )


async def find(call: Call) -> tuple[Bucket, Upload]:
    """Return the upload that the query names, if the user may write to it."""
    bucket = await call.allow("s3:PutObject")
    upload_id = call.query.get("uploadId", "")
    return bucket, await call.store.read(multipart.find, bucket.id, call.key, upload_id)


def part_number(call: Call) -> int:
    """Return the number of the part; raise InvalidArgument."""
    text = call.query.get("partNumber", "")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= PARTS_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PARTS_MAX}, inclusive",
            fields={"ArgumentName": "partNumber", "ArgumentValue": text},
        )
    return int(text)


async def upload_part(call: Call) -> Reply:
    """UploadPart."""
    number = part_number(call)
    _, upload = await find(call)
    key = encrypting.key_for(call.account, upload.record.encryption, call.headers)
    algorithm = next(iter(upload.record.checksums), "")
    taken = await intake.take_in(call, key, algorithm)
    part = Part(number, call.account.now(), taken.size, taken.etag, taken.sums)
    new = NewPart(upload, part, taken.pieces, taken.data, taken.nonce)
    stored = await call.store.adopt(taken, multipart.put_part, call.store.blobs, new)
    call.account.meter.add("stored_bytes", stored)
    headers = [("etag", f'"{part.etag}"'), *encrypting.headers_of(upload.record.encryption)]
    headers += [(f"x-amz-checksum-{name.lower()}", value) for name, value in part.checksums.items()]
    return Reply(headers=headers)


async def list_parts(call: Call) -> Reply:
    """ListParts."""
    bucket = await call.allow("s3:ListMultipartUploadParts")
    name = call.query.get("uploadId", "")
    upload = await call.store.read(multipart.find, bucket.id, call.key, name)
    after = call.number("part-number-marker", 0, 0, PARTS_MAX)
    limit = call.number("max-parts", 1000, 0, 1000)
    found = await call.store.read(multipart.parts, upload.id, after, limit + 1)
    root = xml.Element("ListPartsResult")
    root.add("Bucket", call.bucket_name)
    root.add("Key", call.key)
    root.add("UploadId", upload.id)
    owner = (upload.record.owner, call.account.name_of(upload.record.owner))
    acl.add_owner(root, "Initiator", owner)
    acl.add_owner(root, "Owner", owner)
    root.add("StorageClass", upload.record.storage_class)
    root.add("PartNumberMarker", after)
    shown = found[:limit]
    root.add("NextPartNumberMarker", shown[-1].number if shown else 0)
    root.add("MaxParts", limit)
    root.add("IsTruncated", "true" if len(found) > limit else "false")
    for algorithm in upload.record.checksums:
        root.add("ChecksumAlgorithm", algorithm)
        root.add("ChecksumType", upload.record.checksum_type)
    for part in shown:
        each = root.add("Part")
        each.add("PartNumber", part.number)
        each.add("LastModified", times.iso(part.modified))
        each.add("ETag", f'"{part.etag}"')
        each.add("Size", part.size)
        for algorithm, value in part.checksums.items():
            each.add(f"Checksum{algorithm}", value)
    return xml_reply(root)


async def list_uploads(call: Call) -> Reply:
    """ListMultipartUploads."""
    bucket = await call.allow("s3:ListBucketMultipartUploads")
    encode = encoder(call)
    after, marker = call.query.get("key-marker", ""), call.query.get("upload-id-marker", "")
    query = asked(call, after, "max-uploads")
    page = await call.store.read(listing.uploads, bucket.id, query, marker or "\U0010ffff")
    root = xml.Element("ListMultipartUploadsResult")
    root.add("Bucket", call.bucket_name)
    root.add("KeyMarker", encode(after))
    root.add("UploadIdMarker", marker)
    if page.truncated:
        root.add("NextKeyMarker", encode(page.last))
        root.add("NextUploadIdMarker", page.last_item.id if page.last_item else "")
    root.add("Prefix", encode(query.prefix))
    if query.delimiter:
        root.add("Delimiter", encode(query.delimiter))
    root.add("MaxUploads", query.limit)
    if call.query.get("encoding-type"):
        root.add("EncodingType", "url")
    root.add("IsTruncated", "true" if page.truncated else "false")
    for upload in page.items:
        each = root.add("Upload")
        each.add("Key", encode(upload.key))
        each.add("UploadId", upload.id)
        owner = (upload.record.owner, call.account.name_of(upload.record.owner))
        acl.add_owner(each, "Initiator", owner)
        acl.add_owner(each, "Owner", owner)
        each.add("StorageClass", upload.record.storage_class)
        each.add("Initiated", times.iso(upload.started))
        for algorithm in upload.record.checksums:
            each.add("ChecksumAlgorithm", algorithm)
            each.add("ChecksumType", upload.record.checksum_type)
    add_prefixes(root, page, encode)
    return xml_reply(root)


async def complete(call: Call) -> Reply:
    """CompleteMultipartUpload."""
    bucket = await call.allow("s3:PutObject")
    named = _named(await call.xml("CompleteMultipartUpload"))
    size = call.headers.get("x-amz-mp-object-size", "")
    if size and not size.isdigit():
        raise S3Error("InvalidArgument", "x-amz-mp-object-size must be a number.")
    ask = Completion(
        bucket,
        call.key,
        call.query.get("uploadId", ""),
        named,
        condition_of(call.headers),
        call.now,
        intake.stated(call.headers),
        int(size) if size else None,
    )
    await _check_key(call, ask)
    version = await call.store.write(multipart.complete, call.store.blobs, ask)
    call.store.rubbish()
    root = xml.Element("CompleteMultipartUploadResult")
    root.add("Location", f"http://{call.headers.get('host', '')}{call.request.path}")
    root.add("Bucket", call.bucket_name)
    root.add("Key", call.key)
    root.add("ETag", f'"{version.etag}"')
    for algorithm, value in version.record.checksums.items():
        root.add(f"Checksum{algorithm}", value)
        root.add("ChecksumType", version.record.checksum_type)
    reply = xml_reply(root)
    reply.headers += stored_headers(bucket, version)
    reply.headers += encrypting.headers_of(version.record.encryption)
    return reply


async def _check_key(call: Call, ask: Completion) -> None:
    """Raise InvalidRequest unless a customer's key, if the upload has one, is given again."""

    def read(db: Db) -> Upload | None:
        try:
            return multipart.find(db, ask.bucket.id, ask.key, ask.upload)
        except S3Error:
            return None

    upload = await call.store.read(read)
    encryption = upload.record.encryption if upload else None
    if encryption is not None and encryption.mode == encrypting.CUSTOMER:
        encrypting.key_for(call.account, encryption, call.headers)


def _named(root: xml.Element) -> list[Named]:
    found = []
    for part in root.all("Part"):
        number = part.get("PartNumber")
        if not number.isascii() or not number.isdigit() or len(number) > 6:
            raise malformed_xml()
        sums = {
            name: part.get(f"Checksum{name}")
            for name in checksums.SIZES
            if part.get(f"Checksum{name}")
        }
        found.append(Named(int(number), part.get("ETag").strip('"'), sums))
    if not found or len(found) > PARTS_MAX:
        raise malformed_xml()
    return found


async def abort(call: Call) -> Reply:
    """AbortMultipartUpload."""
    bucket = await call.allow("s3:AbortMultipartUpload")
    name = call.query.get("uploadId", "")
    upload = await call.store.read(multipart.find, bucket.id, call.key, name)
    await call.store.write(multipart.remove, upload.id, call.now)
    call.store.rubbish()
    return Reply(204)


ROUTES = {
    ("object", "POST", "uploads"): create,
    ("object", "PUT", "uploadId"): upload_part,
    ("object", "GET", "uploadId"): list_parts,
    ("object", "POST", "uploadId"): complete,
    ("object", "DELETE", "uploadId"): abort,
    ("bucket", "GET", "uploads"): list_uploads,
}
