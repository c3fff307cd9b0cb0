"""Reading `multipart/form-data` as it streams in: the fields first, then the file.

Source: RFC 7578, RFC 2046 section 5.1.
"""

from __future__ import annotations

import email.message
from collections.abc import AsyncIterator

from skerry.kinds._shared.s3.errors import S3Error

_HEAD_BYTES_MAX = 8192
_FIELDS_BYTES_MAX = 64 * 1024
_FIELDS_MAX = 100


def _malformed() -> S3Error:
    return S3Error(
        "MalformedPOSTRequest", "The body of your POST request is not well-formed multipart."
    )


class Form:
    """A form while it is read: `read_fields`, then iterate over `file`."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        message = email.message.Message()
        message["content-type"] = content_type
        boundary = message.get_param("boundary")
        if not isinstance(boundary, str) or not 0 < len(boundary) <= 70:
            raise _malformed()
        self._mark = b"\r\n--" + boundary.encode("latin-1")
        self._body = body
        self._buffer = bytearray(b"\r\n")
        self.fields: dict[str, str] = {}
        self.file_name = ""

    async def read_fields(self) -> None:
        """Read the fields up to the file into `fields`, by lower-case name; raise S3Error."""
        await self._until(self._mark, _HEAD_BYTES_MAX)
        size = 0
        while True:
            name, file_name = await self._part_head()
            if name.lower() == "file":
                self.file_name = file_name
                return
            value = await self._until(self._mark, _FIELDS_BYTES_MAX)
            size += len(value)
            if size > _FIELDS_BYTES_MAX or len(self.fields) >= _FIELDS_MAX:
                raise S3Error("MaxMessageLengthExceeded", "The form's fields are too large.")
            self.fields[name.lower()] = value.decode("utf-8", "surrogateescape")

    async def file(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes; what follows it is ignored."""
        while True:
            end = self._buffer.find(self._mark)
            if end >= 0:
                yield bytes(self._buffer[:end])
                return
            safe = len(self._buffer) - len(self._mark)
            if safe > 0:
                data = bytes(self._buffer[:safe])
                del self._buffer[:safe]
                yield data
            await self._more()

    async def _part_head(self) -> tuple[str, str]:
        after = await self._until(b"\r\n", _HEAD_BYTES_MAX)
        if after.strip():
            raise S3Error("InvalidArgument", "POST requires exactly one file upload per request.")
        name, file_name = "", ""
        while True:
            line = await self._until(b"\r\n", _HEAD_BYTES_MAX)
            if not line:
                break
            key, _, value = line.decode("utf-8", "replace").partition(":")
            if key.strip().lower() == "content-disposition":
                message = email.message.Message()
                message["content-disposition"] = value.strip()
                name = str(message.get_param("name", header="content-disposition") or "")
                file_name = str(message.get_param("filename", "", header="content-disposition"))
        if not name:
            raise _malformed()
        return name, file_name

    async def _until(self, mark: bytes, limit: int) -> bytes:
        while True:
            end = self._buffer.find(mark)
            if end >= 0:
                found = bytes(self._buffer[:end])
                del self._buffer[: end + len(mark)]
                return found
            if len(self._buffer) > limit:
                raise S3Error("MaxMessageLengthExceeded", "A part of the form is too large.")
            await self._more()

    async def _more(self) -> None:
        async for data in self._body:
            self._buffer += data
            return
        raise S3Error("IncompleteBody", "The form ended before its last boundary.")
