"""The calls of S3 that the SDK makes: results of tasks, and files of hybrid jobs.

Results of tasks are made of the jobs when they are asked for, so that they can only be read, in
every bucket that a task names. Sources, inputs, checkpoints and results of hybrid jobs are files
that are kept (`hybrid.files`). A bucket need not be made: it is there when something is in it.

    GET, HEAD /{bucket}/{key}   GET /{bucket}?list-type=2   HEAD, PUT /{bucket}
    PUT /{bucket}/{key}, also as a copy                     DELETE /{bucket}/{key}
    POST …?uploads, PUT …?partNumber&uploadId, POST …?uploadId, DELETE …?uploadId
"""

from __future__ import annotations

import hashlib
import re
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.kinds._shared.s3 import times, xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds._shared.s3.xml import Element, document
from skerry.kinds.quantum.contract import Job
from skerry.kinds.quantum.hybrid import files
from skerry.kinds.quantum.wires.braket import names, programs, results, tasks
from skerry.kinds.quantum.wires.frame import Call, Reply

FILE = "results.json"
LIST_MAX = 1000
PARTS_MAX = 1000
_XML = "application/xml"
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_UPLOAD = re.compile(r"[0-9a-f-]{36}")
_encoder = msgspec.json.Encoder()


class _Content(NamedTuple):
    """What an object holds, and what is told of it."""

    body: bytes
    etag: str
    at: int
    kind: str


async def answer(call: Call) -> Reply:
    """Answer one request of S3; raise S3Error."""
    bucket, _, key = call.path.lstrip("/").partition("/")
    try:
        if key:
            return await _keyed(call, bucket, key)
    except SkerryError as error:
        if error.problem is NOT_FOUND:
            raise _missing(key) from error
        raise S3Error("InvalidRequest", f"{error.what} {error.why}".strip()) from error
    if call.method == "GET" and call.query.get("list-type") == "2":
        return await _list(call, bucket)
    if call.method == "HEAD" and bucket:
        return Reply(status=200, kind=_XML)
    if call.method == "PUT" and bucket:
        raise S3Error("BucketAlreadyOwnedByYou", "Buckets need not be made here.")
    raise _unknown()


def _unknown() -> S3Error:
    return S3Error("NotImplemented", "Of S3, only what Braket's SDK calls is here.")


def _missing(key: str) -> S3Error:
    return S3Error("NoSuchKey", "The specified key does not exist.", fields={"Key": key[:1024]})


async def _keyed(call: Call, bucket: str, key: str) -> Reply:
    upload = call.query.get("uploadId", "")
    if call.method in ("GET", "HEAD"):
        return _sent(call, await _read(call, bucket, key))
    if _BUCKET.fullmatch(bucket) is None:
        raise S3Error("InvalidBucketName", "The specified bucket is not valid.")
    if call.method == "POST" and "uploads" in call.query:
        return await _begin(call, bucket, key)
    if call.method == "PUT" and upload:
        return await _part(call, upload)
    if call.method == "POST" and upload:
        return await _complete(call, bucket, key, upload)
    if call.method == "DELETE" and upload:
        await _forget(call, upload)
        return Reply(status=204)
    if call.method == "PUT" and "x-amz-copy-source" in call.headers:
        return await _copy(call, bucket, key)
    if call.method == "PUT":
        kind = call.headers.get("content-type", "")
        made = await call.desk.stored(files.put, bucket, key, await call.body(), kind)
        return Reply(headers={"etag": f'"{made.etag}"'}, kind=_XML)
    if call.method == "DELETE":
        await call.desk.stored(files.remove, bucket, key)
        return Reply(status=204)
    raise _unknown()


async def _read(call: Call, bucket: str, key: str) -> _Content:
    """Return a kept file, or else the results of a task; raise NOT_FOUND or S3Error."""
    found = await call.desk.stored(files.find, bucket, key)
    if found is None:
        return await _results(call, bucket, key)
    data = await call.desk.stored(files.read, bucket, key)
    return _Content(data, found.etag, found.at, found.kind or "binary/octet-stream")


def _sent(call: Call, found: _Content) -> Reply:
    """Return an object, or the part of it that is asked for."""
    headers = {
        "etag": f'"{found.etag}"',
        "last-modified": formatdate(found.at / times.NANOSECONDS, usegmt=True),
        "accept-ranges": "bytes",
    }
    asked = _RANGE.fullmatch(call.headers.get("range", ""))
    if asked is None or not (asked[1] or asked[2]):
        return Reply(found.body, 200, headers, found.kind)
    size = len(found.body)
    first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
    last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
    if first > last:
        raise S3Error("InvalidRange", "The requested range is not satisfiable.")
    headers["content-range"] = f"bytes {first}-{last}/{size}"
    return Reply(found.body[first : last + 1], 206, headers, found.kind)


async def _copy(call: Call, bucket: str, key: str) -> Reply:
    source = unquote(call.headers["x-amz-copy-source"]).lstrip("/").partition("?")[0]
    found = await _read(call, source.partition("/")[0], source.partition("/")[2])
    made = await call.desk.stored(files.put, bucket, key, found.body, found.kind)
    root = Element("CopyObjectResult")
    root.add("ETag", f'"{made.etag}"')
    root.add("LastModified", names.moment(made.at))
    return Reply(document(root), kind=_XML)


def _parts(upload: str) -> str:
    """Return where the parts of an upload are kept: in no bucket that could be named."""
    if _UPLOAD.fullmatch(upload) is None:
        raise S3Error("NoSuchUpload", "The specified upload does not exist.")
    return f"{files.UPLOAD_MARK}{upload}"


async def _begin(call: Call, bucket: str, key: str) -> Reply:
    await call.desk.stored(files.forget_uploads)
    root = Element("InitiateMultipartUploadResult")
    root.add("Bucket", bucket)
    root.add("Key", key)
    root.add("UploadId", call.desk.new_id())
    return Reply(document(root), kind=_XML)


async def _part(call: Call, upload: str) -> Reply:
    number = call.query.get("partNumber", "")
    if not re.fullmatch("[0-9]{1,5}", number) or not 1 <= int(number) <= PARTS_MAX:
        raise S3Error("InvalidArgument", f"Parts are numbered 1 to {PARTS_MAX}.")
    body = await call.body()
    made = await call.desk.stored(files.put, _parts(upload), f"{int(number):05}", body)
    return Reply(headers={"etag": f'"{made.etag}"'}, kind=_XML)


async def _complete(call: Call, bucket: str, key: str, upload: str) -> Reply:
    """Put the parts that are named together, in their order."""
    try:
        wanted = list(xml.parse(await call.body()).all("Part"))
    except xml.MalformedXMLError as error:
        raise S3Error("MalformedXML", "The XML you provided was not well-formed.") from error
    kept = {each.key: each for each in await call.desk.stored(files.below, _parts(upload), "")}
    body = bytearray()
    for each in wanted:
        number = f"{each.get('PartNumber'):0>5}"
        part = kept.get(number)
        if part is None or each.get("ETag").strip('"') != part.etag:
            raise S3Error("InvalidPart", "A part is not there, or is not what it was.")
        body += await call.desk.stored(files.read, _parts(upload), number)
    made = await call.desk.stored(files.put, bucket, key, bytes(body))
    await _forget(call, upload)
    root = Element("CompleteMultipartUploadResult")
    root.add("Bucket", bucket)
    root.add("Key", key)
    root.add("ETag", f'"{made.etag}"')
    return Reply(document(root), kind=_XML)


async def _forget(call: Call, upload: str) -> None:
    for each in await call.desk.stored(files.below, _parts(upload), ""):
        await call.desk.stored(files.remove, each.bucket, each.key)


def _file(job: Job) -> str | None:
    """Return the key of a task's results, if there are any."""
    native = tasks.native_of(job)
    partly = native.kind == programs.PROGRAM_SET and job.over
    if job.state.value != "COMPLETED" and not partly:
        return None
    return f"{native.directory(job.id)}/{FILE}"


async def _results(call: Call, bucket: str, key: str) -> _Content:
    """Return the results of a task; raise S3Error if there are none."""
    parts = key.rsplit("/", 2)
    try:
        job = await call.desk.job(parts[1] if len(parts) == 3 else "")
        native = tasks.native_of(job)
    except SkerryError as error:
        raise _missing(key) from error
    if native.bucket != bucket or _file(job) != key:
        raise _missing(key)
    arn = names.task_arn(job.id, native.region, call.desk.context.id)
    found = await call.desk.results(job.id)
    body = _encoder.encode(results.results_json(job, native, found, arn))
    etag = hashlib.sha256(body).hexdigest()[:32]
    return _Content(body, etag, job.ended, "application/json")


async def _list(call: Call, bucket: str) -> Reply:
    """List kept files and the newest results of tasks; those have no size before they are made."""
    prefix = call.query.get("prefix", "")
    after = max(call.query.get("continuation-token", ""), call.query.get("start-after", ""))
    root = Element("ListBucketResult")
    root.add("Name", bucket)
    root.add("Prefix", prefix)
    root.add("MaxKeys", LIST_MAX)
    kept = await call.desk.stored(files.below, bucket, prefix, after, LIST_MAX + 1)
    found: dict[str, tuple[int, int | None]] = {each.key: (each.at, each.size) for each in kept}
    for job in await call.desk.jobs((), LIST_MAX):
        if job.request.native.get("wire") != tasks.WIRE:
            continue
        key = _file(job)
        if key is None or tasks.native_of(job).bucket != bucket:
            continue
        if key.startswith(prefix) and key > after:
            found.setdefault(key, (job.ended, None))
    shown = sorted(found)[:LIST_MAX]
    root.add("KeyCount", len(shown))
    root.add("IsTruncated", "true" if len(found) > len(shown) else "false")
    if len(found) > len(shown):
        root.add("NextContinuationToken", shown[-1])
    for key in shown:
        at, size = found[key]
        entry = root.add("Contents")
        entry.add("Key", key)
        entry.add("LastModified", names.moment(at))
        if size is not None:
            entry.add("Size", size)
        entry.add("StorageClass", "STANDARD")
    return Reply(document(root), kind=_XML)
