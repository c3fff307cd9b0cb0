"""The part of Azure's Blob storage that jobs need, at signed addresses and no others.

    PUT  /{account}/{container}?restype=container      it is there already, as a service makes it
    HEAD, GET …?restype=container[&comp=list]
    PUT  /{account}/{container}/{blob}                 a block blob; ?comp=block, ?comp=blocklist
    GET, HEAD …                                        with a range; results are made of the job
    DELETE …

Source: azure-storage-blob 12, and the REST reference of Blob storage.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from skerry.kernel.errors import (
    ALREADY_EXISTS,
    CONFLICT,
    DENIED,
    INVALID,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNSUPPORTED,
    Problem,
    SkerryError,
)
from skerry.kinds._shared.s3.xml import Element, MalformedXMLError, document, parse
from skerry.kinds.quantum.wires.azure import blobs, estimates, jobs, names, signing
from skerry.kinds.quantum.wires.azure.blobs import Blob
from skerry.kinds.quantum.wires.frame import Call, Reply

_XML = "application/xml"
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{0,12})")
_METADATA = "x-ms-meta-"
_RIGHTS = {"GET": "r", "HEAD": "r", "PUT": "w", "DELETE": "w"}
_CODES: dict[Problem, tuple[int, str]] = {
    ALREADY_EXISTS: (409, "BlobAlreadyExists"),
    CONFLICT: (409, "ContainerAlreadyExists"),
    DENIED: (403, "AuthorizationPermissionMismatch"),
    INVALID: (400, "InvalidInput"),
    NOT_FOUND: (404, "BlobNotFound"),
    TOO_LARGE: (413, "RequestBodyTooLarge"),
    UNAUTHENTICATED: (403, "AuthenticationFailed"),
    UNSUPPORTED: (400, "UnsupportedHttpVerb"),
}


async def answer(call: Call) -> Reply:
    """Answer one request at the address of a container or a blob."""
    container = names.container(call.parts[1] if len(call.parts) > 1 else "")
    blob = "/".join(call.parts[2:])
    right = "l" if call.query.get("comp") == "list" else _RIGHTS.get(call.method, "")
    if not right:
        raise UNSUPPORTED(f"{call.method[:10]} is not done with blobs.")
    signing.check(call.desk.context, call.query, (container, blob), right)
    if not blob:
        return await _container(call, container)
    names.blob(blob)
    if call.method in ("GET", "HEAD"):
        return _shown(call, await _find(call, container, blob))
    if blob == names.OUTPUT and await jobs.has(call, names.job_of(container)):
        raise DENIED("The results of a job are only read.")
    if call.method == "DELETE":
        await _find(call, container, blob)
        await call.desk.stored(blobs.remove, container, blob)
        return Reply(status=202)
    return await _put(call, container, blob)


async def _container(call: Call, container: str) -> Reply:
    if call.query.get("restype") != "container":
        raise INVALID("An address without a blob is that of a container: restype=container.")
    if call.method == "PUT":
        raise CONFLICT(f"The container {container} is there.")
    if call.method == "DELETE":
        raise UNSUPPORTED("Containers go with their job.")
    if call.query.get("comp") == "list":
        return await _list(call, container)
    return Reply(headers={"etag": '"1"', "last-modified": _date(0)}, kind=_XML)


async def _find(call: Call, container: str, blob: str) -> Blob:
    """Return a blob that came, or the one that a job's results make; raise NOT_FOUND."""
    if blob == names.OUTPUT:
        found = await _output(call, container)
        if found is not None:
            return found
    return await call.desk.stored(blobs.get, container, blob)


async def _output(call: Call, container: str) -> Blob | None:
    job_id = names.job_of(container)
    return await jobs.output(call, job_id) or await estimates.output(call, job_id)


async def _list(call: Call, container: str) -> Reply:
    found = await call.desk.stored(blobs.within, container)
    output = await _output(call, container)
    found = sorted((*found, *([output] if output else [])), key=lambda each: each.name)
    prefix = call.query.get("prefix", "")
    root = Element("EnumerationResults")
    root.attributes["ContainerName"] = container
    root.add("Prefix", prefix)
    rows = root.add("Blobs")
    for each in found:
        if not each.name.startswith(prefix):
            continue
        row = rows.add("Blob")
        row.add("Name", each.name)
        told = row.add("Properties")
        told.add("Creation-Time", _date(each.changed))
        told.add("Last-Modified", _date(each.changed))
        told.add("Etag", _etag(each))
        told.add("Content-Length", each.size)
        told.add("Content-Type", each.kind)
        told.add("Content-Encoding", each.encoding)
        told.add("BlobType", "BlockBlob")
    root.add("NextMarker")
    return Reply(document(root, ""), kind=_XML)


def _shown(call: Call, blob: Blob) -> Reply:
    """Return a blob, or the part of it that is asked for."""
    headers = {
        "etag": _etag(blob),
        "last-modified": _date(blob.changed),
        "x-ms-creation-time": _date(blob.changed),
        "x-ms-blob-type": "BlockBlob",
        "x-ms-server-encrypted": "false",
        "x-ms-version": signing.VERSION,
        "accept-ranges": "bytes",
    }
    headers |= {f"{_METADATA}{name}": value for name, value in blob.metadata.items()}
    if blob.encoding:
        headers["content-encoding"] = blob.encoding
    if call.headers.get("if-match", headers["etag"]) not in (headers["etag"], "*"):
        raise _told(412, "ConditionNotMet", "The blob is another one by now.")
    data = blob.data
    wanted = call.headers.get("x-ms-range") or call.headers.get("range")
    if call.method == "HEAD" or not wanted:
        return Reply(data, headers=headers, kind=blob.kind)
    asked = _RANGE.fullmatch(wanted)
    if asked is None:
        raise INVALID(f"{wanted[:60]!r} is no range of bytes.")
    first, last = int(asked[1]), min(int(asked[2] or blob.size), blob.size - 1)
    if first >= blob.size or last < first:
        raise _told(416, "InvalidRange", f"The blob has {blob.size} bytes.")
    headers["content-range"] = f"bytes {first}-{last}/{blob.size}"
    return Reply(data[first : last + 1], 206, headers, blob.kind)


async def _put(call: Call, container: str, name: str) -> Reply:
    comp, now = call.query.get("comp", ""), call.desk.context.clock.now()
    fresh = call.headers.get("if-none-match") == "*"
    data = await call.body(blobs.BLOB_BYTES_MAX)
    shown: dict[str, Any] = {
        "kind": call.headers.get("x-ms-blob-content-type", "application/octet-stream"),
        "encoding": call.headers.get("x-ms-blob-content-encoding", ""),
        "metadata": {
            key.removeprefix(_METADATA): value
            for key, value in call.headers.items()
            if key.startswith(_METADATA)
        },
    }
    if comp == "block":
        blob = blobs.packed(name, data, now)
        block = unquote(call.query.get("blockid", ""))
        await call.desk.stored(blobs.stage, container, name, block, blob)
        return Reply(status=201, headers={"x-ms-request-server-encrypted": "false"})
    if comp == "blocklist":
        empty = blobs.packed(name, b"", now, **shown)
        blob = await call.desk.stored(blobs.commit, container, empty, _blocks(data), fresh=fresh)
    elif comp or call.headers.get("x-ms-blob-type") != "BlockBlob":
        raise INVALID("Only block blobs are kept here, and only whole or by blocks.")
    else:
        blob = blobs.packed(name, data, now, **shown)
        await call.desk.stored(blobs.keep, container, blob, fresh=fresh)
    headers = {
        "etag": _etag(blob),
        "last-modified": _date(now),
        "x-ms-request-server-encrypted": "false",
        "x-ms-version": signing.VERSION,
    }
    return Reply(status=201, headers=headers)


def _blocks(data: bytes) -> list[str]:
    """Return the ids of a list of blocks; raise INVALID."""
    try:
        root = parse(data)
    except MalformedXMLError as error:
        raise INVALID("The list of blocks is no XML.", why=str(error)) from error
    if root.name != "BlockList":
        raise INVALID("The body is no BlockList.")
    return [each.text.strip() for each in root.children]


def _etag(blob: Blob) -> str:
    return f'"0x{hashlib.sha256(blob.packed).hexdigest()[:16].upper()}"'


def _date(nanoseconds: int) -> str:
    return formatdate(datetime.fromtimestamp(nanoseconds / 1e9, UTC).timestamp(), usegmt=True)


class _StorageError(SkerryError):
    """A failure with a status and a code of Blob storage's own."""

    status: int
    native: str


def _told(status: int, code: str, what: str) -> _StorageError:
    error = _StorageError(CONFLICT, what)
    error.status, error.native = status, code
    return error


def refuse(call: Call, error: SkerryError) -> Reply:
    """Tell a failure as Blob storage does."""
    if isinstance(error, _StorageError):
        status, code = error.status, error.native
    else:
        status, code = _CODES.get(error.problem, (error.problem.http, "InternalError"))
    root = Element("Error")
    root.add("Code", code)
    root.add("Message", " ".join(part for part in (error.what, error.why) if part))
    headers = {"x-ms-error-code": code, "x-ms-version": signing.VERSION}
    return Reply(document(root, ""), status, headers, _XML)
