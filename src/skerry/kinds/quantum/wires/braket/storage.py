"""The calls of S3 by which results are fetched: every bucket that a task names is readable here.

Files are made of the jobs when they are asked for, so that there is nothing to write, and writing
is refused.
"""

from __future__ import annotations

import hashlib
from email.utils import formatdate

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.s3 import times
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds._shared.s3.xml import Element, document
from skerry.kinds.quantum.contract import Job
from skerry.kinds.quantum.wires.braket import names, programs, results, tasks
from skerry.kinds.quantum.wires.frame import Call, Reply

FILE = "results.json"
LIST_MAX = 1000
_XML = "application/xml"
_encoder = msgspec.json.Encoder()


async def answer(call: Call) -> Reply:
    """Answer one request of S3; raise S3Error."""
    bucket, _, key = call.path.lstrip("/").partition("/")
    if call.method in ("GET", "HEAD") and key:
        return await _object(call, bucket, key)
    if call.method == "GET" and call.query.get("list-type") == "2":
        return await _list(call, bucket)
    if call.method == "HEAD" and bucket:
        return Reply(status=200, kind=_XML)
    if call.method == "PUT" and not key:
        raise S3Error("BucketAlreadyOwnedByYou", "Buckets of results need not be made.")
    if call.method in ("PUT", "POST", "DELETE"):
        raise S3Error("AccessDenied", "Buckets of results are read only; use a bucket resource.")
    raise S3Error("NotImplemented", "Of S3, only reading and listing results is here.")


def _file(job: Job) -> str | None:
    """Return the key of a task's results, if there are any."""
    native = tasks.native_of(job)
    partly = native.kind == programs.PROGRAM_SET and job.over
    if job.state.value != "COMPLETED" and not partly:
        return None
    return f"{native.directory(job.id)}/{FILE}"


async def _object(call: Call, bucket: str, key: str) -> Reply:
    missing = S3Error("NoSuchKey", "The specified key does not exist.", fields={"Key": key[:1024]})
    parts = key.rsplit("/", 2)
    try:
        job = await call.desk.job(parts[1] if len(parts) == 3 else "")
        native = tasks.native_of(job)
    except SkerryError as error:
        raise missing from error
    if native.bucket != bucket or _file(job) != key:
        raise missing
    arn = names.task_arn(job.id, native.region, call.desk.context.id)
    found = await call.desk.results(job.id)
    body = _encoder.encode(results.results_json(job, native, found, arn))
    headers = {
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "last-modified": formatdate(job.ended / times.NANOSECONDS, usegmt=True),
    }
    return Reply(body, 200, headers)


async def _list(call: Call, bucket: str) -> Reply:
    """List the newest files of a bucket; sizes are not known before a file is made."""
    prefix = call.query.get("prefix", "")
    root = Element("ListBucketResult")
    root.add("Name", bucket)
    root.add("Prefix", prefix)
    root.add("MaxKeys", LIST_MAX)
    found: list[tuple[str, int]] = []
    for job in await call.desk.jobs((), LIST_MAX):
        if job.request.native.get("wire") != tasks.WIRE:
            continue
        key = _file(job)
        if key is not None and key.startswith(prefix) and tasks.native_of(job).bucket == bucket:
            found.append((key, job.ended))
    root.add("KeyCount", len(found))
    root.add("IsTruncated", "false")
    for key, ended in sorted(found):
        entry = root.add("Contents")
        entry.add("Key", key)
        entry.add("LastModified", names.moment(ended))
        entry.add("StorageClass", "STANDARD")
    return Reply(document(root), kind=_XML)
